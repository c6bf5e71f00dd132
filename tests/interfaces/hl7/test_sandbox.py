"""The sandbox EHR keeps what it answers, and files of messages are taken apart whole."""

import pytest

from interfaces.hl7.framing import frame
from interfaces.hl7.parsing import parse
from interfaces.hl7.sandbox import SandboxReceiver, split_messages
from interfaces.hl7.sender import send
from models.errors import Declined
from tests.interfaces.hl7.messages import order
from tests.peers.hl7 import foreign_send

ONE, TWO = order(), order(MSH_10="M2")


@pytest.fixture
def receiver(tmp_path):
    running = SandboxReceiver("127.0.0.1", 0, tmp_path / "ehr")
    running.port = running.start()
    yield running
    running.stop()


def test_every_message_is_a_file_with_its_bytes(receiver, tmp_path):
    for message in (ONE, TWO):
        assert send("127.0.0.1", receiver.port, message, timeout=5).accepted
    assert (tmp_path / "ehr" / "0001.hl7").read_bytes() == ONE
    assert receiver.received == (ONE, TWO)


def test_a_repeat_is_answered_again_counted_and_kept_beside(receiver, tmp_path):
    for message in (ONE, ONE, TWO, ONE):
        assert send("127.0.0.1", receiver.port, message, timeout=5).accepted
    assert (receiver.received, receiver.repeats) == ((ONE, TWO), 2)
    assert (tmp_path / "ehr" / "0001.repeat-2.hl7").read_bytes() == ONE


def test_what_was_received_before_a_restart_still_counts(tmp_path):
    for expected in (0, 1):
        receiver = SandboxReceiver("127.0.0.1", 0, tmp_path)
        port = receiver.start()
        send("127.0.0.1", port, ONE, timeout=5)
        receiver.stop()
        assert (receiver.received, receiver.repeats) == ((ONE,), expected)


def test_a_foreign_sender_is_served(receiver):
    answers = foreign_send(receiver.port, [ONE, TWO])
    assert [b"MSA|AA|M1" in answers[0], b"MSA|AA|M2" in answers[1]] == [True, True]


def test_messages_without_a_control_id_are_kept_each_for_itself(receiver):
    nameless = order(MSH_10="")
    for _ in range(2):
        send("127.0.0.1", receiver.port, nameless, timeout=5)
    assert receiver.received == (nameless, nameless)


def test_a_refusal_reaches_the_sender(receiver, monkeypatch):
    monkeypatch.setattr(receiver, "_take", lambda _payload: b"MSH|^~\\&|A\rMSA|AE|M1|no\r")
    with pytest.raises(Declined, match="AE: no"):
        send("127.0.0.1", receiver.port, ONE, timeout=5)


@pytest.mark.parametrize(
    "data",
    [
        ONE + TWO,
        (ONE + b"\r\r" + TWO).replace(b"\r", b"\n"),
        (ONE + TWO).replace(b"\r", b"\r\n"),
        frame(ONE) + frame(TWO),
        b"\xef\xbb\xbf" + ONE + TWO,
        b"FHS|^~\\&|A\rBHS|^~\\&|A\r" + ONE + TWO + b"BTS|2\rFTS|1\r",
    ],
    ids=["CR", "LF and blank lines", "CRLF", "MLLP recording", "BOM", "batch"],
)
def test_a_file_of_messages_is_split_whole(data):
    assert split_messages(data) == [ONE, TWO]


@pytest.mark.parametrize("data", [b"", b"hello", b"PID|1\r", b"\r\n"])
def test_a_file_without_a_message_gives_none(data):
    assert split_messages(data) == []


def test_msh_within_a_text_begins_no_message():
    raw = order(NTE_3="see MSH|9 there")
    assert [parse(part).values("NTE-3") for part in split_messages(raw)] == [("see MSH",)]
