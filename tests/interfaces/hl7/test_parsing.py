"""Bytes in any real-world shape become the values that were meant; only what is no HL7 at all is refused."""

import contextlib
import logging
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interfaces.hl7.acks import build_ack
from interfaces.hl7.escapes import STANDARD, escape, unescape
from interfaces.hl7.header import read_header
from interfaces.hl7.orders import read_orders
from interfaces.hl7.parsing import parse
from models.errors import MessageRefused
from models.mapping import SenderRow
from tests.interfaces.hl7.messages import HEAD, OBR, ORC, PID, message, order
from tests.samples import NOW

WHOLE = message()


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r\n", "\n\n", "\r\n \r\n"])
def test_any_line_end_gives_the_same_segments(end):
    assert [s.fields for s in parse(message(end=end)).segments] == [s.fields for s in parse(WHOLE).segments]


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\r\n\r\n", b"  ", b"\x0b", b"FHS|^~\\&|A\rBHS|^~\\&|B\r"])
def test_what_stands_before_msh_does_no_harm(before):
    assert parse(before + WHOLE).values("OBR-18") == ("E1001",)


def test_mixed_line_ends_and_indented_segments_are_read():
    raw = f"{HEAD}\n  {PID}\r\n\t{ORC}\r{OBR}".encode()
    assert [s.name for s in parse(raw).segments] == ["MSH", "PID", "ORC", "OBR"]


def test_a_line_that_begins_no_segment_goes_on_with_the_field_before_it():
    parsed = parse(message(PID, ORC, OBR, "NTE|1||first line\rsecond line|more"))
    assert parsed.values("NTE-3") == ("first line\nsecond line",)
    assert parsed.values("NTE-4") == ("more",)


def test_the_separators_of_the_message_are_used():
    raw = b"MSH#*!?%#RIS#DEMO#X#Y#20260301##ORM*O01#M1#P#2.5.1\rPID#1##7***A%1.2%ISO*MR!8***B\r"
    parsed = parse(raw)
    assert parsed.values("PID-3.1") == ("7", "8")
    assert parsed.values("PID-3.4.2") == ("1.2",)
    assert read_header(raw).kind == "ORM^O01"


def test_msh_1_and_2_count_as_fields():
    assert parse(WHOLE).values("MSH-2") == ("^~\\&",)
    assert parse(WHOLE).values("MSH-10") == ("M1",)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("PID-3", ("1", "2")),
        ("PID-3.1", ("1", "2")),
        ("PID-3.4.1", ("A", "B")),
        ("PID-3.4", ("A&9&ISO", "B")),
        ("PID-30", ()),
        ("OBX:113014", ("1.2.3",)),
        ("OBX:9", ()),
        ("ZZZ-1", ()),
    ],
)
def test_paths_find_every_value(path, values):
    raw = message("PID|1||1^^^A&9&ISO~2^^^B~", "OBX|1|ST|113014^DICOM Study^DCM||1.2.3^x", "OBX|2|ST|8^y||no")
    assert parse(raw).values(path) == values


def test_a_path_that_is_none_is_named_with_an_example():
    with pytest.raises(MessageRefused, match=r"'PID3' in the senders table.*OBR-18\.1"):
        parse(WHOLE).values("PID3")


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", "a|b^c&d~e\\f"),
        (r"one\.br\two", "one\ntwo"),
        (r"\.sp3\x", "\n\n\nx"),
        (r"\.sp\x", "\nx"),
        (r"a\.sp99999999\b", "a" + "\n" * 8 + "b"),
        (r"\H\bold\N\ ", "bold"),
        (r"caf\XC3A9\ ", "café"),
        (r"4\5", r"4\5"),
        (r"a\unknown\b", r"a\unknown\b"),
        (r"a\X0\b", r"a\X0\b"),
        (r"C:\temp\F\x", r"C:\temp|x"),
        ("end\\", "end\\"),
        (r"\E\F\E\ ", r"\F\ ".strip()),
    ],
)
def test_escape_sequences_give_what_was_meant_and_unknown_ones_stay(sent, meant):
    assert unescape(sent, STANDARD, "utf-8").strip(" ") == meant


@given(st.text())
def test_what_we_escape_is_read_back(text):
    assert unescape(escape(text), STANDARD, "utf-8") == re.sub(r"[\x00-\x1f\x7f]+", " ", text)


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("8859/1", "latin-1"), ("8859/15", "iso8859_15"), ("UNICODE UTF-8", "utf-8"), ("UNICODE", "utf-8"),
        ("GB 18030-2000", "gb18030"), ("BIG-5", "big5"), ("KS X 1001", "euc_kr"), ("WINDOWS-1252", "cp1252"),
    ],
)  # fmt: skip
def test_msh_18_says_how_the_bytes_are_read(declared, codec):
    name = {"gb18030": "张伟", "big5": "王小明", "euc_kr": "김민수"}.get(codec, "Müller")
    raw = order(MSH_18=declared, PID_5="@").replace(b"@", name.encode(codec))
    parsed = parse(raw)
    assert (parsed.values("PID-5"), parsed.warnings) == ((name,), ())


def test_a_double_byte_character_that_holds_a_separator_is_not_cut():
    name = next(chr(c) for c in range(0x4E00, 0x9FFF) if b"|" in chr(c).encode("gb18030"))
    raw = order(MSH_18="GB 18030-2000", PID_5="@^Wei").replace(b"@", name.encode("gb18030"))
    assert parse(raw).values("PID-5") == (name,)


def test_an_empty_msh_18_takes_the_senders_set():
    raw = order(PID_5="@").replace(b"@", "Łódź".encode("iso8859_2"))
    assert parse(raw, "8859/2").values("PID-5") == ("Łódź",)


@pytest.mark.parametrize("declared", ["UNICODE UTF-8", "ASCII", "KLINGON"])
def test_a_wrong_character_set_never_loses_a_message_but_is_warned_of(declared, caplog):
    raw = order(MSH_18=declared, PID_5="@^Ana").replace(b"@", "Müller".encode("cp1252"))
    with caplog.at_level(logging.WARNING):
        requests = read_orders(raw, SenderRow())
    assert requests[0].patient.name.family == "Müller"
    assert "Windows-1252" in caplog.text
    assert "Müller" not in caplog.text


@pytest.mark.parametrize(
    "raw", [b"", b"GET / HTTP/1.1\r\n\r\n", b"MSH", b"MSH\r", b"PID|1||2\r", b"\x16\x03\x01\x02", b"MSHX|^~\\&|"]
)
def test_what_is_no_hl7_is_rejected_in_words(raw):
    with pytest.raises(MessageRefused, match="no MSH") as refused:
        read_header(raw)
    assert refused.value.rejected


def test_ambiguous_separators_are_rejected():
    with pytest.raises(MessageRefused, match="two separators"):
        parse(b"MSH|^^\\&|RIS\r")


@pytest.mark.parametrize("marks", ["", "^", "^~", "^~\\", "^~\\&#"])
def test_short_and_long_msh_2_are_read_with_the_usual_separators(marks):
    assert parse(f"MSH|{marks}|RIS|F\rPID|1||7^^^A\r".encode()).values("PID-3.4") == ("A",)


def test_the_header_is_read_whole():
    header = read_header(order(MSH_18="UNICODE UTF-8"))
    assert header.kind == "ORM^O01"
    assert (header.sending_application, header.control_id, header.version) == ("RIS", "M1", "2.5.1")
    assert header.sent_at == NOW


def test_a_time_of_unknown_zone_is_not_taken_for_a_moment():
    assert read_header(order(MSH_7="20260301090000")).sent_at is None


@given(st.binary(max_size=400))
def test_no_bytes_break_the_readers(noise):
    for raw in (noise, WHOLE + noise, b"MSH|^~\\&|" + noise, HEAD.encode() + b"\r" + noise):
        for read in (read_header, lambda data: read_orders(data, SenderRow())):
            with contextlib.suppress(MessageRefused):
                read(raw)
        answer = build_ack(raw, "AE", text="x", control_id="C1", at=NOW)
        assert (answer[:3], answer[-1:], answer.count(b"\x1c")) == (b"MSH", b"\r", 0)


_FIELDS = st.sampled_from(["PID_3", "PID_5", "PID_7", "ORC_1", "ORC_2", "ORC_7", "OBR_4", "OBR_18", "OBR_27", "ZDS_1",
                           "IPC_1", "IPC_3", "TQ1_7", "OBR_46", "OBR_34", "MSH_7", "MSH_9", "MSH_18"])  # fmt: skip
_VALUES = st.text(alphabet='0123456789AZ^~\\&|".- XFERT\r\n\x0b\x1cé', max_size=30)


@given(st.dictionaries(_FIELDS, _VALUES, max_size=5))
def test_no_field_value_breaks_the_reader_of_orders(fields):
    with contextlib.suppress(MessageRefused):
        for request in read_orders(order(**fields), SenderRow()):
            assert request.patient.identifier.value
            assert len(request.accession or "") <= 16
            assert request.scheduled_at is None or request.scheduled_at.tzinfo


@pytest.mark.parametrize(
    "flood",
    [b" " * 300_000, b"\x0b" * 300_000, b"\r" * 300_000, b"\r ".join([b""] * 150_000), b"\\" * 300_000, b"^" * 300_000],
)
def test_a_flood_of_one_character_costs_no_more_than_its_length(flood):
    started = time.perf_counter()
    for raw in (flood, HEAD.encode() + b"\rNTE|1||" + flood + b"\r"):
        with contextlib.suppress(MessageRefused):
            parse(raw).values("NTE-3.2.1")
    assert time.perf_counter() - started < 5
