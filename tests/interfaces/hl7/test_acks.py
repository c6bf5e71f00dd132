"""An answer names the message it answers, byte for byte, in the sender's own way of writing."""

import hl7
import pytest

from interfaces.hl7.acks import build_ack, read_ack
from interfaces.hl7.parsing import parse
from models.errors import MessageRefused
from tests.interfaces.hl7.messages import order
from tests.samples import NOW


def ack(raw, code="AA", **more):
    return build_ack(raw, code, control_id="A1", at=NOW, **more)


def test_sender_and_receiver_change_places_and_the_rest_is_echoed():
    answer = ack(order(MSH_11="T", MSH_18="8859/1"))
    assert answer == (
        b"MSH|^~\\&|CINELINK|DEMO|RIS|DEMO|20260301090000+0000||ACK^O01^ACK|A1|T|2.5.1||||||8859/1\rMSA|AA|M1\r"
    )


@pytest.mark.parametrize(
    ("version", "kind"), [("2.2", "ACK"), ("2.3.1", "ACK"), ("2.4", "ACK^O01^ACK"), ("2.8.2", "ACK^O01^ACK")]
)
def test_msh_9_has_the_structure_from_version_2_4(version, kind):
    assert f"||{kind}|A1|P|{version}\r".encode() in ack(order(MSH_12=version))


@pytest.mark.parametrize("control_id", ["M1", " 0042 ", "a^b&c~d", "\\F\\", "äöü", "x" * 300, "张伟"])
def test_msa_2_is_msh_10_byte_for_byte(control_id):
    assert f"MSA|AA|{control_id}\r".encode() in ack(order(MSH_10=control_id))


def test_bytes_that_are_not_the_declared_set_still_come_back_as_they_were():
    raw = order(MSH_10="@", MSH_18="UNICODE UTF-8").replace(b"@", b"\xff\xfe1")
    assert b"MSA|AA|\xff\xfe1\r" in ack(raw)


def test_the_senders_separators_are_used():
    raw = b"MSH#*!?%#RIS#A*B#X#Y#20260301##ORM*O01#M1#P#2.5.1\rPID#1\r"
    answer = ack(raw, "AE", text="a*b", error_location="PID^1^3", error_code="101")
    assert answer.startswith(b"MSH#*!?%#X#Y#RIS#A*B#")
    assert b"ERR##PID*1*3#101*Required field missing*HL70357#E####a?S?b\r" in answer


def test_an_error_is_written_as_the_version_wants_it():
    modern = ack(order(), "AE", text="no | id", error_location="PID^1^3", error_code="101")
    assert b"MSA|AE|M1|no \\F\\ id\r" in modern
    assert b"ERR||PID^1^3|101^Required field missing^HL70357|E||||no \\F\\ id\r" in modern
    old = ack(order(MSH_12="2.3.1"), "AE", text="no id", error_location="PID^1^3", error_code="101")
    assert b"ERR|PID^1^3^101&Required field missing&HL70357\r" in old


def test_control_characters_never_come_back():
    raw = order(MSH_3="R\x1cI\x0bS", MSH_10="M\x001")
    answer = ack(raw, "AE", text="line\rMSA|AA|X\x1c\r")
    assert not set(answer) & set(range(32)) - {13}
    assert answer.count(b"MSA|A") == 1
    assert b"MSA|AE|M1|" in answer


@pytest.mark.parametrize("raw", [b"", b"\x00\xff", b"GET / HTTP/1.1", b"MSH", b"MSH|^^^^|A"])
def test_what_is_no_message_is_answered_too(raw):
    answer = read_ack(ack(raw, "AR", text="no MSH", error_code="100"))
    assert (answer.code, answer.control_id) == ("AR", "")
    assert "no MSH" in answer.text


def test_a_foreign_parser_reads_our_answer():
    parsed = hl7.parse(ack(order(), "AR", text="why", error_location="MSH^1^9", error_code="200").decode())
    assert str(parsed.segment("MSA")[2]) == "M1"
    assert str(parsed.segment("ERR")[8]) == "why"


@pytest.mark.parametrize(
    "raw",
    [
        b"MSH|^~\\&|A|B|C|D|2026||ACK|ACK|P|2.3\rMSA|AA|M1",
        b"\x0bMSH|^~\\&|A\nMSA|AA|M1\n",
        b"MSH|^~\\&|A\r\nMSA|aa|M1\r\n",
    ],
)
def test_answers_are_read_in_the_shapes_that_receivers_send(raw):
    answer = read_ack(raw)
    assert (answer.code, answer.control_id, answer.accepted) == ("AA", "M1", True)


def test_the_words_of_msa_and_err_are_told_once():
    answer = read_ack(b"MSH|^~\\&|A\rMSA|AE|M1|bad\rERR||PID^1^3|101^Required field missing^HL70357|E||||bad\r")
    assert answer.text == "bad; Required field missing; at PID^1^3"


@pytest.mark.parametrize("raw", [b"", b"MSH|^~\\&|A\r", b"OK"])
def test_what_acknowledges_nothing_is_refused(raw):
    with pytest.raises(MessageRefused):
        read_ack(raw)


def test_our_own_answer_is_read_back():
    answer = read_ack(ack(order(), "AE", text="what; where; mend", error_code="101"))
    assert answer.text.startswith("what; where; mend")
    assert parse(answer.raw.encode()).values("MSA-1") == ("AE",)
