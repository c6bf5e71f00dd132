"""One message to one receiver over MLLP, and what its answer means (HL7 v2.5.1 2.9.2).

The errors tell apart what decides whether the message may be sent again: nothing was handed over, it may have been
taken, or it was refused.
"""

from __future__ import annotations

import socket
import time

from interfaces.hl7.acks import read_ack
from interfaces.hl7.framing import Deframer, Payload, frame
from interfaces.hl7.header import read_header
from models.errors import Declined, MessageRefused, OutcomeUnknown, Unreachable
from models.message import Acknowledgement

_GREATEST_ANSWER = 1024 * 1024
_CHUNK = 65536
_REFUSALS = frozenset({"AE", "AR", "CE", "CR"})
_LONGEST_QUOTE = 300

#: MLLP Release 2 commits a block with this before the answer proper.
_COMMIT = b"\x06"


def send(host: str, port: int, message: bytes, *, timeout: float) -> Acknowledgement:
    """Send one message over a connection of its own and return its acceptance (AA or CA).

    Args:
        host: Receiver.
        port: Its port.
        message: The message, without VT and FS.
        timeout: Seconds for everything together.

    Raises:
        Unreachable: No connection came about, so nothing was handed over.
        OutcomeUnknown: The message went out, and no answer to it came back: it may have been taken.
        Declined: The receiver refused it (AE, AR, CE, CR); the sentence has its words.
        MessageRefused: The message has no MSH: nothing is sent.
    """
    control_id = read_header(message).control_id
    where = f"{host}:{port}"
    deadline = time.monotonic() + timeout
    try:
        connection = socket.create_connection((host, port), timeout=timeout)
    except OSError as error:
        raise Unreachable(
            f"no HL7 receiver answers at {where} ({error.strerror or error}): start it or correct its address"
        ) from error
    with connection:
        try:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            connection.sendall(frame(message))
        except OSError as error:
            raise OutcomeUnknown(
                f"the connection to {where} broke while message {control_id} was sent ({error.strerror or error}): "
                "look whether it was taken before it is sent again"
            ) from error
        raw = _answer(connection, deadline)
    return _judge(raw, control_id, where)


def _answer(connection: socket.socket, deadline: float) -> bytes:
    """Return the answer's bytes; an unframed one counts when the receiver closes or falls silent; empty for none."""
    deframer = Deframer(_GREATEST_ANSWER)
    received = bytearray()
    while (left := deadline - time.monotonic()) > 0 and len(received) < _GREATEST_ANSWER:
        connection.settimeout(left)
        try:
            data = connection.recv(_CHUNK)
        except OSError:
            break
        if not data:
            break
        received += data
        for event in [*deframer.feed(data), *deframer.settle()]:
            if isinstance(event, Payload) and event.data != _COMMIT:
                return event.data
    return bytes(received)


def _judge(raw: bytes, control_id: str, where: str) -> Acknowledgement:
    if not raw:
        raise OutcomeUnknown(
            f"{where} took the bytes of message {control_id} and gave no answer in time: look whether it was taken"
        )
    try:
        answer = read_ack(raw)
    except MessageRefused as refusal:
        raise OutcomeUnknown(
            f"{where} answered message {control_id} with something that is no acknowledgement ({refusal}): "
            f"{_quote(raw.decode(errors='replace'))}"
        ) from refusal
    if answer.control_id != control_id:
        raise OutcomeUnknown(
            f"{where} acknowledged message {answer.control_id!r}, not {control_id!r} (MSA-2): {_quote(answer.raw)}"
        )
    if answer.code in _REFUSALS:
        words = answer.text or "without a reason"
        raise Declined(f"{where} refused message {control_id} with {answer.code}: {_quote(words)}")
    if not answer.accepted:
        raise OutcomeUnknown(
            f"{where} answered message {control_id} with the unknown code {answer.code!r} (MSA-1): {_quote(answer.raw)}"
        )
    return answer


def _quote(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_QUOTE]
