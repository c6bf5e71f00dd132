"""Packets and decoder configurations of H.264 and HEVC, taken apart into their units; nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from converters.parameter_sets import Parameters, bits_of, damaged_header, read_avc, read_hevc

#: Types of units (H.264 table 7-1, HEVC table 7-1).
_AVC_SLICE, _AVC_KEY, _AVC_SEI, _AVC_SPS, _AVC_SUBSET_SPS = 1, 5, 6, 7, 15
_HEVC_SPS = 33


def avc_halves(units: list[bytes], sets: Parameters) -> int:
    """Return the half pictures that begin in a packet: 2 for each frame, 1 for each field (H.264 7.3.3)."""
    halves = 0
    for unit in units:
        if unit and unit[0] & 31 in (_AVC_SLICE, _AVC_KEY):
            bits = bits_of(unit[:64], 1)
            first = bits.ue() == 0
            bits.ue(), bits.ue()
            bits.u(2 * sets.planes + sets.frame_number_bits)
            halves += first * (1 if bits.flag() else 2)
    return halves


def is_frame_packed(units: list[bytes]) -> bool:
    """Tell whether an H.264 packet says that each picture holds two views (SEI 45, H.264 D.1.26)."""
    return any(unit and unit[0] & 31 == _AVC_SEI and 45 in _messages(unit[1:]) for unit in units)  # noqa: PLR2004


def _messages(data: bytes) -> Iterator[int]:
    """Yield the types of the messages in a supplemental unit (H.264 7.3.2.3.1)."""
    at = 0
    while at + 2 < len(data):
        kind = size = 0
        while at < len(data) and data[at] == 255:  # noqa: PLR2004 - "more follows"
            kind, at = kind + 255, at + 1
        kind, at = kind + int.from_bytes(data[at : at + 1], "big"), at + 1
        while at < len(data) and data[at] == 255:  # noqa: PLR2004
            size, at = size + 255, at + 1
        size, at = size + int.from_bytes(data[at : at + 1], "big"), at + 1
        yield kind
        at += size


def stream_units(data: bytes) -> list[bytes]:
    """Split a byte stream at its start codes (H.264 annex B)."""
    return [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1")[1:]]


def sized_units(data: bytes, length: int) -> list[bytes]:
    """Split a sample whose units are each preceded by their length (ISO/IEC 14496-15); a cut one is left out."""
    units, at = [], 0
    while at + length < len(data):
        size = int.from_bytes(data[at : at + length], "big")
        at += length + size
        if at <= len(data):
            units.append(data[at - size : at])
    return units


@dataclass(frozen=True)
class Record:
    """A decoder configuration (``avcC``, ``hvcC``, or the same elsewhere): its units and their length field.

    Attributes:
        length: Bytes of the length field before each unit of a sample; 0 for a byte stream with start codes.
    """

    units: tuple[bytes, ...] = ()
    length: int = 0

    def split(self, sample: bytes, *, cut: bool = False) -> list[bytes]:
        """Split a sample or packet into its units; of one that is ``cut`` only the whole units are returned."""
        if self.length:
            return sized_units(sample, self.length)
        return stream_units(sample)[:-1] if cut else stream_units(sample)


def read_record(codec: str, data: bytes) -> Record:
    """Read a configuration record (ISO/IEC 14496-15 5.3.3.1, 8.3.3.1); a byte stream is taken as such."""
    if not data or data.startswith((b"\0\0\1", b"\0\0\0\1")):
        return Record(tuple(stream_units(data)))
    if codec == "h264":
        sets = _arrays(data, 6, data[5:6][0] & 31 if len(data) > 5 else 0)  # noqa: PLR2004 - fixed head
        return Record(sets, (data[4] & 3) + 1 if len(data) > 4 else 4)  # noqa: PLR2004
    units: list[bytes] = []
    at, arrays = 23, int.from_bytes(data[22:23], "big")
    for _ in range(arrays):
        found = _arrays(data, at + 3, int.from_bytes(data[at + 1 : at + 3], "big"))
        units += found
        at += 3 + sum(2 + len(unit) for unit in found)
    return Record(tuple(units), (data[21] & 3) + 1 if len(data) > 21 else 4)  # noqa: PLR2004


def _arrays(data: bytes, at: int, count: int) -> tuple[bytes, ...]:
    units = []
    for _ in range(count):
        size = int.from_bytes(data[at : at + 2], "big")
        if not size or at + 2 + size > len(data):
            raise damaged_header()
        units.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return tuple(units)


def parameters_in(codec: str, units: list[bytes] | tuple[bytes, ...]) -> list[Parameters]:
    """Read every sequence parameter set among the units of an H.264 or HEVC packet or configuration.

    An HEVC set of a further layer (a second view) marks the stream as stereo and is not read itself.
    """
    if codec == "h264":
        found = [read_avc(unit) for unit in units if unit and unit[0] & 31 == _AVC_SPS]
        second = any(unit and unit[0] & 31 == _AVC_SUBSET_SPS for unit in units)
        return [replace(one, stereo=True) for one in found] if second else found
    sets = [unit for unit in units if len(unit) > 2 and unit[0] >> 1 & 63 == _HEVC_SPS]  # noqa: PLR2004 - header
    base = [read_hevc(unit) for unit in sets if not (unit[0] & 1 or unit[1] >> 3)]
    return [replace(one, stereo=True) for one in base] if len(base) < len(sets) else base


def most_adverse(found: list[Parameters]) -> Parameters:
    """Return the first set with the highest level, most references, and any field or stereo coding of all."""
    return replace(
        found[0],
        level=max(one.level for one in found),
        references=max(one.references for one in found),
        progressive=all(one.progressive for one in found),
        stereo=any(one.stereo for one in found),
    )
