"""Sending says which of three things happened: taken, refused, or nobody knows."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from interfaces.hl7.framing import frame
from interfaces.hl7.sandbox import SandboxReceiver
from interfaces.hl7.sender import send
from models.errors import Declined, MessageRefused, OutcomeUnknown, Unreachable
from tests.interfaces.hl7.messages import order
from tests.peers.hl7_receiver import quiet_receiver


@contextlib.contextmanager
def peer(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve one connection by a function."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                talk(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def answering(data: bytes, *, then: Callable[[], object] = lambda: None) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(data)
        then()

    return talk


def ack(code: str = "AA", control_id: str = "M1", more: str = "") -> bytes:
    return f"MSH|^~\\&|EHR||CINELINK||20260301||ACK|ACK|P|2.5.1\rMSA|{code}|{control_id}{more}\r".encode()


@pytest.mark.parametrize("code", ["AA", "CA"])
def test_an_acceptance_is_returned(code):
    with peer(answering(frame(ack(code)))) as port:
        answer = send("127.0.0.1", port, order(), timeout=5)
    assert (answer.code, answer.control_id, answer.accepted) == (code, "M1", True)


@pytest.mark.parametrize(
    "data",
    [ack(), b"\x0b" + ack(), ack().rstrip(b"\r"), b"\x0b" + ack() + b"\x1c", b"\x0b\x06\x1c\r" + frame(ack())],
    ids=["no framing", "no end", "no last CR", "FS without CR", "commit block first"],
)
def test_acceptances_are_understood_in_the_shapes_that_receivers_send(data):
    with peer(answering(data)) as port:
        assert send("127.0.0.1", port, order(), timeout=5).accepted


def test_an_answer_in_pieces_is_put_together():
    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        for byte in frame(ack()):
            connection.sendall(bytes((byte,)))

    with peer(talk) as port:
        assert send("127.0.0.1", port, order(), timeout=5).accepted


@pytest.mark.parametrize("code", ["AE", "AR", "CE", "CR"])
def test_a_refusal_is_told_with_its_words(code):
    refusal = frame(ack(code, more="|unknown patient"))
    with peer(answering(refusal)) as port, pytest.raises(Declined, match=f"{code}: unknown patient"):
        send("127.0.0.1", port, order(), timeout=5)


def test_nobody_there_means_nothing_was_handed_over():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unreachable, match=f"127.0.0.1:{port}"):
        send("127.0.0.1", port, order(), timeout=5)
    with pytest.raises(Unreachable):
        send("no-such-host.invalid", port, order(), timeout=5)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no answer"),
        (frame(b"hello"), "no acknowledgement"),
        (frame(b"MSH|^~\\&|A\r"), "no MSA"),
        (frame(ack(control_id="M2")), "'M2', not 'M1'"),
        (frame(ack("XX")), "unknown code 'XX'"),
    ],
    ids=["closed without answer", "no HL7", "no MSA", "answer to another message", "unknown code"],
)
def test_a_missing_or_wrong_answer_means_that_nobody_knows(data, words):
    with peer(answering(data)) as port, pytest.raises(OutcomeUnknown, match=words):
        send("127.0.0.1", port, order(), timeout=5)


def test_a_connection_that_breaks_while_the_message_goes_out_means_that_nobody_knows():
    def hang_up(connection: socket.socket) -> None:
        connection.recv(10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with peer(hang_up) as port, pytest.raises(OutcomeUnknown, match="broke while message M1"):
        send("127.0.0.1", port, order(NTE_3="x" * 50_000_000), timeout=10)


def test_silence_ends_after_the_time_given_for_everything():
    held = threading.Event()
    started = time.monotonic()
    with peer(answering(b"", then=lambda: held.wait(10))) as port:
        with pytest.raises(OutcomeUnknown, match="no answer in time"):
            send("127.0.0.1", port, order(), timeout=0.3)
        took = time.monotonic() - started
        held.set()
    assert took < 3


def test_what_is_no_message_is_not_sent():
    with pytest.raises(MessageRefused, match="no MSH"):
        send("127.0.0.1", 1, b"hello", timeout=1)


def test_a_foreign_receiver_takes_our_message_and_we_read_its_answer():
    with quiet_receiver() as receiver:
        answer = send("127.0.0.1", receiver.port, order(MSH_10="M77"), timeout=10)
        assert (answer.code, answer.control_id) == ("AA", "M77")
        assert len(receiver.received) == 1
        assert b"MRN0042" in receiver.received[0]


def test_our_own_receiver_and_sender_understand_each_other(tmp_path):
    receiver = SandboxReceiver("127.0.0.1", 0, tmp_path)
    port = receiver.start()
    try:
        assert send("127.0.0.1", port, order(), timeout=5).accepted
    finally:
        receiver.stop()
    assert receiver.received == (order(),)
