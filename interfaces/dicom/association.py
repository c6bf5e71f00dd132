"""One association with a peer: every wait has a limit, and every way to fail becomes a sentence (PS3.8 7, 9)."""

from __future__ import annotations

import re
import socket
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE, MaximumLengthNotification

from models.delivery import DicomPeer
from models.errors import Declined, Unreachable

#: Bytes of the largest PDU that we send; larger ones are no faster, and each of them waits in memory.
LARGEST_PDU = 131_072
#: Bytes of the smallest PDU that a transfer makes sense with.
SMALLEST_PDU = 128

_AE_TITLE = re.compile(r"[\x20-\x5B\x5D-\x7E]{1,16}")
_REJECTED_FOR_NOW = 2
_PRESENTATION_PROVIDER = 3
_UNKNOWN_CALLING_AE = (1, 3)
_UNKNOWN_CALLED_AE = (1, 7)

#: Result of a presentation context (PS3.8 9.3.3.2) in words.
_CONTEXT_RESULTS = {
    1: "it refuses it to us",
    2: "it gives no reason",
    3: "it does not know this kind of object or service, at least not in this form",
    4: "it does not take this transfer syntax",
}


@dataclass(frozen=True)
class Service:
    """What an association is opened for.

    Attributes:
        abstract_syntax: UID of the SOP class.
        transfer_syntaxes: UIDs that are proposed, in one presentation context.
        words: The same for people: "does not take <words>".
        remedy: What to do when the peer does not take it.
    """

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    words: str
    remedy: str


def label(peer: DicomPeer) -> str:
    """Return the peer as people know it."""
    return f"{peer.ae_title} at {peer.host}:{peer.port}"


@contextmanager
def associated(peer: DicomPeer, service: Service) -> Iterator[Association]:
    """Open an association, and end it whatever happens: released after success, aborted after an error.

    Raises:
        Unreachable: No connection, no answer, or a rejection that may pass.
        Declined: Rejected for good, or the service is not accepted.
    """
    with ExitStack() as stack:
        association = _request(peer, service, stack)
        stack.callback(association.abort)
        _accept(association, peer, service)
        yield association
        association.release()


def tune(event: Event, seconds: float) -> None:
    """Prepare a connection that opens, ours or a peer's (bound to EVT_CONN_OPEN).

    Within a PDU pynetdicom would wait for ever, so every read and write gets a limit. A small PDU must not wait for the
    acknowledgement of the one before (Nagle): it makes each question 40 ms slower. And pynetdicom forgets to close a
    socket that the other side has broken.
    """
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.settimeout(seconds)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        weakref.finalize(event.assoc, connection.socket.close)


def _close_at_end(event: Event, stack: ExitStack) -> None:
    """See that our socket is closed at the end, also when it never connects."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        stack.callback(connection.socket.close)


def _request(peer: DicomPeer, service: Service, stack: ExitStack) -> Association:
    for title in (peer.ae_title, peer.calling_ae_title):
        if not _AE_TITLE.fullmatch(title.strip()):
            raise Declined(
                f"{title!r} is no AE title (PS3.5 6.2: 1 to 16 ASCII characters, no backslash): correct the destination"
            )
    try:
        entity = AE(ae_title=peer.calling_ae_title)
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = peer.timeout_seconds
        # It counts from the last PDU received, so it would end a long transfer; every single wait is limited already.
        entity.network_timeout = None
        entity.maximum_pdu_size = LARGEST_PDU
        entity.add_requested_context(service.abstract_syntax, list(service.transfer_syntaxes))
        return entity.associate(
            peer.host,
            peer.port,
            ae_title=peer.ae_title,
            evt_handlers=[
                (evt.EVT_ACSE_SENT, _close_at_end, [stack]),
                (evt.EVT_CONN_OPEN, tune, [peer.timeout_seconds]),
            ],
        )
    except socket.gaierror as trouble:
        raise Unreachable(
            f"the host name of {label(peer)} is not known here: check the host of the destination, or the name server"
        ) from trouble


def _accept(association: Association, peer: DicomPeer, service: Service) -> None:
    """Return when the association stands and carries the service; else raise why not."""
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        raise _rejection(answer, peer)
    if answer is not None and association.rejected_contexts:
        why = _CONTEXT_RESULTS.get(association.rejected_contexts[0].result or 2, _CONTEXT_RESULTS[2])
        raise Declined(f"{label(peer)} does not take {service.words}: {why}; {service.remedy}")
    if not association.is_established:
        raise _silence(association, peer)
    _limit_pdu(association, peer)


def _silence(association: Association, peer: DicomPeer) -> Unreachable:
    if association.acceptor.primitive is not None:
        return Unreachable(f"{label(peer)} accepted the association and ended it at once; it is tried again later")
    # An address of our own is only known once the connection stood.
    if association.requestor.address_info is None or not association.requestor.port:
        return Unreachable(
            f"no connection to {label(peer)}: nothing answers there; check that the PACS runs, "
            f"its host and port in the destination, and the firewall between"
        )
    return Unreachable(
        f"{label(peer)} answered the connection, but not the association request "
        f"(waited at most {peer.timeout_seconds:g} s): check that this port speaks DICOM without TLS"
    )


def _rejection(answer: A_ASSOCIATE, peer: DicomPeer) -> Unreachable | Declined:
    """Return what an A-ASSOCIATE-RJ means (PS3.8 Table 9-21): a full house may pass, an unknown title does not."""
    reason = (answer.result_source, answer.diagnostic)
    words = f"{label(peer)} rejected the association ({answer.result_str}: {answer.reason_str})"
    if answer.result == _REJECTED_FOR_NOW or answer.result_source == _PRESENTATION_PROVIDER:
        return Unreachable(f"{words}: it is busy, so it is tried again later")
    if reason == _UNKNOWN_CALLING_AE:
        return Declined(f"{words}: let it know our AE title {peer.calling_ae_title} and the address of this machine")
    if reason == _UNKNOWN_CALLED_AE:
        return Declined(f"{words}: correct the AE title of the destination")
    return Declined(f"{words}: ask its administrator why {peer.calling_ae_title} is not let in")


def _limit_pdu(association: Association, peer: DicomPeer) -> None:
    """Keep to the smaller of the peer's PDU size and ours: an unlimited one would take a whole object into memory."""
    answer = association.acceptor.primitive
    if answer is None:
        return
    for item in answer.user_information:
        if isinstance(item, MaximumLengthNotification):
            break
    else:
        item = MaximumLengthNotification()
        item.maximum_length_received = 0
        answer.user_information.append(item)
    item.maximum_length_received = min(item.maximum_length_received or LARGEST_PDU, LARGEST_PDU)
    if item.maximum_length_received < SMALLEST_PDU:
        raise Declined(
            f"{label(peer)} takes PDUs of only {item.maximum_length_received} bytes: "
            f"raise its maximum PDU length to 16384 or more"
        )
