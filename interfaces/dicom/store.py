"""C-STORE SCU: one Part 10 file of any size to one peer, in bounded memory (PS3.4 B, PS3.7 9.1.1)."""

from __future__ import annotations

import time
from pathlib import Path

from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import P_DATA

from interfaces.dicom.association import Service, associated, label
from interfaces.dicom.status import Meaning, judge
from models.delivery import DicomPeer
from models.errors import Declined, DeliveryFailed, OutcomeUnknown, Unreachable

#: PDUs that may wait for the network: with the largest PDU 8 MB, enough to keep a fast link busy.
QUEUED_PDUS = 64
#: Seconds between two looks at a full queue.
_BREATH = 0.0005
#: pynetdicom's name of PS3.8 9.2.1 state 6: association established, ready for data transfer.
_READY = "Sta6"
_LAST_DATA_FRAGMENT = 0x02


def store(peer: DicomPeer, path: Path) -> str:
    """Send a file and return the peer's status in words, e.g. ``0000 Success`` or ``B000 warning: coercion of ...``.

    A status is not proof: ask with ``query.prove`` whether the peer holds the object, and under which identity.

    Args:
        peer: Who gets it; ``timeout_seconds`` limits each step. The answer may take as long again as the sending did.
        path: A Part 10 file. It is sent as it is, in its own transfer syntax.

    Raises:
        Unreachable: Nothing was taken: no connection, busy (association rejected for now, A7xx), or lost before data.
        OutcomeUnknown: Lost or silent after data went out: look at the peer before repeating.
        Declined: Association or transfer syntax refused, or a failure status (A9xx, Cxxx, 0122, ...).
    """
    meta = _read_meta(path)
    with associated(peer, _service(meta)) as association:
        pace = _Pace(association, peer)
        try:
            answer = association.send_c_store(path)
        except OSError as trouble:
            raise Unreachable(
                f"{path.name} could not be read while it was sent to {label(peer)}: {trouble}; check the disk"
            ) from trouble
        except RuntimeError as gone:  # pynetdicom's word for an association that ended before it could send
            raise pace.loss() from gone
        if "Status" not in answer:
            raise pace.loss()
        return _settle(answer, peer)


def _read_meta(path: Path) -> Dataset:
    try:
        meta = read_file_meta_info(path)
        return Dataset({item.tag: item for item in (meta["MediaStorageSOPClassUID"], meta["TransferSyntaxUID"])})
    except (OSError, InvalidDicomError) as trouble:
        raise Declined(f"{path.name} cannot be sent: {trouble}; convert the recording again") from trouble
    except KeyError as trouble:
        raise Declined(
            f"{path.name} cannot be sent: its file meta information (PS3.10 7.1) names no SOP class or "
            f"transfer syntax; convert the recording again"
        ) from trouble


def _service(meta: Dataset) -> Service:
    sop_class, transfer_syntax = UID(meta.MediaStorageSOPClassUID), UID(meta.TransferSyntaxUID)
    return Service(
        abstract_syntax=sop_class,
        transfer_syntaxes=(transfer_syntax,),
        words=f"{sop_class.name} in transfer syntax {transfer_syntax} ({transfer_syntax.name})",
        remedy="switch it on there for our AE title, or name only what it takes in column transfer_syntaxes "
        "of table destinations and convert again",
    )


class _Pace:
    """Hands PDUs to an association no faster than the network takes them.

    pynetdicom (3.0.4) queues the whole object at once, and lets its timeout for the answer run from then on: a slow
    link would take the object's size in memory, and be cut off while data still flows. So this stands before the queue.
    """

    def __init__(self, association: Association, peer: DicomPeer) -> None:
        self._association = association
        self._peer = peer
        self._queue = association.dul.to_provider_queue
        self._enqueue = association.dul.send_pdu
        self._started = time.monotonic()
        self._handed = 0
        association.dul.send_pdu = self.send  # type: ignore[method-assign] # the one place where all PDUs pass

    def send(self, primitive: object) -> None:
        """Pass a primitive on as soon as there is room for it."""
        if not isinstance(primitive, P_DATA):
            self._enqueue(primitive)  # type: ignore[arg-type] # whatever pynetdicom sends besides data
            return
        self._wait_until_fewer_than(QUEUED_PDUS)
        self._enqueue(primitive)
        self._handed += 1
        _, fragment = primitive.presentation_data_value_list[-1]
        if fragment[0] & 0x03 == _LAST_DATA_FRAGMENT:
            self._wait_until_fewer_than(1)
            # What still waits in the network's own buffers, and the peer's disk, are about as fast as the sending was.
            self._association.dimse_timeout = self._peer.timeout_seconds + time.monotonic() - self._started

    def loss(self) -> DeliveryFailed:
        """Return what it means that the connection is gone, or silent, without a status."""
        sent = self._handed - self._queue.qsize()
        if sent <= 1:  # the command, but no data (PS3.7 6.3.1)
            return Unreachable(
                f"{label(self._peer)} accepted the association and ended it before it took any data; "
                f"it is tried again later"
            )
        return OutcomeUnknown(
            f"{label(self._peer)} gave no status: the connection was lost or silent "
            f"{time.monotonic() - self._started:.0f} s after the sending began; it may hold the object, "
            f"so it is asked before the sending is repeated"
        )

    def _wait_until_fewer_than(self, waiting: int) -> None:
        dul = self._association.dul
        while self._queue.qsize() >= waiting:
            if not dul.is_alive() or dul.state_machine.current_state != _READY:
                raise self.loss()
            time.sleep(_BREATH)


def _settle(answer: Dataset, peer: DicomPeer) -> str:
    """Return the words of a status that says "held"; raise for any other."""
    meaning, words = judge(answer)
    if meaning in {Meaning.SUCCESS, Meaning.WARNING}:
        return words
    sentence = f"{label(peer)} did not store the object: {words}"
    if meaning == Meaning.PASSING:
        raise Unreachable(f"{sentence}; it is tried again later")
    raise Declined(f"{sentence}; ask its administrator what it has against this object")
