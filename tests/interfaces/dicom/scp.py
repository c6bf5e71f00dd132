"""A PACS that behaves as a test wants it to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer

from interfaces.dicom.association import tune
from interfaces.dicom.query import STUDY_ROOT_FIND, VERIFICATION
from models.delivery import DicomPeer
from models.study import SopClass, TransferSyntax
from tests.peers.dicom import LOOPBACK

Answers = Iterable[tuple[int, Dataset | None]]


@contextmanager
def scp(
    *,
    store: int = 0,
    comment: str = "",
    find: dict[str, Answers | Callable[[Dataset], Answers]] | None = None,
    reject: tuple[int, int, int] | None = None,
    pdu: int = 16_384,
    echo: int = 0,
    think: float = 0,
) -> Iterator[DicomPeer]:
    """Run a peer with fixed answers.

    Args:
        store: Status of every C-STORE, with an error comment.
        find: Status and identifier of the answers to a C-FIND, by level, or what makes them from the
            request's identifier; success follows by itself.
        reject: Result, source and reason with which every association is rejected.
        pdu: Maximum PDU length that it announces; 0 is unlimited.
        echo: Status of every C-ECHO.
        think: Seconds that it takes to answer a C-STORE.
    """
    over = threading.Event()
    entity = AE(ae_title="PEER")
    entity.maximum_pdu_size = pdu
    for sop_class in SopClass:
        entity.add_supported_context(str(sop_class), [str(syntax) for syntax in TransferSyntax])
    for service in (VERIFICATION, STUDY_ROOT_FIND):
        entity.add_supported_context(service, ExplicitVRLittleEndian)

    def stored(_: evt.Event) -> Dataset:
        over.wait(think)
        answer = Dataset()
        answer.Status = store
        if comment:
            answer.ErrorComment = comment
        return answer

    def found(event: evt.Event) -> Answers:
        answers = (find or {}).get(event.identifier.QueryRetrieveLevel, ())
        yield from answers(event.identifier) if callable(answers) else answers

    def requested(event: evt.Event) -> None:
        if reject:
            event.assoc.acse.send_reject(*reject)
            event.assoc.is_rejected = True
            event.assoc.kill()

    handlers: list[Any] = [
        (evt.EVT_CONN_OPEN, tune, [60.0]),
        (evt.EVT_C_STORE, stored),
        (evt.EVT_C_FIND, found),
        (evt.EVT_C_ECHO, lambda _: echo),
        (evt.EVT_REQUESTED, requested),
    ]
    # As entity.start_server does, but the end need not be waited for so long.
    server = entity.make_server((LOOPBACK, 0), evt_handlers=handlers, server_class=ThreadedAssociationServer)
    entity._servers.append(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield DicomPeer(host=LOOPBACK, port=server.socket.getsockname()[1], ae_title="PEER", timeout_seconds=10)
    finally:
        over.set()
        entity.shutdown()
        thread.join()


def match(**values: str) -> tuple[int, Dataset]:
    """Return a pending answer."""
    identifier = Dataset()
    for keyword, value in values.items():
        setattr(identifier, keyword, value)
    return 0xFF00, identifier
