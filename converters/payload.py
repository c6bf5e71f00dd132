"""The bit stream that an object will hold: the file itself, private boxes blanked, or a scratch file made from it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO

from converters.part10 import CHUNK
from models.errors import ConversionFailed
from models.recording import PrivateBox

#: What FFmpeg may open and how: no playlists, no network, no picture bombs (each was seen to be followed otherwise).
INPUT_OPTIONS = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf,mxf,dv,h264,hevc,mpegvideo,flv",
    "protocol_whitelist": "file",
    "max_pixels": "33177600",
}

#: The release of PyAV that takes any metadata; those before it refuse what is not UTF-8, unless told.
_TAKES_ANY_TEXT = 19
TEXT_OPTIONS: dict[str, Any] = (
    {} if int(version("av").split(".")[0]) >= _TAKES_ANY_TEXT else {"metadata_errors": "replace"}
)


@dataclass(frozen=True)
class Payload:
    """A bit stream, ready to be encapsulated.

    Attributes:
        path: The file whose bytes it is.
        size: Bytes.
        frames: Pictures in it.
        rows: Height in pixels.
        columns: Width in pixels.
        rate: Pictures in a second.
        blanked: Boxes that are blanked while it is read.
        psnr: Mean dB of the encoder's output against its input; None for an untouched stream.
    """

    path: Path
    size: int
    frames: int
    rows: int
    columns: int
    rate: Fraction
    blanked: tuple[PrivateBox, ...] = ()
    psnr: float | None = None


@dataclass
class Digests:
    """SHA-256 of what was read and of what was given on, known when the last chunk is through."""

    source: str = ""
    stream: str = ""


@dataclass(frozen=True)
class _Blanker:
    """Turns private boxes into ``free`` boxes of zeros, chunk by chunk (ISO/IEC 14496-12 8.1.2); no offset moves."""

    boxes: tuple[PrivateBox, ...]

    def __call__(self, chunk: bytes, start: int) -> bytes:
        touched = [box for box in self.boxes if box.offset < start + len(chunk) and start < box.offset + box.size]
        if not touched:
            return chunk
        data = bytearray(chunk)
        for box in touched:
            _fill(data, start, box.offset + box.header, box.offset + box.size)
            for index, letter in enumerate(b"free", box.offset + 4 - start):
                if 0 <= index < len(data):
                    data[index] = letter
        return bytes(data)


def _fill(data: bytearray, start: int, first: int, end: int) -> None:
    """Zero the bytes of the file from ``first`` to before ``end`` that this chunk has; it begins at ``start``."""
    low, high = max(first - start, 0), min(end - start, len(data))
    if low < high:
        data[low:high] = bytes(high - low)


def chunks(path: Path, blanked: tuple[PrivateBox, ...], digests: Digests) -> Iterator[bytes]:
    """Yield the bit stream in chunks, private boxes blanked, and leave both SHA-256 in ``digests``.

    Raises:
        ConversionFailed: The file is no regular file, or a box to be blanked is not where the plan says.
    """
    with open_regular(path) as file:
        outer = _outermost(file, blanked)
        blank = _Blanker(outer)
        read, given = hashlib.sha256(), hashlib.sha256()
        start = 0
        while chunk := file.read(CHUNK):
            read.update(chunk)
            if outer:
                chunk = blank(chunk, start)
                given.update(chunk)
            start += len(chunk)
            yield chunk
        digests.source = read.hexdigest()
        digests.stream = given.hexdigest() if outer else digests.source


def _outermost(file: BinaryIO, boxes: tuple[PrivateBox, ...]) -> tuple[PrivateBox, ...]:
    """Return the boxes that lie in no other one, after a look that each is really there: pictures are never blanked."""
    size = os.fstat(file.fileno()).st_size
    for box in boxes:
        file.seek(box.offset + 4)
        kind = file.read(4).decode("latin-1")
        fits = box.header in (8, 16) and box.header <= box.size and box.offset + box.size <= size
        if not fits or kind != box.name.rsplit("/", 1)[-1] or kind in ("moov", "mdat", "trak", "ftyp", "moof"):
            raise ConversionFailed(
                "source", f"there is no box {box.name} at byte {box.offset:,} to blank: probe the recording again"
            )
    file.seek(0)
    return tuple(box for box in boxes if not any(_inside(box, other) for other in boxes))


def _inside(box: PrivateBox, other: PrivateBox) -> bool:
    return box != other and other.offset <= box.offset and box.offset + box.size <= other.offset + other.size


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; a link, a pipe or a device is refused before it can hang or mislead.

    Raises:
        ConversionFailed: It is missing or no regular file.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConversionFailed("source", f"the recording cannot be opened ({error.strerror}): put it back") from error
    if not S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ConversionFailed("source", "the recording is no regular file: put the video itself in its place")
    return os.fdopen(handle, "rb", buffering=0)


def hash_file(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """Return the SHA-256 of a file, hex.

    Raises:
        ConversionFailed: It is missing or no regular file.
    """
    digest, done = hashlib.sha256(), 0
    with open_regular(path) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            on_bytes(done)
    return digest.hexdigest()


def require_unchanged(found: str, expected: str) -> None:
    """Compare the source's SHA-256 with the one that was probed.

    Raises:
        ConversionFailed: They differ.
    """
    if found != expected:
        raise ConversionFailed(
            "source",
            f"the recording changed since it was probed (SHA-256 {found[:12]}, was {expected[:12]}): probe it again",
        )


def media_name(path: Path) -> str:
    """Return the name under which FFmpeg opens exactly this file, whatever colons or bars it contains."""
    return f"file:{path.absolute()}"


def reason(error: Exception) -> str:
    """Return what a library says went wrong, without the path, for a file's name may be a patient's."""
    return str(getattr(error, "strerror", None) or error)


def exact(value: Any, default: Fraction = Fraction(1)) -> Fraction:
    """Return a rational of PyAV as a Fraction; unset is None up to release 18 and 0/1 from 19 on."""
    return Fraction(value.numerator, value.denominator) if value else default
