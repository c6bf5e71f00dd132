"""Nothing is answered before the receiver has taken it; trouble of ours is silence; the door stays open."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Self

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interfaces.hl7.acks import read_ack
from interfaces.hl7.framing import Deframer, Payload, frame
from interfaces.hl7.mllp import MOST_IN_BATCH, Frame, MllpListener
from models.errors import DeliveryFailed, SettingsError
from tests.interfaces.hl7.messages import order
from tests.peers.hl7 import foreign_send


class Recorder:
    """A receiver that remembers everything and can be told to fail."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.outcomes: list[tuple[bytes, bool]] = []
        self.quarantined: list[tuple[bytes, str]] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.respond: Callable[[bytes], bytes | None] = lambda payload: b"ACK " + payload
        self.broken: Exception | None = None
        self.offered: list[int] = []
        self.listener: MllpListener

    @property
    def arrived(self) -> int:
        """How many messages have come in, also those that still wait."""
        return sum(self.offered) + len(self.listener._waiting)

    @property
    def taken(self) -> list[bytes]:
        return [payload for batch in self.batches for payload in batch]

    def receive(self, batch: Sequence[Frame]) -> list[bytes | None]:
        self.threads.add(threading.get_ident())
        self.offered.append(len(batch))
        assert self.gate.wait(10)
        if self.broken:
            raise self.broken
        answers = [self.respond(item.payload) for item in batch]
        self.batches.append([item.payload for item in batch])
        return answers

    def answered(self, frame: Frame, delivered: bool) -> None:
        self.threads.add(threading.get_ident())
        self.outcomes.append((frame.payload, delivered))

    def quarantine(self, payload: bytes, peer: str, why: str) -> None:
        assert peer
        self.quarantined.append((payload, why))


def wait_for(look: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


@contextlib.contextmanager
def listening(recorder: Recorder, **limits: float) -> Iterator[int]:
    listener = MllpListener("127.0.0.1", 0, recorder, **limits)  # type: ignore[arg-type]
    recorder.listener = listener
    port = listener.start()
    try:
        yield port
    finally:
        recorder.gate.set()
        listener.stop()


class Client:
    """A plain socket that speaks and listens byte for byte."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._deframer = Deframer(10_000_000)
        self._ready: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> bytes | None:
        """Return the next answer, or None when the connection was closed."""
        while not self._ready:
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                return None
            if not data:
                return None
            self._ready += [event.data for event in self._deframer.feed(data) if isinstance(event, Payload)]
        return self._ready.pop(0)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def port(recorder: Recorder) -> Iterator[int]:
    with listening(recorder, max_bytes=10_000) as port:
        yield port


def test_a_message_is_handed_over_then_answered_and_the_delivery_is_reported(recorder, port):
    with Client(port) as client:
        client.say(frame(b"MSH|1"))
        assert client.answer() == b"ACK MSH|1"
    wait_for(lambda: recorder.outcomes == [(b"MSH|1", True)])
    assert recorder.taken == [b"MSH|1"]


def test_nothing_is_answered_while_the_receiver_has_not_taken_it(recorder, port):
    recorder.gate.clear()
    with Client(port) as client:
        client.say(frame(b"MSH|1"))
        client.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.answer()
        client.socket.settimeout(10)
        recorder.gate.set()
        assert client.answer() == b"ACK MSH|1"


def test_pipelined_messages_are_answered_in_order(recorder, port):
    messages = [b"MSH|%d" % number for number in range(600)]
    with Client(port) as client:
        client.say(b"".join(map(frame, messages)))
        assert [client.answer() for _ in messages] == [b"ACK " + message for message in messages]
    assert recorder.taken == messages


def test_what_waits_is_taken_in_one_batch_of_bounded_size_by_one_thread(recorder, port):
    recorder.gate.clear()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(port)) for _ in range(20)]
        for client in clients:
            client.say(frame(b"MSH|1") * 30)
        wait_for(lambda: recorder.arrived == 600)
        recorder.gate.set()
        for client in clients:
            assert [client.answer() for _ in range(30)] == [b"ACK MSH|1"] * 30
    sizes = [len(batch) for batch in recorder.batches]
    assert max(sizes) == MOST_IN_BATCH
    assert len(sizes) < 12
    wait_for(lambda: len(recorder.outcomes) == 600)
    assert len(recorder.threads) == 1


def test_no_answer_of_the_receiver_closes_that_connection_and_no_other(recorder, port):
    recorder.respond = lambda payload: None if payload == b"MSH|bad" else b"ACK"
    with Client(port) as bad, Client(port) as good:
        bad.say(frame(b"MSH|bad"))
        assert bad.answer() is None
        good.say(frame(b"MSH|good"))
        assert good.answer() == b"ACK"
    wait_for(lambda: (b"MSH|good", True) in recorder.outcomes)
    assert (b"MSH|bad", True) not in recorder.outcomes


@pytest.mark.parametrize("trouble", [OSError("disk full"), DeliveryFailed("locked"), ZeroDivisionError("a bug")])
def test_trouble_of_ours_is_silence_and_the_door_stays_open(recorder, port, trouble):
    recorder.broken = trouble
    with Client(port) as client:
        client.say(frame(b"MSH|1"))
        assert client.answer() is None
    recorder.broken = None
    with Client(port) as client:
        client.say(frame(b"MSH|1"))
        assert client.answer() == b"ACK MSH|1"
    wait_for(lambda: recorder.outcomes == [(b"MSH|1", True)])


def test_a_message_that_breaks_the_receiver_does_not_stop_its_neighbours(recorder, port):
    def respond(payload: bytes) -> bytes:
        if payload == b"MSH|poison":
            raise ValueError(payload)
        return b"ACK"

    recorder.respond = respond
    recorder.gate.clear()
    with Client(port) as first, Client(port) as poison, Client(port) as good:
        first.say(frame(b"MSH|first"))
        wait_for(lambda: recorder.offered == [1])
        poison.say(frame(b"MSH|poison"))
        good.say(frame(b"MSH|good"))
        wait_for(lambda: recorder.arrived == 3)
        recorder.gate.set()
        assert (first.answer(), poison.answer(), good.answer()) == (b"ACK", None, b"ACK")


def test_an_answer_that_could_not_be_delivered_is_reported_so(recorder, port):
    recorder.gate.clear()
    client = Client(port)
    client.say(frame(b"MSH|1"))
    wait_for(lambda: recorder.offered == [1])
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.socket.close()
    wait_for(lambda: not recorder.listener._connections)
    recorder.gate.set()
    wait_for(lambda: recorder.outcomes == [(b"MSH|1", False)])


def test_a_sender_that_closed_its_side_still_gets_its_answers(recorder, port):
    with Client(port) as client:
        client.say(frame(b"MSH|1") + b"\x0bMSH|2\x1c")
        client.socket.shutdown(socket.SHUT_WR)
        assert [client.answer(), client.answer(), client.answer()] == [b"ACK MSH|1", b"ACK MSH|2", None]


def test_a_sender_without_the_last_cr_is_answered(recorder, port):
    with Client(port) as client:
        client.say(b"\x0bMSH|1\x1c")
        assert client.answer() == b"ACK MSH|1"


def test_slow_bytes_become_a_message(recorder, port):
    with Client(port) as client:
        for byte in frame(b"MSH|slow"):
            client.say(bytes((byte,)))
            time.sleep(0.002)
        assert client.answer() == b"ACK MSH|slow"


def test_a_message_that_is_too_large_is_rejected_by_its_own_control_id_and_quarantined(recorder, port):
    with Client(port) as client:
        client.say(frame(order(NTE_3="x" * 20_000)) + frame(b"MSH|next"))
        refusal = read_ack(client.answer() or b"")
        assert (refusal.code, refusal.control_id) == ("AR", "M1")
        assert "10000 bytes" in refusal.text
        assert client.answer() == b"ACK MSH|next"
    assert recorder.taken == [b"MSH|next"]
    assert len(recorder.quarantined[0][0]) == 10_000


def test_endless_input_is_cut_off(recorder, port):
    with Client(port) as client:
        with contextlib.suppress(ConnectionError):
            client.say(b"\x0b" + b"z" * 5_000_000)
        assert client.answer() is None
    wait_for(lambda: recorder.quarantined)
    assert recorder.taken == []
    assert all(len(data) <= 10_000 for data, _ in recorder.quarantined)


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\x0bMSH|half"]
)
def test_what_never_became_a_message_is_kept_for_people(recorder, port, data):
    with Client(port) as client:
        client.say(data)
    wait_for(lambda: recorder.quarantined)
    assert recorder.quarantined[0][0] == data.lstrip(b"\x0b")
    assert recorder.taken == []


def test_probes_that_say_nothing_leave_no_trace(recorder, port):
    for _ in range(50):
        Client(port).socket.close()
    assert foreign_send(port, [order()])
    assert recorder.quarantined == []


def test_silence_within_a_message_ends_the_connection_and_silence_between_messages_does_not(recorder):
    with listening(recorder, idle_seconds=0.2) as port, Client(port) as idle, Client(port) as half:
        half.say(b"\x0bMSH|half")
        assert half.answer() is None
        idle.say(frame(b"MSH|1"))
        assert idle.answer() == b"ACK MSH|1"


def test_more_connections_than_allowed_are_refused(recorder):
    with listening(recorder, max_connections=2) as port, Client(port) as one, Client(port) as two:
        for client in (one, two):
            client.say(frame(b"MSH|1"))
            assert client.answer()
        with Client(port) as three:
            with contextlib.suppress(ConnectionError):
                three.say(frame(b"MSH|3"))
            assert three.answer() is None
    assert b"MSH|3" not in recorder.taken


def test_a_flood_waits_in_the_senders_and_not_in_our_memory(recorder):
    recorder.gate.clear()
    flood = frame(b"MSH|" + b"x" * 100_000) * 50
    with listening(recorder) as port, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(port)) for _ in range(40)]
        for client in clients:
            client.socket.settimeout(0.05)
        blocked = 0
        for client in clients:
            try:
                client.say(flood)
            except TimeoutError:
                blocked += 1
        assert blocked > 5


def test_stop_answers_what_is_at_hand_and_closes_the_rest(recorder):
    listener = recorder.listener = MllpListener("127.0.0.1", 0, recorder)
    port = listener.start()
    recorder.gate.clear()
    with Client(port) as busy, Client(port) as idle:
        busy.say(frame(b"MSH|1"))
        wait_for(lambda: recorder.offered == [1])
        stopping = threading.Thread(target=listener.stop)
        stopping.start()
        wait_for(listener._stopping.is_set)
        recorder.gate.set()
        assert busy.answer() == b"ACK MSH|1"
        assert idle.answer() is None
        stopping.join(10)
    assert recorder.outcomes == [(b"MSH|1", True)]
    with pytest.raises(ConnectionRefusedError):
        Client(port)


def test_stopping_twice_or_before_the_start_does_nothing(recorder):
    listener = MllpListener("127.0.0.1", 0, recorder)
    listener.stop()
    listener.start()
    listener.stop()
    listener.stop()


def test_a_port_that_is_taken_is_said_in_words(recorder, port):
    with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{port}.*hl7\.port"):
        MllpListener("127.0.0.1", port, recorder).start()


def test_a_foreign_sender_is_answered(recorder, port):
    recorder.respond = lambda _payload: b"MSH|^~\\&|A\rMSA|AA|M1\r"
    answers = foreign_send(port, [order(), order(MSH_10="M2")])
    assert [b"MSA|AA|M1" in answer for answer in answers] == [True, True]
    assert len(recorder.taken) == 2


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([b"\x0b", b"\x1c", b"\r", b"MSH|a", b"x", b"\x1c\r", b"\x0bMSH|b\x1c\r"]), max_size=25))
def test_whatever_is_sent_only_what_was_handed_over_is_answered(recorder, port, pieces):
    recorder.batches.clear()
    with Client(port) as client:
        with contextlib.suppress(OSError):
            client.say(b"".join(pieces))
            client.socket.shutdown(socket.SHUT_WR)
        answers = []
        while (answer := client.answer()) is not None:
            answers.append(answer)
    taken = [b"ACK " + payload for payload in recorder.taken]
    assert answers == taken[: len(answers)]
