"""A small, honest PACS for trials: it stores video, keeps it durably, and answers C-FIND and C-ECHO.

It is not for patients: no access control, no retrieval, no deletion.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from socketserver import BaseServer
from threading import Thread
from typing import Any
from uuid import uuid4

from pydicom import Dataset, dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.transport import ThreadedAssociationServer

from interfaces.dicom.association import LARGEST_PDU, tune
from interfaces.dicom.query import STUDY_ROOT_FIND, VERIFICATION
from interfaces.dicom.sandbox_index import COLUMNS, LEVELS, SandboxIndex
from interfaces.dicom.text import identifier_of, text_of
from models.errors import SettingsError
from models.study import SopClass, TransferSyntax

log = logging.getLogger("cinelink." + __name__)

#: Storage is offered in every video transfer syntax and uncompressed.
_STORED_AS = [*TransferSyntax, str(ExplicitVRLittleEndian)]
_MOST_ASSOCIATIONS = 50
_LONGEST_SILENCE = 60.0

# PS3.4 B.2.3 and C.4.1.1.4
_SUCCESS, _PENDING, _CANCELLED = 0x0000, 0xFF00, 0xFE00
_OUT_OF_RESOURCES, _DOES_NOT_MATCH, _CANNOT_UNDERSTAND = 0xA700, 0xA900, 0xC000

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_UID = re.compile(r"[0-9.]{1,64}")


_Event = evt.NotificationEvent | evt.InterventionEvent
_Handlers = list[tuple[_Event, Callable[..., Any]] | tuple[_Event, Callable[..., Any], list[Any]]]


class _Server(ThreadedAssociationServer):
    """Listens as ``AE.start_server`` does, but stops at once rather than within half a second."""

    def serve_forever(self, poll_interval: float = 0.02) -> None:
        super().serve_forever(poll_interval)

    def shutdown(self) -> None:
        BaseServer.shutdown(self)
        self.server_close()


class SandboxPacs:
    """A PACS in a folder.

    ``objects/<SOP Instance UID>.dcm`` are the files, complete and synced before the status is sent; ``index.sqlite`` is
    what queries are answered from, and is completed from the files at start. The first object of a UID is kept; a
    second one is answered with success and dropped.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        folder: Where it keeps everything; made when missing.
        ae_title: Its own AE title; it answers to any other as well.
    """

    def __init__(self, host: str, port: int, folder: Path, ae_title: str = "SANDBOX") -> None:
        self._host = host
        self._port = port
        self._objects = folder / "objects"
        self._incoming = folder / "incoming"
        for place in (self._objects, self._incoming):
            place.mkdir(parents=True, exist_ok=True)
        self._index = SandboxIndex(folder / "index.sqlite")
        self._entity = _entity(ae_title)
        self._server: ThreadedAssociationServer | None = None

    def start(self) -> int:
        """Complete the index, listen, and return the port.

        Raises:
            SettingsError: The address cannot be listened on.
        """
        self._recover()
        handlers: _Handlers = [
            (evt.EVT_CONN_OPEN, tune, [_LONGEST_SILENCE]),
            (evt.EVT_CONN_CLOSE, _drop_partial),
            (evt.EVT_C_STORE, self._take),
            (evt.EVT_C_FIND, self._answer),
        ]
        try:
            server = self._entity.make_server((self._host, self._port), evt_handlers=handlers, server_class=_Server)
        except OSError as trouble:
            raise SettingsError(
                f"the sandbox PACS cannot listen on {self._host}:{self._port}: {trouble.strerror}; choose another port"
            ) from trouble
        Thread(target=server.serve_forever, name="sandbox-pacs", daemon=True).start()
        self._server = server
        port = int(server.server_address[1])
        log.info("sandbox PACS listens", extra={"action": "sandbox.started", "port": port})
        return port

    def stop(self) -> None:
        """Stop listening and end all associations."""
        for association in self._entity.active_associations:
            association.abort()
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def instances(self) -> list[dict[str, str]]:
        """Return every instance in the order of arrival: DICOM keyword to value, and ``path``."""
        return [row | {"path": str(self._objects / row["path"])} for row in self._index.all()]

    def _recover(self) -> None:
        """Drop what never became complete; index what a crash kept out of the index."""
        for partial in self._incoming.iterdir():
            partial.unlink()
        for path in self._objects.glob("*.dcm"):
            if not self._index.holds(path.stem):
                self._index.add(_header(path), path)

    def _take(self, event: Event) -> int:
        """Answer a C-STORE: the status is sent after the object is durable and can be found."""
        partial = self._incoming / f"{uuid4()}.part"
        try:
            shutil.move(event.dataset_path, partial)
            header = _header(partial)
            if problem := _problem(header, event):
                return problem
            self._publish(partial, header)
        except InvalidDicomError:
            return _CANNOT_UNDERSTAND
        except OSError as trouble:
            log.warning("sandbox PACS cannot write: %s", trouble.strerror, extra={"action": "sandbox.refused"})
            return _OUT_OF_RESOURCES
        finally:
            with suppress(OSError):  # what stays is removed at the next start
                partial.unlink(missing_ok=True)
        return _SUCCESS

    def _publish(self, partial: Path, header: Dataset) -> None:
        """Sync a file, give it its final name and index it, unless the name is taken."""
        path = self._objects / f"{text_of(header, 'SOPInstanceUID')}.dcm"
        _sync(partial)
        try:
            os.link(partial, path)
        except FileExistsError:
            log.info("sandbox PACS keeps the first", extra={"action": "sandbox.duplicate", "sop_uid": path.stem})
            return
        _sync(self._objects)
        self._index.add(header, path)

    def _answer(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        """Answer a C-FIND."""
        identifier = event.identifier
        level = text_of(identifier, "QueryRetrieveLevel")
        if level not in LEVELS:
            yield _DOES_NOT_MATCH, None
            return
        asked = {keyword: text_of(identifier, keyword) for keyword in map(keyword_for_tag, identifier.keys())}
        for row in self._index.find(level, asked):
            if event.is_cancelled:
                yield _CANCELLED, None
                return
            yield _PENDING, identifier_of(level, {name: row[name] for name in asked if name in row})


def _entity(ae_title: str) -> AE:
    entity = AE(ae_title=ae_title)
    entity.maximum_pdu_size = LARGEST_PDU
    entity.maximum_associations = _MOST_ASSOCIATIONS
    entity.network_timeout = _LONGEST_SILENCE
    for sop_class in SopClass:
        entity.add_supported_context(str(sop_class), [str(syntax) for syntax in _STORED_AS])
    for service in (VERIFICATION, STUDY_ROOT_FIND):
        entity.add_supported_context(service, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    return entity


def _drop_partial(event: Event) -> None:
    """Remove the temporary file of an object whose sender is gone; pynetdicom leaves it behind."""
    message = event.assoc.dimse.message
    unfinished = message._data_set_file if message is not None else None  # noqa: SLF001 - there is no other way to it
    if unfinished is not None:
        unfinished.close()
        Path(unfinished.name).unlink(missing_ok=True)


def _header(path: Path) -> Dataset:
    return dcmread(path, stop_before_pixels=True, specific_tags=[*COLUMNS, "SpecificCharacterSet"])


def _problem(header: Dataset, event: Event) -> int:
    """Return the failure status that an object earns, or 0."""
    if not all(_UID.fullmatch(text_of(header, name)) for name in _NEEDED):
        return _CANNOT_UNDERSTAND
    told = (event.request.AffectedSOPClassUID, event.request.AffectedSOPInstanceUID)  # type: ignore[union-attr] # a C-STORE
    return _SUCCESS if told == (text_of(header, "SOPClassUID"), text_of(header, "SOPInstanceUID")) else _DOES_NOT_MATCH


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
