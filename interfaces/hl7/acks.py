"""Acknowledgements in original mode: built from the bytes that they answer, and read (HL7 v2.5.1 2.9.2, 2.15.8)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from interfaces.hl7.charset import codec_of
from interfaces.hl7.escapes import STANDARD, Delimiters, escape
from interfaces.hl7.parsing import ParsedMessage, header_line, parse
from interfaces.hl7.times import write_stamp
from models.errors import MessageRefused
from models.message import Acknowledgement

#: Meanings of HL7 table 0357, for ERR.
_MEANINGS = {
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "103": "Table value not found",
    "200": "Unsupported message type",
    "201": "Unsupported event code",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "204": "Unknown key identifier",
    "205": "Duplicate key identifier",
    "206": "Application record locked",
    "207": "Application internal error",
}
_DEFAULT_VERSION = "2.5.1"
_REFUSALS = frozenset({"AE", "AR", "CE", "CR"})
_CONTROL = bytes((*range(32), 127))


@dataclass(frozen=True)
class _Asked:
    """What of the message's header goes back, as bytes and without control characters."""

    fields: tuple[bytes, ...]
    delimiters: Delimiters
    encoding: str

    def field(self, number: int) -> bytes:
        # MSH-1 is the separator itself, so MSH-n stands at place n - 1 of the split line (HL7 v2.5.1 2.15.9.1).
        return self.fields[number - 1] if number <= len(self.fields) else b""

    def text(self, value: str) -> bytes:
        return escape(value, self.delimiters).encode(self.encoding, errors="replace")

    @property
    def version(self) -> tuple[int, int]:
        found = re.match(rb"(\d{1,3})\.(\d{1,3})", self.field(12))
        return (int(found[1]), int(found[2])) if found else (2, 5)


def build_ack(
    raw: bytes,
    code: str,
    *,
    text: str = "",
    error_location: str = "",
    error_code: str = "",
    control_id: str,
    at: datetime,
) -> bytes:
    """Return the answer to a message, also to bytes that are no message.

    Separators, version, processing id and character set are the message's own; sender and receiver change places;
    MSA-2 is MSH-10 byte for byte. Control characters never come back: an FS in MSH-3 would end our own frame.

    Args:
        raw: The bytes that are answered.
        code: MSA-1: AA, AE or AR (HL7 table 0008).
        text: What is wrong and how to mend it, for MSA-3 and ERR-8.
        error_location: ``PID^1^3``: ERR-2 from version 2.5, ERR-1 before.
        error_code: HL7 table 0357; 207 for a refusal that gives none.
        control_id: MSH-10 of the answer.
        at: MSH-7 of the answer, aware.
    """
    asked = _asked(raw)
    lines = [_msh(asked, control_id, at), [b"MSA", code.encode("ascii"), asked.field(10), asked.text(text)]]
    if error_code or code in _REFUSALS:
        lines.append(_err(asked, error_location, error_code or "207", text))
    separator = asked.delimiters.field.encode("latin-1")
    return b"".join(separator.join(line).rstrip(separator) + b"\r" for line in lines)


def _asked(raw: bytes) -> _Asked:
    try:
        line, delimiters = header_line(raw)
    except MessageRefused:
        return _Asked((b"MSH", b"^~\\&"), STANDARD, "utf-8")
    fields = tuple(part.translate(None, _CONTROL) for part in line.split(delimiters.field.encode("latin-1")))
    asked = _Asked(fields, delimiters, "ascii")
    declared = asked.field(18).split(delimiters.repetition.encode("latin-1"))[0].decode("latin-1")
    return _Asked(fields, delimiters, codec_of(declared) or "ascii")


def _msh(asked: _Asked, control_id: str, at: datetime) -> list[bytes]:
    return [
        b"MSH",
        asked.field(2),
        asked.field(5),
        asked.field(6),
        asked.field(3),
        asked.field(4),
        write_stamp(at).encode("ascii"),
        b"",
        _kind(asked),
        asked.text(control_id),
        asked.field(11) or b"P",
        asked.field(12) or _DEFAULT_VERSION.encode("ascii"),
        *([b""] * 5),
        asked.field(18),
    ]


def _kind(asked: _Asked) -> bytes:
    """``ACK^O01^ACK`` from version 2.4; before that the structure had no place in MSH-9."""
    component = asked.delimiters.component.encode("latin-1")
    parts = asked.field(9).split(component)
    trigger = parts[1] if len(parts) > 1 else b""
    return component.join((b"ACK", trigger, b"ACK")) if trigger and asked.version >= (2, 4) else b"ACK"


def _err(asked: _Asked, location: str, code: str, text: str) -> list[bytes]:
    marks = asked.delimiters
    places = [escape(part, marks) for part in location.split("^")] if location else []
    coded = (code, _MEANINGS.get(code, ""), "HL70357")
    if asked.version >= (2, 5):
        words = [marks.component.join(places), marks.component.join(coded), "E", "", "", ""]
        return [b"ERR", b"", *(word.encode("ascii", errors="replace") for word in words), asked.text(text)]
    eld = [*(*places, "", "", "")[:3], marks.subcomponent.join(coded)]
    return [b"ERR", marks.component.join(eld).encode("ascii", errors="replace")]


def read_ack(raw: bytes) -> Acknowledgement:
    """Read an answer; a missing last CR, any line ends and any character set are fine.

    Raises:
        MessageRefused: It is no HL7 message, or it has no MSA segment.
    """
    message = parse(raw)
    found = message.named("MSA")
    if not found:
        raise MessageRefused("the answer has no MSA segment, so it accepts nothing", location="MSA^1", code="100")
    return Acknowledgement(
        code=found[0].part(1).upper(),
        control_id=found[0].raw(2).strip(),
        text=_words(message),
        raw=raw.decode(message.encoding, errors="replace"),
    )


def _words(message: ParsedMessage) -> str:
    """Return MSA-3 and whatever ERR says, each once."""
    said = [message.named("MSA")[0].part(3)]
    for error in message.named("ERR"):
        said += [error.part(8), error.part(3, 2), error.part(2) and f"at {error.elements(2)[0].text}"]
        said += [element.text for element in error.elements(1)]
    return "; ".join(dict.fromkeys(word for word in said if word))
