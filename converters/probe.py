"""What a recording is, read from headers and the packet index: never by decoding the whole (DESIGN 8).

MP4 and MOV are read by our own walk over the boxes, H.264 and HEVC by our own reading of the parameter sets; other
containers and codecs through FFmpeg, restricted to video files. Where two places disagree the more adverse one counts,
and what a decoder follows wins over what a container says.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import av

from converters.boxes import Movie, damaged, is_movie, read_movie, truncated
from converters.movie import read_movie_facts
from converters.packets import read_packet_facts
from converters.sample_table import require_inside
from models.errors import RecordingRejected
from models.recording import StreamFacts

log = logging.getLogger("cinelink." + __name__)

_HEAD = 4096

_UNFINISHED = "its size was never written: the recording may have been interrupted"
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def probe(path: Path) -> StreamFacts:
    """Read what a recording is.

    For a variable rate, ``fps`` is the lowest usual rate on whose grid every picture has a place of its own.

    Args:
        path: A file that is complete; it is opened without following a link.

    Returns:
        The facts, with ``defects`` in sentences.

    Raises:
        RecordingRejected: ``not-a-file``, ``empty``, ``not-a-video``, ``no-video-stream``, ``truncated``,
            ``too-large-picture`` or ``damaged``.
    """
    try:
        with _opened(path) as file:
            before = os.fstat(file.fileno())
            if not before.st_size:
                raise RecordingRejected("empty", "the file is empty: copy it again")
            facts = _facts(path.absolute(), file, before.st_size)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = os.fstat(file.fileno())
    except OSError as error:
        raise damaged(f"it cannot be read: {error.strerror or 'input/output error'}") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise truncated("it changed while it was read")
    return facts.model_copy(update={"sha256": digest})


def completeness(path: Path) -> str:
    """Say why a file is not structurally whole yet; empty when it is, or when its kind has no end mark (TS, PS).

    Made for files that may still be growing: it never raises. A file that is damaged rather than cut counts as whole,
    because waiting will not mend it and ``probe`` will say why.
    """
    try:
        with _opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            head = os.pread(file.fileno(), _HEAD, 0)
            if not any(head):
                return "nothing is written yet"
            if is_movie(head):
                _require_samples(read_movie(file, size), size)
            return declared_end(file, head, size)
    except RecordingRejected as error:
        return str(error) if error.code in ("truncated", "not-a-file") else ""
    except OSError as error:
        return f"it cannot be read yet ({error.strerror})"
    except (ValueError, IndexError, OverflowError):
        return ""


def _require_samples(movie: Movie, size: int) -> None:
    if movie.overrun:
        raise truncated("its last box ends beyond the end of the file")
    for track in movie.tracks:
        if not movie.fragmented and track.table("stsz"):
            require_inside(track, size)


@contextmanager
def _opened(path: Path) -> Iterator[FileIO]:
    """Open a regular file; a link, a pipe or a device is refused before it can hang or mislead."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise RecordingRejected("not-a-file", "this is no regular file: put the video itself in its place")
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name cannot be used"
        raise RecordingRejected("not-a-file", f"the file cannot be opened ({reason}): put it back") from error
    with FileIO(handle) as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise RecordingRejected("not-a-file", "this is no regular file: put the video itself in its place")
        yield file


def declared_end(file: FileIO, head: bytes, size: int) -> str:
    """Say what is missing of an AVI, Matroska or ASF file by the size that it declares; empty for nothing."""
    end = size
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        end = _riff_end(file, size)
        if not end:
            return _UNFINISHED
    elif head[:4] == _EBML:
        end = _matroska_end(head) or size
    elif head[:16] == _ASF_HEADER and (at := head.find(_ASF_PROPERTIES)) > 0 and head[at + 88 : at + 89] != b"\1":
        end = int.from_bytes(head[at + 40 : at + 48], "little") or size
    return f"it has {size:,} of {end:,} bytes" if end > size + 1 else ""


def _riff_end(file: FileIO, size: int) -> int:
    """Return the end of the last RIFF part, 0 when the writer never came to write it."""
    at = 0
    for _ in range(4096):
        head = os.pread(file.fileno(), 8, at)
        if at >= size or head[:4] != b"RIFF":
            break
        length = int.from_bytes(head[4:], "little")
        if not length:
            return 0
        at += 8 + length + length % 2
    return at


def _matroska_end(head: bytes) -> int:
    """Return the end of the segment, 0 when its size is unknown (RFC 8794 6)."""
    length, at = _vint(head, 4)
    at += length
    if head[at : at + 4] != _SEGMENT:
        return 0
    length, at = _vint(head, at + 4)
    return at + length if length else 0


def _vint(head: bytes, at: int) -> tuple[int, int]:
    """Return a variable-size number, 0 for "unknown", and the byte after it."""
    first = head[at] if at < len(head) else 0
    width = 9 - first.bit_length()
    value = int.from_bytes(head[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (0 if value == (1 << 7 * width) - 1 else value), at + width


def _facts(path: Path, file: FileIO, size: int) -> StreamFacts:
    """Read everything but the hash; whatever contradicts itself on the way is a damaged file."""
    head = os.pread(file.fileno(), _HEAD, 0)
    try:
        if is_movie(head):
            return read_movie_facts(path, file, size)
        missing = declared_end(file, head, size)
        if missing and missing != _UNFINISHED:
            raise truncated(missing)
        facts = read_packet_facts(path, file, size)
    except av.FFmpegError as error:
        raise damaged(f"it cannot be read to its end: {error.strerror}") from error
    except (ValueError, IndexError, OverflowError, ArithmeticError) as error:
        log.warning("a recording could not be read: %s", type(error).__name__)
        raise damaged("its figures contradict each other") from error
    return facts.model_copy(update={"defects": (*facts.defects, missing)}) if missing else facts
