"""Where the samples of an MP4 or MOV track are, how long they are, and when they are shown (ISO/IEC 14496-12 8.6, 8.7).

Every figure in a file may be a lie: each is checked against the bytes that are there before anything is reserved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.boxes import Track, damaged, truncated, u32
from models.recording import PrivateBox

Ticks = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_MOST_SAMPLES = 5_000_000


@dataclass(frozen=True)
class Samples:
    """The samples of a track, one value for each in decoding order.

    Attributes:
        times: When each is shown, in ticks.
        decoded: When each is decoded, in ticks.
        keys: Which ones can be decoded by themselves.
        last: Duration of the last one, in ticks.
        described: Sample descriptions in use.
        oddities: Sentences on tables that contradict each other.
    """

    sizes: Ticks
    offsets: Ticks
    times: Ticks
    decoded: Ticks
    keys: npt.NDArray[np.bool_]
    last: int
    described: int
    oddities: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self.sizes)

    @property
    def end(self) -> int:
        """The last byte that any sample needs."""
        return int((self.offsets + self.sizes).max()) if self.count else 0

    def overlaps(self, box: PrivateBox) -> bool:
        """Tell whether any sample lies in a box."""
        inside = (self.offsets < box.offset + box.size) & (self.offsets + self.sizes > box.offset)
        return bool(inside.any())


def read_samples(track: Track, size: int) -> Samples:
    """Read the sample table, each figure checked against the bytes that are there (ISO/IEC 14496-12 8.6, 8.7).

    Args:
        track: Of a file that is not fragmented.
        size: Bytes of the file.

    Raises:
        RecordingRejected: ``damaged``, or ``truncated`` when samples lie beyond the end.
    """
    sizes = _sizes(track, size)
    decoded, last, oddities = _decoding_times(track, len(sizes))
    offsets, described = _offsets(track, sizes)
    found = Samples(
        sizes=sizes, offsets=offsets, decoded=decoded, times=decoded + _shifts(track, len(sizes)),
        keys=_keys(track, len(sizes)), last=last, described=described, oddities=oddities,
    )  # fmt: skip
    if found.end > size:
        missing = int((offsets + sizes > size).sum())
        raise truncated(f"{missing:,} of {len(sizes):,} pictures or sounds lie beyond its end")
    return found


def require_inside(track: Track, size: int) -> Samples | None:
    """Check that a track of sound or data lies inside the file; its samples, or None for uncompressed sound.

    Raises:
        RecordingRejected: As ``read_samples``.
    """
    if track.table("stsz") and not u32(track.table("stsz"), 4):
        return read_samples(track, size)
    if _chunks(track).max(initial=0) > size:
        raise truncated("sound lies beyond its end")
    return None


def _sizes(track: Track, size: int) -> Ticks:
    data = track.table("stsz")
    if not data:
        raise damaged("a track has no sample sizes")
    fixed, count = u32(data, 4), u32(data, 8)
    held = size // fixed if fixed else (len(data) - 12) // 4
    if count > held:
        raise damaged(f"its index names {count:,} pictures or sounds, of which {held:,} can exist")
    if count > _MOST_SAMPLES:
        raise damaged(f"its index names {count:,} pictures, more than {_MOST_SAMPLES:,}")
    if fixed:
        return np.full(count, fixed, np.int64)
    return np.frombuffer(data, ">u4", count, 12).astype(np.int64)


def _rows(data: bytes, columns: int, kind: str = ">u4") -> npt.NDArray[Any]:
    """Return a counted table as an array of rows."""
    count = u32(data, 4)
    width = np.dtype(kind).itemsize * columns
    if 8 + count * width > len(data):
        raise damaged("a table of its index is shorter than it says")
    return np.frombuffer(data, kind, count * columns, 8).reshape(count, columns)


def _spread(counts: Ticks, total: int) -> Ticks:
    """Return how often each row applies, so that no more than ``total`` come out."""
    ends = np.minimum(np.cumsum(counts), total)
    return np.diff(ends, prepend=0)


def _decoding_times(track: Track, count: int) -> tuple[Ticks, int, tuple[str, ...]]:
    rows = _rows(track.table("stts"), 2).astype(np.int64)
    durations = np.repeat(rows[:, 1], _spread(rows[:, 0], count))
    oddities: tuple[str, ...] = ()
    if len(durations) != count or rows[:, 0].sum() != count:
        oddities = ("the index names a different number of durations than of pictures",)
        rest = durations[-1] if len(durations) else 1
        durations = np.concatenate([durations, np.full(count - len(durations), rest, np.int64)])
    # A duration of more than 2^31 is a negative one of a careless writer.
    durations = np.where(durations >= 1 << 31, durations - (1 << 32), durations)
    times = np.cumsum(durations) - durations
    return times, int(durations[-1]) if count else 0, oddities


def _shifts(track: Track, count: int) -> Ticks:
    data = track.table("ctts")
    if not data:
        return np.zeros(count, np.int64)
    rows = _rows(data, 2, ">i4").astype(np.int64)
    shifts = np.repeat(rows[:, 1], _spread(np.maximum(rows[:, 0], 0), count))
    return np.concatenate([shifts, np.zeros(count - len(shifts), np.int64)])


def _keys(track: Track, count: int) -> npt.NDArray[np.bool_]:
    data = track.table("stss")
    if not data:
        return np.ones(count, np.bool_)
    keys = np.zeros(count, np.bool_)
    numbers = _rows(data, 1)[:, 0].astype(np.int64)
    keys[numbers[(numbers >= 1) & (numbers <= count)] - 1] = True
    return keys


def _chunks(track: Track) -> Ticks:
    large = track.table("co64")
    chunks = _rows(large, 1, ">u8") if large else _rows(track.table("stco"), 1)
    return np.minimum(chunks[:, 0].astype(np.uint64), np.uint64(1 << 62)).astype(np.int64)


def _offsets(track: Track, sizes: Ticks) -> tuple[Ticks, int]:
    """Return where each sample begins and how many sample descriptions are in use."""
    starts = _chunks(track)
    rows = _rows(track.table("stsc"), 3).astype(np.int64)
    if len(sizes) and (not len(starts) or not len(rows) or rows[0, 0] != 1 or (np.diff(rows[:, 0]) <= 0).any()):
        raise damaged("its index does not say where the pictures are")
    used = rows[rows[:, 0] <= len(starts)]
    runs = np.diff(np.append(used[:, 0], len(starts) + 1))
    per_chunk = _spread(np.repeat(used[:, 1], runs), len(sizes))
    chunk = np.repeat(np.arange(len(starts)), per_chunk)
    if len(chunk) < len(sizes):
        raise damaged("its index does not say where all pictures are")
    before = np.cumsum(sizes) - sizes
    first = np.cumsum(per_chunk) - per_chunk
    return starts[chunk] + before - before[first[chunk]], len(set(used[:, 2].tolist()))


def edits(track: Track) -> list[tuple[int, int, int]]:
    """Return the edit list: duration in movie ticks, start in the track's ticks (-1 for a pause), rate times 65536."""
    data = track.part("edts/elst")
    if not data:
        return []
    large = data[:1] == b"\1"
    rows = _rows(data, 1, "V20" if large else "V12")[:4096, 0]
    width = 8 if large else 4
    return [
        (
            int.from_bytes(row[:width], "big"),
            int.from_bytes(row[width : 2 * width], "big", signed=True),
            int.from_bytes(row[2 * width :], "big", signed=True),
        )
        for row in (bytes(item) for item in rows)
    ]
