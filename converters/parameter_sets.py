"""What a coded stream says of itself: H.264 and HEVC parameter sets, MPEG-2 sequence headers, slice and picture heads.

Containers may lie about size, profile and rate; decoders follow the parameter sets, so these count. Everything here
works on a few bytes in memory; nothing is decoded. Tables as in H.264 7.3.2.1 and E.1, HEVC 7.3.2.2 and E.2, H.262 6.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from models.errors import RecordingRejected

#: Pictures beyond 8K are refused before any memory is asked for them.
MAX_PIXELS = 33_177_600

_CHROMA = ("4:0:0", "4:2:0", "4:2:2", "4:4:4")
_AVC_PROFILES = {
    66: "Baseline", 77: "Main", 88: "Extended", 100: "High", 110: "High 10", 122: "High 4:2:2",
    244: "High 4:4:4 Predictive", 44: "CAVLC 4:4:4", 118: "Multiview High", 128: "Stereo High",
}  # fmt: skip
_AVC_WITH_CHROMA = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_AVC_MULTIVIEW = frozenset({118, 128, 134, 138, 139})
_HEVC_PROFILES = {1: "Main", 2: "Main 10", 3: "Main Still Picture", 4: "Rext"}
_MPEG2_PROFILES = {1: "High", 2: "Spatially Scalable", 3: "SNR Scalable", 4: "Main", 5: "Simple"}
_MPEG2_RATES = (None, (24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (50, 1), (60000, 1001), (60, 1))
_MPEG2_DISPLAYS = {2: Fraction(4, 3), 3: Fraction(16, 9), 4: Fraction(221, 100)}

#: Sample aspect ratios by index (H.264 table E-1).
_ASPECTS = (
    (0, 0), (1, 1), (12, 11), (10, 11), (16, 11), (40, 33), (24, 11), (20, 11), (32, 11), (80, 33), (18, 11),
    (15, 11), (64, 33), (160, 99), (4, 3), (3, 2), (2, 1),
)  # fmt: skip
_ASPECT_GIVEN = 255
_TRANSFERS = {16: "pq", 18: "hlg"}

#: Level times ten -> macroblocks a second, in a picture, in the picture buffer; kbit/s of Main (H.264 table A-1).
_LEVELS = {
    10: (1485, 99, 396, 64), 11: (3000, 396, 900, 192), 12: (6000, 396, 2376, 384), 13: (11880, 396, 2376, 768),
    20: (11880, 396, 2376, 2000), 21: (19800, 792, 4752, 4000), 22: (20250, 1620, 8100, 4000),
    30: (40500, 1620, 8100, 10000), 31: (108000, 3600, 18000, 14000), 32: (216000, 5120, 20480, 20000),
    40: (245760, 8192, 32768, 20000), 41: (245760, 8192, 32768, 50000), 42: (522240, 8704, 34816, 50000),
    50: (589824, 22080, 110400, 135000), 51: (983040, 36864, 184320, 240000), 52: (2073600, 36864, 184320, 240000),
    60: (4177920, 139264, 696320, 240000), 61: (8355840, 139264, 696320, 480000),
    62: (16711680, 139264, 696320, 800000),
}  # fmt: skip
_MOST_REFERENCES = 16


@dataclass(frozen=True)
class Parameters:
    """What the parameter sets of one stream say.

    Attributes:
        level: Level times ten (H.264), times thirty (HEVC), level_identification (H.262).
        chroma: ``4:2:0`` and so on.
        width: Displayed columns, after cropping.
        blocks: Macroblocks in a picture; 0 where they do not matter.
        references: Pictures that a decoder must hold.
        progressive: Coded without fields.
        aspect: Width of a pixel by its height; None when not said.
        rate: From the sequence header; None when not said.
        transfer: ``pq``, ``hlg`` or empty.
        frame_number_bits: Length of frame_num in a slice header; 0 where fields cannot be told apart.
        planes: separate_colour_plane_flag.
    """

    codec: str
    profile: str
    level: int
    chroma: str
    depth: int
    width: int
    height: int
    blocks: int = 0
    references: int = 0
    progressive: bool = True
    aspect: Fraction | None = None
    rate: Fraction | None = None
    full_range: bool = False
    transfer: str = ""
    stereo: bool = False
    frame_number_bits: int = 0
    planes: bool = False

    @property
    def shape(self) -> tuple[str, str, str, int, int, int]:
        """What must not change within a stream: codec, profile, chroma, depth, width and height."""
        return self.codec, self.profile, self.chroma, self.depth, self.width, self.height


class _Bits:
    """Reads bits and Exp-Golomb codes; reading on beyond the end means a damaged parameter set."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def u(self, count: int) -> int:
        """Return an unsigned number of ``count`` bits."""
        self._left -= count
        if self._left < 0:
            raise damaged_header()
        return (self._value >> self._left) & ((1 << count) - 1)

    def flag(self) -> bool:
        return bool(self.u(1))

    def ue(self) -> int:
        """Return an unsigned Exp-Golomb code of at most 32 bits (H.264 9.1)."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:  # noqa: PLR2004 - the standard's limit
                raise damaged_header()
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)

    def some(self, most: int) -> range:
        """Return a range of a coded count, refusing an absurd one."""
        count = self.ue()
        if count > most:
            raise damaged_header()
        return range(count)


def damaged_header() -> RecordingRejected:
    """Return the refusal of a stream whose own header cannot be read."""
    return RecordingRejected("damaged", "the video stream's own header is damaged: record or copy it again")


def bits_of(unit: bytes, header: int) -> _Bits:
    """Return the bits of a unit without its header and its emulation prevention bytes (H.264 7.4.1)."""
    return _Bits(unit[:4096].replace(b"\0\0\3", b"\0\0")[header:])


def require_size(width: int, height: int) -> None:
    """Refuse pictures whose decoding would need more memory than any recording of use does.

    Raises:
        RecordingRejected: ``too-large-picture``.
    """
    if width * height > MAX_PIXELS:
        raise RecordingRejected(
            "too-large-picture",
            f"the pictures are {width}x{height}, more than 8K holds: export the recording smaller",
        )


def _sized(found: Parameters) -> Parameters:
    if found.width <= 0 or found.height <= 0:
        raise damaged_header()
    require_size(found.width, found.height)
    return found


def read_avc(unit: bytes) -> Parameters:
    """Read an H.264 sequence parameter set with its header byte (H.264 7.3.2.1.1).

    Raises:
        RecordingRejected: ``damaged`` or ``too-large-picture``.
    """
    bits = bits_of(unit, 1)
    number, constraints, level = bits.u(8), bits.u(8), bits.u(8)
    bits.ue()
    chroma, depth, planes = _avc_samples(bits) if number in _AVC_WITH_CHROMA else (1, 8, False)
    frame_number_bits = bits.ue() + 4
    _avc_order(bits)
    references = bits.ue()
    bits.u(1)
    columns, rows, whole = bits.ue() + 1, bits.ue() + 1, bits.flag()
    if not whole:
        bits.u(1)
    bits.u(1)
    rows *= 1 if whole else 2
    left, right, top, bottom = [bits.ue() for _ in range(4)] if bits.flag() else (0, 0, 0, 0)
    across, down = (1, 2, 2, 1)[chroma], (1, 2, 1, 1)[chroma] * (1 if whole else 2)
    profile = _AVC_PROFILES.get(number, f"profile {number}")
    if profile == "Baseline" and constraints & 0x40:
        profile = "Constrained Baseline"
    found = Parameters(
        codec="h264", profile=profile, level=level, chroma=_CHROMA[chroma], depth=depth,
        width=columns * 16 - (left + right) * across, height=rows * 16 - (top + bottom) * down,
        blocks=columns * rows, references=references, progressive=whole, stereo=number in _AVC_MULTIVIEW,
        frame_number_bits=frame_number_bits, planes=planes,
    )  # fmt: skip
    return _sized(_avc_usability(bits, found) if bits.flag() else found)


def _avc_samples(bits: _Bits) -> tuple[int, int, bool]:
    """Return chroma format, the deeper of the two bit depths and separate_colour_plane_flag."""
    chroma = bits.ue()
    if chroma >= len(_CHROMA):
        raise damaged_header()
    planes = chroma == 3 and bits.flag()  # noqa: PLR2004 - 4:4:4
    depth = 8 + max(bits.ue(), bits.ue())
    bits.u(1)
    if bits.flag():
        for index in range(12 if chroma == 3 else 8):  # noqa: PLR2004 - 4:4:4
            if bits.flag():
                _skip_scaling(bits, 16 if index < 6 else 64)  # noqa: PLR2004 - 4x4 lists come first
    return chroma, depth, planes


def _skip_scaling(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _avc_order(bits: _Bits) -> None:
    """Skip the picture order count."""
    kind = bits.ue()
    if kind == 0:
        bits.ue()
    elif kind == 1:
        bits.u(1)
        bits.se()
        bits.se()
        for _ in bits.some(255):
            bits.se()


def _aspect(bits: _Bits) -> Fraction | None:
    index = bits.u(8)
    width, height = (bits.u(16), bits.u(16)) if index == _ASPECT_GIVEN else (*_ASPECTS, (0, 0))[min(index, 17)]
    return Fraction(width, height) if width and height else None


def _signal(bits: _Bits, found: Parameters) -> Parameters:
    """Read the part of the usability information that H.264 and HEVC share, up to chroma location."""
    if bits.flag():
        found = replace(found, aspect=_aspect(bits))
    if bits.flag():
        bits.u(1)
    if bits.flag():
        bits.u(3)
        found = replace(found, full_range=bits.flag())
        if bits.flag():
            bits.u(8)
            found = replace(found, transfer=_TRANSFERS.get(bits.u(8), ""))
            bits.u(8)
    if bits.flag():
        bits.ue()
        bits.ue()
    return found


def _avc_usability(bits: _Bits, found: Parameters) -> Parameters:
    """Read the video usability information (H.264 E.1.1); recorders write its rear part wrongly, decoders skip it."""
    try:
        found = _signal(bits, found)
        return replace(found, references=max(found.references, _avc_buffered(bits)))
    except RecordingRejected:
        return found


def _avc_buffered(bits: _Bits) -> int:
    """Return max_dec_frame_buffering, 0 when it is not said."""
    if bits.flag():
        bits.u(65)
    buffers = [bits.flag() and _skip_delivery(bits) for _ in range(2)]
    bits.u(1 + any(buffers))
    if not bits.flag():
        return 0
    bits.u(1)
    for _ in range(5):
        bits.ue()
    return min(bits.ue(), _MOST_REFERENCES)


def _skip_delivery(bits: _Bits) -> bool:
    """Skip the hypothetical decoder's parameters (H.264 E.1.2)."""
    count = bits.ue() + 1
    bits.u(8)
    for _ in range(min(count, 32)):
        bits.ue()
        bits.ue()
        bits.u(1)
    bits.u(20)
    return True


def read_hevc(unit: bytes) -> Parameters:
    """Read an HEVC sequence parameter set with its two header bytes (HEVC 7.3.2.2.1).

    Raises:
        RecordingRejected: ``damaged`` or ``too-large-picture``.
    """
    bits = bits_of(unit, 2)
    bits.u(4)
    layers = bits.u(3)
    bits.u(1)
    profile, level = _hevc_profile(bits, layers)
    bits.ue()
    chroma = bits.ue()
    if chroma >= len(_CHROMA):
        raise damaged_header()
    planes = chroma == 3 and bits.flag()  # noqa: PLR2004 - 4:4:4
    width, height = bits.ue(), bits.ue()
    left, right, top, bottom = [bits.ue() for _ in range(4)] if bits.flag() else (0, 0, 0, 0)
    across, down = (1, 2, 2, 1)[chroma], (1, 2, 1, 1)[chroma]
    found = Parameters(
        codec="hevc", profile=profile, level=level, chroma=_CHROMA[chroma], depth=8 + max(bits.ue(), bits.ue()),
        width=width - (left + right) * across, height=height - (top + bottom) * down, planes=planes,
    )  # fmt: skip
    try:
        _hevc_tools(bits, layers)
        if bits.flag():
            found = _signal(bits, found)
            bits.u(1)
            found = replace(found, progressive=not bits.flag())
    except RecordingRejected:
        return _sized(found)  # as for H.264: what decoders skip is no reason to refuse
    return _sized(found)


def _hevc_profile(bits: _Bits, layers: int) -> tuple[str, int]:
    """Read profile, tier and level (HEVC 7.3.3)."""
    bits.u(2)
    high_tier, number = bits.flag(), bits.u(5)
    bits.u(32 + 48)
    level = bits.u(8)
    present = [(bits.flag(), bits.flag()) for _ in range(layers)]
    if layers:
        bits.u(2 * (8 - layers))
    for has_profile, has_level in present:
        bits.u(88 * has_profile + 8 * has_level)
    name = _HEVC_PROFILES.get(number, f"profile {number}")
    return (f"{name}, High tier" if high_tier else name), level


def _hevc_tools(bits: _Bits, layers: int) -> None:
    """Skip from the picture order count to before the usability information."""
    order_bits = bits.ue() + 4
    for _ in range(layers + 1 if bits.flag() else 1):
        bits.ue(), bits.ue(), bits.ue()
    for _ in range(6):
        bits.ue()
    if bits.flag() and bits.flag():
        _hevc_scaling(bits)
    bits.u(2)
    if bits.flag():
        bits.u(8)
        bits.ue(), bits.ue()
        bits.u(1)
    deltas = 0
    for index in bits.some(64):
        deltas = _hevc_references(bits, deltas) if index and bits.flag() else _hevc_own_references(bits)
    if bits.flag():
        for _ in bits.some(32):
            bits.u(order_bits + 1)
    bits.u(2)


def _hevc_scaling(bits: _Bits) -> None:
    for size in range(4):
        for _ in range(2 if size == 3 else 6):  # noqa: PLR2004 - 32x32 has two lists
            if not bits.flag():
                bits.ue()
                continue
            for _ in range(min(64, 1 << (4 + 2 * size)) + (size > 1)):
                bits.se()


def _hevc_references(bits: _Bits, deltas: int) -> int:
    """Read a short-term set that is told by the one before; return its number of pictures (HEVC 7.3.7)."""
    bits.u(1)
    bits.ue()
    return sum(1 for _ in range(deltas + 1) if bits.flag() or bits.flag())


def _hevc_own_references(bits: _Bits) -> int:
    count = len(bits.some(16)) + len(bits.some(16))
    for _ in range(count):
        bits.ue()
        bits.u(1)
    return count


_SEQUENCE = b"\0\0\1\xb3"
_EXTENSION = re.compile(rb"\x00\x00\x01\xb5[\x10-\x1f]", re.DOTALL)
_PICTURE = re.compile(rb"\x00\x00\x01\xb5[\x80-\x8f].(.).(.)", re.DOTALL)


def read_mpeg2(data: bytes) -> Parameters | None:
    """Read the first MPEG-2 sequence header and its extension (H.262 6.2.2.1, 6.2.2.3); None when there is none.

    Raises:
        RecordingRejected: ``damaged`` or ``too-large-picture``.
    """
    start = data.find(_SEQUENCE)
    if start < 0:
        return None
    bits = _Bits(data[start + 4 : start + 12])
    width, height, display, code = bits.u(12), bits.u(12), bits.u(4), bits.u(4)
    rate = Fraction(*(_MPEG2_RATES[code] or (0, 1))) if 0 < code < len(_MPEG2_RATES) else None
    extension = _EXTENSION.search(data, start, start + 160)
    found = Parameters(
        codec="mpeg1video", profile="", level=0, chroma="4:2:0", depth=8, width=width, height=height, rate=rate
    )
    if extension:
        found = _mpeg2_extension(_Bits(data[extension.end() - 1 : extension.end() + 6]), found)
    aspect = Fraction(1) if display == 1 else None
    if shown := _MPEG2_DISPLAYS.get(display):
        aspect = shown * found.height / max(1, found.width)
    return _sized(replace(found, aspect=aspect))


def _mpeg2_extension(bits: _Bits, found: Parameters) -> Parameters:
    bits.u(4)
    escape, profile, level = bits.flag(), bits.u(3), bits.u(4)
    progressive, chroma = bits.flag(), bits.u(2)
    width, height = found.width | bits.u(2) << 12, found.height | bits.u(2) << 12
    bits.u(12 + 1 + 8 + 1)
    extra, divisor = bits.u(2), bits.u(5)
    return replace(
        found, codec="mpeg2video", level=level, chroma=_CHROMA[chroma], width=width, height=height,
        profile="4:2:2" if escape else _MPEG2_PROFILES.get(profile, f"profile {profile}"),
        progressive=progressive, rate=found.rate and found.rate * (extra + 1) / (divisor + 1),
    )  # fmt: skip


def mpeg2_pictures(data: bytes) -> Iterator[tuple[int, bool]]:
    """Yield, for each coded picture of a packet, its half pictures (2, or 1 for a field) and whether it is progressive.

    From the picture coding extension (H.262 6.2.3.1).
    """
    for structure, progressive in _PICTURE.findall(data):
        yield (2 if structure[0] & 3 == 3 else 1), bool(progressive[0] & 0x80)  # noqa: PLR2004 - 3 is a whole frame


def level_needed(sets: Parameters, rate: Fraction, peak_bits: int) -> int:
    """Return the lowest H.264 level that size, rate, references and peak rate need, times ten; 99 when none holds them.

    Args:
        sets: Of the stream.
        rate: Pictures in a second, the highest that occurs.
        peak_bits: Most bits in any one second.
    """
    if sets.codec != "h264" or not sets.blocks:
        return 0
    factor = 1000 if sets.profile in ("Baseline", "Constrained Baseline", "Main", "Extended") else 1250
    side = max(sets.width, sets.height) // 16
    for level, (each_second, most, buffered, kbits) in _LEVELS.items():
        if (
            sets.blocks <= most
            and side * side <= 8 * most
            and sets.blocks * rate <= each_second
            and sets.blocks * sets.references <= buffered
            and peak_bits <= kbits * factor
        ):
            return level
    return 99
