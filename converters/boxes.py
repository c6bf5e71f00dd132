"""What the boxes of an MP4 or MOV file say (ISO/IEC 14496-12, QuickTime): layout, tracks, sample tables, private boxes.

Only box headers and the index (``moov``) are read. Every figure in a file may be a lie: each is checked against the
bytes that are there before anything is reserved for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from io import FileIO
from itertools import islice

from models.errors import RecordingRejected
from models.recording import PrivateBox

_MOST_BOXES = 200_000
_MOST_INDEX = 128 << 20
_MOST_PARTS = 20_000
_MOST_DEPTH = 8
_MOST_TEXT = 1000

_CONTAINERS = frozenset({"moov", "trak", "mdia", "minf", "stbl", "edts"})
_PRIVATE = frozenset({"udta", "meta", "uuid", "XMP_"})
_BEFORE_MOOV = frozenset({"ftyp", "styp", "moov", "mdat", "free", "skip", "wide", "pnot", "uuid", "moof", "sidx"})
_PICTURES = frozenset({"heic", "heix", "heim", "heis", "hevc", "mif1", "avif"})
_EMPTY = frozenset({"free", "skip"})

#: Names of texts: what FFmpeg calls them, so that claims read the same for every container.
_TEXT_NAMES = {
    "\xa9nam": "title", "titl": "title", "\xa9ART": "artist", "auth": "artist", "\xa9aut": "artist",
    "\xa9cmt": "comment", "\xa9des": "description", "desc": "description", "dscp": "description", "ldes": "synopsis",
    "\xa9inf": "information", "\xa9alb": "album", "albm": "album", "\xa9day": "date", "\xa9gen": "genre",
    "\xa9key": "keywords", "kywd": "keywords", "\xa9cpy": "copyright", "cprt": "copyright", "\xa9mak": "make",
    "\xa9mod": "model", "\xa9lyr": "lyrics", "\xa9grp": "grouping", "\xa9prd": "producer", "\xa9dir": "director",
}  # fmt: skip
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


def damaged(what: str) -> RecordingRejected:
    """Return the refusal of a file whose structure contradicts itself."""
    return RecordingRejected("damaged", f"the file is damaged ({what}): record it again or copy it again")


def truncated(what: str) -> RecordingRejected:
    """Return the refusal of a file of which something is missing."""
    return RecordingRejected("truncated", f"the file is not complete ({what}): copy it again when recording has ended")


@dataclass(frozen=True)
class Box:
    """A box: where it begins, its size with its header, and the bytes of its header."""

    kind: str
    offset: int
    size: int
    header: int

    @property
    def end(self) -> int:
        """The byte after it."""
        return self.offset + self.size


def is_movie(head: bytes) -> bool:
    """Tell whether a file that begins so is MP4 or MOV."""
    return head[4:8].decode("latin-1") in _BEFORE_MOOV


def _header(data: bytes, at: int, end: int) -> Box:
    """Read a box header within ``end`` bytes; a size of 0 means to the end (ISO/IEC 14496-12 4.2)."""
    size, kind, header = int.from_bytes(data[:4], "big"), data[4:8].decode("latin-1"), 8
    if size == 1:
        size, header = int.from_bytes(data[8:16], "big"), 16
    elif size == 0:
        size = end - at
    if size < header:
        raise damaged(f"a box {_shown(kind)} at byte {at:,} is smaller than its own header")
    return Box(kind, at, size, header)


def _shown(kind: str) -> str:
    return _CONTROL.sub("?", kind)


def top_boxes(file: FileIO, size: int) -> list[Box]:
    """Return the boxes of the file itself; the last may end after the file does.

    Raises:
        RecordingRejected: ``damaged`` for sizes that cannot be, ``truncated`` for an end within a box header.
    """
    boxes: list[Box] = []
    at = 0
    while at < size:
        head = os.pread(file.fileno(), 16, at)
        if len(head) < 8 or (head[:4] == b"\0\0\0\1" and len(head) < 16):  # noqa: PLR2004 - header sizes
            raise truncated("it ends within the header of a box")
        if not any(head[:8]):
            raise truncated(f"from byte {at:,} on nothing is written")
        if len(boxes) >= _MOST_BOXES:
            raise damaged(f"it has more than {_MOST_BOXES:,} boxes")
        boxes.append(_header(head, at, size))
        at = boxes[-1].end
    return boxes


@dataclass(frozen=True)
class Track:
    """One track: the payloads of its boxes by path, e.g. ``mdia/minf/stbl/stsz``; the first of each name counts."""

    parts: dict[str, bytes] = field(default_factory=dict)

    def part(self, name: str) -> bytes:
        """Return a payload, empty when the box is missing."""
        return self.parts.get(name, b"")

    def table(self, name: str) -> bytes:
        """Return the payload of a box of the sample table."""
        return self.part(f"mdia/minf/stbl/{name}")

    @property
    def handler(self) -> str:
        """``vide``, ``soun`` or the type of a data track."""
        return self.part("mdia/hdlr")[8:12].decode("latin-1")

    @property
    def timescale(self) -> int:
        """Ticks in a second.

        Raises:
            RecordingRejected: It is 0 or missing.
        """
        header = self.part("mdia/mdhd")
        found = u32(header, 20 if header[:1] == b"\1" else 12)
        if not found:
            raise damaged("a track has no time scale")
        return found

    @property
    def rotation(self) -> int | None:
        """Clockwise degrees to turn for display; None when mirrored or sheared."""
        header = self.part("tkhd")
        return turn(header, 52 if header[:1] == b"\1" else 40)

    @property
    def shown(self) -> Fraction | None:
        """Width by height as the track header wants it shown, None when not said."""
        header = self.part("tkhd")
        at = 88 if header[:1] == b"\1" else 76
        width, height = (int.from_bytes(header[place : place + 4], "big") for place in (at, at + 4))
        return Fraction(width, height) if width and height else None


@dataclass(frozen=True)
class Entry:
    """A sample entry (``stsd``): its type, its fixed fields and the boxes within it."""

    kind: str
    fields: bytes
    boxes: dict[str, bytes]


@dataclass(frozen=True)
class Movie:
    """A whole MP4 or MOV file.

    Attributes:
        overrun: The last box claims more bytes than there are.
        created: Seconds since 1904 (``mvhd``).
        timescale: Ticks of edit lists in a second.
        rotation: Of the whole movie; None when mirrored.
        texts: Free text by name.
        private: Boxes with position, owner or free text.
    """

    brand: str
    moov_first: bool
    fragmented: bool
    overrun: bool
    created: int
    timescale: int
    rotation: int | None
    tracks: tuple[Track, ...]
    texts: dict[str, str]
    private: tuple[PrivateBox, ...]


def turn(header: bytes, at: int) -> int | None:
    """Return the clockwise turn of a display matrix, None when it mirrors or shears (ISO/IEC 14496-12 8.2.2)."""
    if len(header) < at + 36:
        return 0
    a, b, c, d = (int.from_bytes(header[at + 4 * i : at + 4 * i + 4], "big", signed=True) for i in (0, 1, 3, 4))
    signs = tuple((value > 0) - (value < 0) for value in (a, b, c, d))
    turns: dict[tuple[int, ...], int] = {
        (0, 0, 0, 0): 0,
        (1, 0, 0, 1): 0,
        (0, 1, -1, 0): 90,
        (-1, 0, 0, -1): 180,
        (0, -1, 1, 0): 270,
    }
    return turns.get(signs)


def read_movie(file: FileIO, size: int) -> Movie:
    """Read the layout and the index.

    Raises:
        RecordingRejected: ``truncated`` without a whole index, ``damaged``.
    """
    boxes = top_boxes(file, size)
    index = next((box for box in boxes if box.kind == "moov"), None)
    brands = [box for box in boxes if box.kind == "ftyp"]
    brand = os.pread(file.fileno(), 4, brands[0].offset + brands[0].header).decode("latin-1") if brands else ""
    if index is None and brand in _PICTURES:
        raise RecordingRejected("not-a-video", "the file is a still picture: send the recording itself")
    if index is None:
        raise truncated("its index, the moov box, is missing")
    if index.end > size:
        raise truncated("it ends within its index, the moov box")
    if index.size > _MOST_INDEX:
        raise damaged(f"its index has {index.size:,} bytes")
    data = os.pread(file.fileno(), index.size, index.offset)
    if len(data) < index.size:
        raise truncated("it ends within its index, the moov box")
    found = list(islice(_walk(data, "", Box("moov", 0, len(data), index.header), 0), _MOST_PARTS))
    if len(found) == _MOST_PARTS:
        raise damaged(f"its index has more than {_MOST_PARTS:,} boxes")
    header = next((data[box.offset + box.header : box.end] for path, box in found if path == "moov/mvhd"), b"")
    large = header[:1] == b"\1"
    return Movie(
        brand=brand,
        moov_first=index.offset < min((box.offset for box in boxes if box.kind == "mdat"), default=size),
        fragmented=any(box.kind == "moof" for box in boxes) or any(path == "moov/mvex" for path, _ in found),
        overrun=boxes[-1].end > size,
        created=int.from_bytes(header[4:12] if large else header[4:8], "big"),
        timescale=int.from_bytes(header[20:24] if large else header[12:16], "big"),
        rotation=turn(header, 48 if large else 36),
        tracks=_tracks(data, found),
        texts=_texts(data, found),
        private=(*_private(data, found, index.offset), *_private_outside(file, boxes, size)),
    )


def _walk(data: bytes, path: str, outer: Box, depth: int) -> Iterator[tuple[str, Box]]:
    """Yield every box below ``outer`` with its path, depth first; trailing bytes too few for a box are padding."""
    path = f"{path}/{outer.kind}" if path else outer.kind
    at = outer.offset + outer.header
    while at + 8 <= outer.end:
        if not any(data[at : at + 8]):
            raise truncated("a part of its index is not written")
        box = _header(data[at : at + 16], at, outer.end)
        if box.end > outer.end or not any(data[at : at + 4]):
            raise damaged(f"box {_shown(box.kind)} does not fit into {path}")
        yield f"{path}/{box.kind}", box
        if box.kind in _CONTAINERS:
            if depth >= _MOST_DEPTH:
                raise damaged("its boxes are nested too deeply")
            yield from _walk(data, path, box, depth + 1)
        at = box.end


def _tracks(data: bytes, found: list[tuple[str, Box]]) -> tuple[Track, ...]:
    tracks: list[Track] = []
    for path, box in found:
        if path == "moov/trak":
            tracks.append(Track())
        elif path.startswith("moov/trak/") and box.kind not in _CONTAINERS and tracks:
            tracks[-1].parts.setdefault(path[10:], data[box.offset + box.header : box.end])
    return tuple(tracks)


def _private(data: bytes, found: list[tuple[str, Box]], offset: int) -> Iterator[PrivateBox]:
    """Yield the private boxes of the index."""
    for path, box in found:
        if box.kind in _PRIVATE and path.rpartition("/")[0] in ("moov", "moov/trak", "moov/trak/mdia"):
            payload = data[box.offset + box.header : box.end]
            if not _harmless(box.kind, payload):
                yield PrivateBox(offset=offset + box.offset, size=box.size, header=box.header, name=path)


def _private_outside(file: FileIO, boxes: list[Box], size: int) -> Iterator[PrivateBox]:
    for box in boxes:
        if box.kind in _PRIVATE and box.end <= size:
            payload = os.pread(file.fileno(), min(box.size, 1 << 20) - box.header, box.offset + box.header)
            if box.size > 1 << 20 or not _harmless(box.kind, payload):
                yield PrivateBox(offset=box.offset, size=box.size, header=box.header, name=box.kind)


def _harmless(kind: str, payload: bytes) -> bool:
    """Tell whether a private box holds nothing, or nothing but the name of the program that wrote the file."""
    if kind not in ("udta", "meta"):
        return not any(payload)
    at = _meta_start(payload) if kind == "meta" else 0
    for name, inner in _inner(payload, at):
        if name == "ilst":
            if any(tag != "\xa9too" for tag, _ in _inner(inner, 0)):
                return False
        elif name == "meta":
            if not _harmless("meta", inner):
                return False
        elif name not in ("hdlr", "\xa9too") and (name not in _EMPTY or any(inner)):
            return False
    return True


def _meta_start(payload: bytes) -> int:
    """QuickTime's ``meta`` has no version and flags before its first box, the one of MP4 has."""
    return 0 if payload[4:8] == b"hdlr" else 4


def _inner(payload: bytes, at: int) -> Iterator[tuple[str, bytes]]:
    """Yield name and payload of the boxes in a payload; bytes that are no boxes come as one without a name."""
    while at + 8 <= len(payload):
        size = int.from_bytes(payload[at : at + 4], "big")
        if not 8 <= size <= len(payload) - at:  # noqa: PLR2004 - a header
            break
        yield payload[at + 4 : at + 8].decode("latin-1"), payload[at + 8 : at + size]
        at += size
    if any(payload[at:]):
        yield "", payload[at:]


def _texts(data: bytes, found: list[tuple[str, Box]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for path, box in found:
        payload = data[box.offset + box.header : box.end]
        if path == "moov/meta":
            texts |= dict(_meta_texts(payload))
        elif path == "moov/udta":
            for name, inner in _inner(payload, 0):
                texts |= dict(_meta_texts(inner)) if name == "meta" else _udta_text(name, inner)
    return texts


def _udta_text(name: str, payload: bytes) -> dict[str, str]:
    """Read a QuickTime text (size, language, text) or a 3GPP one (version, flags, language, text)."""
    known = _TEXT_NAMES.get(name)
    if known is None:
        return {}
    if name.startswith("\xa9"):
        size = int.from_bytes(payload[:2], "big")
        return _named(known, payload[4 : 4 + size])
    return _named(known, payload[6:])


def _meta_texts(payload: bytes) -> Iterator[tuple[str, str]]:
    """Yield the texts of an iTunes or QuickTime metadata box (``keys`` and ``ilst``)."""
    parts = dict(_inner(payload, _meta_start(payload)))
    keys = [inner.decode("utf-8", "replace") for _, inner in _inner(parts.get("keys", b"")[8:], 0)]
    for tag, inner in _inner(parts.get("ilst", b""), 0):
        value = dict(_inner(inner, 0)).get("data", b"")
        place = int.from_bytes(tag.encode("latin-1"), "big") - 1
        name = keys[place] if 0 <= place < len(keys) else _TEXT_NAMES.get(tag, "")
        if name and int.from_bytes(value[:4], "big") == 1:
            yield from _named(name, value[8:]).items()


def _named(name: str, raw: bytes) -> dict[str, str]:
    text = clean_text(raw.decode("utf-8", "replace"))
    return {clean_text(name): text} if text else {}


def clean_text(text: str) -> str:
    """Return a text without control characters and not endlessly long."""
    return _CONTROL.sub(" ", text).strip()[:_MOST_TEXT]


def u32(data: bytes, at: int) -> int:
    """Return the number of four bytes at a place of a payload."""
    if at + 4 > len(data):
        raise damaged("a box is shorter than it must be")
    return int.from_bytes(data[at : at + 4], "big")


def entries(track: Track) -> list[Entry]:
    """Return the sample entries of a track (ISO/IEC 14496-12 8.5.2)."""
    data = track.table("stsd")
    found, at = [], 8
    for _ in range(min(u32(data, 4), 64)):
        size = u32(data, at)
        if size < 16 or at + size > len(data):  # noqa: PLR2004 - the fixed part of a sample entry
            raise damaged("a sample description does not fit")
        body = data[at + 8 : at + size]
        found.append(Entry(data[at + 4 : at + 8].decode("latin-1"), body, _entry_boxes(track.handler, body)))
        at += size
    if not found:
        raise damaged("a track has no sample description")
    return found


def _entry_boxes(handler: str, body: bytes) -> dict[str, bytes]:
    if handler == "vide":
        return dict(_inner(body, 78))
    version = int.from_bytes(body[8:10], "big")
    boxes = dict(_inner(body, {1: 44, 2: 64}.get(version, 28)))
    return {**dict(_inner(boxes.get("wave", b""), 0)), **boxes}
