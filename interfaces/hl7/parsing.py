"""A tolerant tokenizer: bytes in any real-world shape to segments, fields and values (HL7 v2.5.1 2.5 to 2.7).

It is the only parser on the way in. It keeps every segment (also those that the grammar does not allow there), reads
any line ending, and never fails for a character set. Only bytes without an MSH are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from interfaces.hl7.charset import decode
from interfaces.hl7.escapes import STANDARD, Delimiters, unescape
from models.errors import MessageRefused

#: What HL7 writes for "delete what you have" (HL7 v2.5.1 2.5.3).
NULL = '""'

#: The blanks are counted, so that a flood of them costs no more than its length.
_START = re.compile(rb"(?:^|(?<=[\r\n]))[ \t\x0b]{0,32}(?:\xef\xbb\xbf)?[ \t]{0,8}(MSH[^A-Za-z0-9\s\x00-\x1f])")
_LINE_END = re.compile(r"\r\n|\r|\n")
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}")
_PATH = re.compile(r"([A-Z][A-Z0-9]{2})-(\d{1,3})(?:\.(\d{1,3}))?(?:\.(\d{1,3}))?")
_OBX_PATH = re.compile(r"OBX:(.+)")
_MSH_CHARACTER_SET = 18

#: Separators that no text holds: nothing is split.
_NONE = Delimiters(*"\x00\x01\x02\x03\x04")


@dataclass(frozen=True, slots=True)
class Path:
    """One path of a chain: ``PID-3.4.1`` or ``OBX:113014`` (then ``code`` is set and the value is OBX-5.1)."""

    segment: str
    field: int
    component: int = 0
    subcomponent: int = 0
    code: str = ""


@lru_cache(maxsize=1024)
def parse_path(text: str) -> Path:
    """Read one path.

    Raises:
        MessageRefused: It is no path; the senders table has to be mended.
    """
    if found := _OBX_PATH.fullmatch(text.strip()):
        return Path("OBX", 5, 1, 0, found[1].strip())
    if found := _PATH.fullmatch(text.strip()):
        return Path(found[1], int(found[2]), int(found[3] or 0), int(found[4] or 0))
    raise MessageRefused(f"{text!r} in the senders table is no HL7 path: write for example OBR-18.1 or OBX:113014")


@lru_cache(maxsize=1024)
def parse_chain(text: str) -> tuple[Path, ...]:
    """Read a chain such as ``IPC-1.1|OBR-18.1``; an empty one gives no path."""
    return tuple(parse_path(part) for part in text.split("|") if part.strip())


@dataclass(frozen=True, slots=True)
class Element:
    """One repetition of one field, still escaped."""

    raw: str
    delimiters: Delimiters
    encoding: str

    def part(self, component: int = 1, subcomponent: int = 0) -> str:
        """Return a component, or one of its subcomponents, unescaped and without outer blanks; empty when absent.

        Without a subcomponent the whole component is meant, also when it holds an unescaped ``&``.
        """
        text = _nth(self.raw, self.delimiters.component, component)
        if subcomponent:
            text = _nth(text, self.delimiters.subcomponent, subcomponent)
        return unescape(text, self.delimiters, self.encoding).strip()

    @property
    def text(self) -> str:
        """The whole repetition, unescaped."""
        return unescape(self.raw, self.delimiters, self.encoding).strip()


def _nth(text: str, separator: str, number: int) -> str:
    parts = text.split(separator, number)
    return parts[number - 1] if len(parts) >= number else ""


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment; ``number`` counts the segments of its name in the message, from 1 (as ERR-2 does)."""

    name: str
    number: int
    fields: tuple[str, ...]
    delimiters: Delimiters
    encoding: str

    def raw(self, field: int) -> str:
        """Return a field as it stands in the message; empty when absent."""
        return self.fields[field] if field < len(self.fields) else ""

    def elements(self, field: int) -> tuple[Element, ...]:
        """Return the repetitions of a field that hold anything; MSH-1 and MSH-2 are never split."""
        raw = self.raw(field)
        if self.name == "MSH" and field <= 2:  # noqa: PLR2004 - MSH-1 and MSH-2 hold the separators themselves
            return (Element(raw, _NONE, self.encoding),)
        parts = raw.split(self.delimiters.repetition)
        return tuple(Element(part, self.delimiters, self.encoding) for part in parts if part.strip())

    def part(self, field: int, component: int = 1, subcomponent: int = 0) -> str:
        """Return a component of a field's first repetition, unescaped; empty when absent."""
        return next((item.part(component, subcomponent) for item in self.elements(field)), "")

    def location(self, field: int) -> str:
        """Return where a field is, as ERR-2 wants it (HL7 v2.5.1 2.15.5)."""
        return f"{self.name}^{self.number}^{field}"


@dataclass(frozen=True)
class ParsedMessage:
    """A message in segments."""

    delimiters: Delimiters
    segments: tuple[Segment, ...]
    encoding: str
    warnings: tuple[str, ...]

    @cached_property
    def header(self) -> Segment:
        """The first MSH."""
        return self.segments[0]

    def named(self, name: str) -> tuple[Segment, ...]:
        """Return the segments of that name, in order."""
        return tuple(segment for segment in self.segments if segment.name == name)

    def values(self, path: str) -> tuple[str, ...]:
        """Return every value at a path, for example ``PID-3.4.1``, over all segments and repetitions."""
        wanted = parse_path(path)
        return tuple(value for _, value in values_at(self.segments, wanted))


def values_at(segments: tuple[Segment, ...], path: Path) -> Iterator[tuple[Segment, str]]:
    """Yield every value at a path with its segment, unescaped; blank ones are left out."""
    for segment, element in elements_at(segments, path):
        if value := element.part(path.component or 1, path.subcomponent):
            yield segment, value


def elements_at(segments: tuple[Segment, ...], path: Path) -> Iterator[tuple[Segment, Element]]:
    """Yield every repetition of the field that a path names, with its segment."""
    for segment in segments:
        if segment.name == path.segment and (not path.code or segment.part(3) == path.code):
            for element in segment.elements(path.field):
                yield segment, element


def parse(raw: bytes, default_character_set: str = "") -> ParsedMessage:
    """Take a message apart.

    Args:
        raw: The bytes of the frame, without VT and FS.
        default_character_set: Used when MSH-18 is empty.

    Raises:
        MessageRefused: There is no MSH, or its separators are ambiguous.
    """
    body, delimiters = _from_header(raw)
    first = re.split(rb"[\r\n]", body, maxsplit=1)[0].decode("latin-1").split(delimiters.field)
    declared = _nth(_at(first, _MSH_CHARACTER_SET - 1), delimiters.repetition, 1)
    decoded = decode(body, declared, default_character_set)
    segments = tuple(_segments(decoded.text, delimiters, decoded.encoding))
    return ParsedMessage(delimiters, segments, decoded.encoding, decoded.warnings)


def _at(parts: list[str], index: int) -> str:
    return parts[index] if index < len(parts) else ""


def header_line(raw: bytes) -> tuple[bytes, Delimiters]:
    """Return the bytes of the MSH line, as sent, and its separators.

    Raises:
        MessageRefused: There is no MSH, or its separators are ambiguous.
    """
    body, delimiters = _from_header(raw)
    return re.split(rb"[\r\n]", body, maxsplit=1)[0], delimiters


def _from_header(raw: bytes) -> tuple[bytes, Delimiters]:
    found = _START.search(raw)
    if not found:
        raise MessageRefused(
            "this is no HL7 v2 message: it has no MSH segment; send MSH first, with its separators",
            location="MSH^1",
            code="100",
            rejected=True,
        )
    body = raw[found.start(1) :]
    return body, _delimiters(body)


def _delimiters(body: bytes) -> Delimiters:
    field = chr(body[3])
    marks = re.split(rb"[\r\n]", body[4:64], maxsplit=1)[0].decode("latin-1").split(field)[0]
    given = [mark for mark in marks[:4] if not mark.isalnum() and not mark.isspace()]
    sent = Delimiters(field, *given, *STANDARD[1 + len(given) :])
    if len(set(sent)) < len(sent):
        raise MessageRefused(
            "MSH-1 and MSH-2 name one character for two separators: send |^~\\& or five different ones",
            location="MSH^1^2",
            code="102",
            rejected=True,
        )
    return sent


def _segments(text: str, delimiters: Delimiters, encoding: str) -> Iterator[Segment]:
    counts: dict[str, int] = {}
    for line in _joined_lines(text, delimiters):
        name = line[:3]
        counts[name] = counts.get(name, 0) + 1
        fields = line.split(delimiters.field)
        if name == "MSH":
            fields = ["MSH", delimiters.field, *fields[1:]]
        yield Segment(name, counts[name], tuple(fields), delimiters, encoding)


def _joined_lines(text: str, delimiters: Delimiters) -> Iterator[str]:
    """Yield one line a segment: a line that begins no segment goes on with the field before it."""
    current: list[str] = []
    for raw_line in _LINE_END.split(text):
        line = raw_line.lstrip(" \t\ufeff")
        if not line.strip():
            continue
        begins = bool(_SEGMENT.match(line)) and line[3:4] in ("", delimiters.field)
        if begins and current:
            yield "\n".join(current)
            current = []
        current.append(line if begins else raw_line)
    if current:
        yield "\n".join(current)
