"""May a stream go into a DICOM object as it is, and under which transfer syntax (PS3.5 8.2.5 to 8.2.12)?

``SYNTAXES`` is the standard's text as a table; ``judge`` holds a recording's facts against it. What a PACS viewer can
play is narrower than what the standard allows, so three forms of MP4 are moved into a plain one although their streams
conform: fragmented files (their index counts no pictures, and readers find none), and ``avc3`` or ``hev1`` entries,
which announce parameter sets inside the stream and which readers do not know by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from models.recording import AudioFacts, StreamFacts
from models.study import TransferSyntax
from models.value import Value


class Defect(StrEnum):
    """What is odd in a stream and only encoding again mends; every other defect ends with a new container."""

    CHANGES = "the pictures change their size or format within the recording"
    DESCRIPTIONS = "the pictures are described in several ways (several sample descriptions)"
    SETS_IN_STREAM = "the stream's parameters are only inside the stream, where players do not look for them"
    NO_TIMES = "the pictures carry no times"
    NO_ORDER = "the container does not keep the order in which pictures are shown"
    FIELDS = "the two fields of a picture are coded apart, so that players count them as two pictures"
    MIRRORED = "the recording is to be shown mirrored"


_T = TransferSyntax
_MP4_OR_TS = frozenset({"mp4", "mpegts"})
_ANY = frozenset({"mp4", "mpegts", "mpeg"})


@dataclass(frozen=True)
class Format:
    """Width, height and rate that a table of the standard allows."""

    width: int
    height: int
    rates: frozenset[Fraction]
    interlaced: frozenset[bool] = frozenset({False, True})


def _rates(*rates: int) -> frozenset[Fraction]:
    """Return whole rates with, for 24, 30 and 60, their NTSC twins."""
    return frozenset(Fraction(r) for r in rates) | {Fraction(r * 1000, 1001) for r in rates if r in (24, 30, 60)}


@dataclass(frozen=True)
class Syntax:
    """One transfer syntax, or two that differ only in the number of fragments.

    Attributes:
        levels: The highest level, as ``StreamFacts.level`` counts it; for MPEG-2 the numbers of all allowed ones.
        formats: The only sizes and rates allowed, or the largest; empty for any that the level allows.
        stereo: Whether two views shall (True), shall not (False) or may (None) be in the stream.
    """

    uids: tuple[TransferSyntax, ...]
    name: str
    clause: str
    codec: str
    profiles: frozenset[str]
    levels: tuple[int, ...]
    depth: int = 8
    formats: tuple[Format, ...] = ()
    smaller: bool = False
    square: bool = True
    stereo: bool | None = False
    containers: frozenset[str] = _MP4_OR_TS


_HIGH = frozenset({"High"})

#: The 16 transfer syntaxes; those preferred stand first.
SYNTAXES: tuple[Syntax, ...] = (
    Syntax(
        (_T.H264_HIGH_41, _T.H264_HIGH_41_FRAGMENTABLE), "MPEG-4 AVC/H.264 High Profile / Level 4.1",
        "8.2.7", "h264", _HIGH, (41,),
    ),
    Syntax(
        (_T.H264_HIGH_42_2D, _T.H264_HIGH_42_2D_FRAGMENTABLE), "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video",
        "8.2.8", "h264", _HIGH, (42,),
    ),
    Syntax(
        (_T.H264_BD_41, _T.H264_BD_41_FRAGMENTABLE), "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1",
        "8.2.7", "h264", _HIGH, (41,), formats=(
            Format(1920, 1080, _rates(25, 30) - {Fraction(30)}, frozenset({True})),
            Format(1920, 1080, _rates(24), frozenset({False})),
            Format(1280, 720, _rates(24, 50, 60) - {Fraction(60)}, frozenset({False})),
        ),
    ),
    Syntax(
        (_T.H264_STEREO_42, _T.H264_STEREO_42_FRAGMENTABLE), "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2",
        "8.2.9", "h264", frozenset({"Stereo High"}), (42,), stereo=True,
    ),
    Syntax(
        (_T.H264_HIGH_42_3D, _T.H264_HIGH_42_3D_FRAGMENTABLE), "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video",
        "8.2.8", "h264", _HIGH, (42,), stereo=True,
    ),
    Syntax((_T.HEVC_MAIN_51,), "HEVC/H.265 Main Profile / Level 5.1", "8.2.10", "hevc", frozenset({"Main"}), (153,)),
    Syntax(
        (_T.HEVC_MAIN10_51,), "HEVC/H.265 Main 10 Profile / Level 5.1",
        "8.2.11", "hevc", frozenset({"Main 10"}), (153,), depth=10,
    ),
    Syntax(
        (_T.MPEG2_ML, _T.MPEG2_ML_FRAGMENTABLE), "MPEG2 Main Profile / Main Level", "8.2.5", "mpeg2video",
        frozenset({"Main"}), (8, 10), square=False, containers=_ANY, smaller=True, formats=(
            Format(720, 480, _rates(30)), Format(720, 576, _rates(25)),
        ),
    ),
    Syntax(
        (_T.MPEG2_HL, _T.MPEG2_HL_FRAGMENTABLE), "MPEG2 Main Profile / High Level", "8.2.6", "mpeg2video",
        frozenset({"Main"}), (4,), containers=_ANY, formats=(
            Format(1920, 1080, _rates(25, 30)),
            Format(1280, 720, _rates(25, 30, 50, 60), frozenset({False})),
        ),
    ),
)  # fmt: skip

#: Sound that AVC and HEVC streams may carry: sample rates and channels by codec (PS3.5 8.2.12).
_SOUND_IN_MP4 = {
    "aac": ({48_000}, {2, 6}),
    "mp3": ({32_000, 44_100, 48_000}, {1, 2}),
    "mp2": ({32_000, 44_100, 48_000}, {2}),
}
_SOUND_IN_TS = {
    **_SOUND_IN_MP4,
    "ac3": ({48_000}, {1, 2, 3, 4, 5, 6}),
    "pcm_bluray": ({48_000, 96_000}, {2}),
}
_SOUND_WITH_MPEG2 = {"mp3": ({32_000, 44_100, 48_000}, {1, 2})}

#: Brands of plain MP4 files; 3GPP, QuickTime and others are near relatives that a reader may refuse.
_BRANDS = frozenset({"isom", "mp41", "mp42", "avc1", "M4V ", "MSNV", "XAVC", *(f"iso{n}" for n in "23456789abc")})

#: Sample entries that readers know.
_ENTRIES = frozenset({"", "avc1", "hvc1", "mp4v"})

_NAMES = {"h264": "H.264", "hevc": "HEVC", "mpeg2video": "MPEG-2"}
_CONTAINERS = {
    "mp4": "MP4", "mov": "QuickTime", "matroska": "Matroska", "avi": "AVI", "mpegts": "MPEG-TS", "mpeg": "MPEG-PS",
    "asf": "ASF", "flv": "FLV", "mxf": "MXF",
}  # fmt: skip
_LENIENT = frozenset({"High", "Main", "Constrained Baseline"})

#: Luma samples in a picture and in a second that HEVC level 5.1 holds (HEVC table A.8 and A.9).
_HEVC_PICTURE, _HEVC_SECOND = 8_912_896, 534_773_760
_NO_LEVEL = 99


class Verdict(Value):
    """What the standard says to a recording.

    Attributes:
        transfer_syntax: The preferred one under which the stream may stay as it is; None when it must be encoded again.
        conforms_to: All of them, the preferred one first.
        reasons: Why it must be encoded again.
        needs_remux: The stream may stay, but the file is no payload for it.
        audio_allowed: The first sound may stay beside the stream; True when there is none.
    """

    transfer_syntax: TransferSyntax | None
    conforms_to: tuple[TransferSyntax, ...]
    reasons: tuple[str, ...]
    needs_remux: bool
    remux_reasons: tuple[str, ...]
    audio_allowed: bool
    audio_reason: str


def syntax_of(uid: str) -> Syntax:
    """Return the table's row of a transfer syntax."""
    return next(syntax for syntax in SYNTAXES if uid in syntax.uids)


def judge(facts: StreamFacts, *, lenient_profiles: bool = False) -> Verdict:
    """Hold a recording's facts against the standard.

    Args:
        facts: As probing found them; the more adverse of two readings counts.
        lenient_profiles: Take Main and Constrained Baseline for High: every decoder of High decodes them
            (H.264 A.2.4), though the standard names High.
    """
    verdicts = [(syntax, _against(facts, syntax, lenient=lenient_profiles)) for syntax in SYNTAXES]
    near = [(syntax, reasons) for syntax, reasons in verdicts if syntax.codec == facts.codec]
    general = _general(facts)
    fitting = [syntax for syntax, reasons in near if not reasons and not general]
    if not near:
        general = (f"{facts.codec} video, DICOM knows MPEG-2, H.264 and HEVC (PS3.5 8.2)", *general)
    closest = min(near, key=lambda pair: (len(pair[1]), _excess(facts, pair[0])), default=(None, ()))[1]
    chosen = fitting[0] if fitting else None
    remux = _remux_reasons(facts, chosen)
    sound = _sound_reason(facts, chosen, "mp4" if remux or chosen is None else facts.container)
    uids = (*(syntax.uids[0] for syntax in fitting), *(uid for syntax in fitting for uid in syntax.uids[1:]))
    return Verdict(
        transfer_syntax=uids[0] if uids else None, conforms_to=uids, reasons=() if fitting else (*closest, *general),
        needs_remux=bool(remux), remux_reasons=remux, audio_allowed=not sound, audio_reason=sound,
    )  # fmt: skip


def _excess(facts: StreamFacts, syntax: Syntax) -> int:
    """Return by how much the level exceeds an H.264 syntax: of equal faults, the nearest limit is named."""
    return max(0, max(facts.level, facts.level_needed) - syntax.levels[0]) if syntax.codec == "h264" else 0


def _against(facts: StreamFacts, syntax: Syntax, *, lenient: bool) -> tuple[str, ...]:
    """Return what keeps a stream of the right codec out of one transfer syntax."""
    if facts.codec != syntax.codec:
        return ("another codec",)
    clause = f"(PS3.5 {syntax.clause})"
    profiles = _LENIENT if lenient and syntax.profiles == _HIGH else syntax.profiles
    wanted = " or ".join(sorted(syntax.profiles))
    found = [
        (facts.profile not in profiles, f"{facts.profile or 'unknown'} profile, DICOM needs {wanted} {clause}"),
        (facts.chroma != "4:2:0", f"{facts.chroma} colour, DICOM needs 4:2:0 {clause}"),
        (facts.bit_depth != syntax.depth, f"{facts.bit_depth} bits, DICOM needs {syntax.depth} {clause}"),
        (syntax.square and _aspect(facts) != 1, f"pixels are not square ({facts.pixel_aspect}) {clause}"),
        (bool(too_much := _level_reason(facts, syntax)), f"{too_much} {clause}"),
        (not _format_fits(facts, syntax), f"{_format(facts)} is no format of the standard's table {clause}"),
        (syntax.stereo is not facts.stereo, f"{'two views' if facts.stereo else 'one view'} in the stream {clause}"),
    ]
    return tuple(sentence for applies, sentence in found if applies)


def _aspect(facts: StreamFacts) -> Fraction:
    return Fraction(facts.pixel_aspect.replace(":", "/"))


def _level_reason(facts: StreamFacts, syntax: Syntax) -> str:
    if syntax.codec == "mpeg2video":
        return "" if facts.level in syntax.levels else "another level of MPEG-2"
    most = syntax.levels[0]
    scale = 30 if syntax.codec == "hevc" else 10
    if not 0 < facts.level <= most:
        return f"level {facts.level / scale:.1f}, at most {most / scale:.1f} is allowed"
    if syntax.codec == "hevc":
        each = facts.width * facts.height
        within = each <= _HEVC_PICTURE and each * facts.rate <= _HEVC_SECOND
        return "" if within else f"{_format(facts)} is more than level 5.1 holds"
    if facts.level_needed > most:
        need = "more than any level" if facts.level_needed == _NO_LEVEL else f"level {facts.level_needed / 10:.1f}"
        return f"labelled level {facts.level / 10:.1f}, but size, rate, references or bit rate need {need}"
    return ""


def _format(facts: StreamFacts) -> str:
    scan = "interlaced" if facts.interlaced else "progressive"
    return f"{facts.width}x{facts.height} {scan} at {float(facts.rate):.5g} frames/s"


def _format_fits(facts: StreamFacts, syntax: Syntax) -> bool:
    for one in syntax.formats:
        larger = facts.width <= one.width and facts.height <= one.height
        same = (facts.width, facts.height) == (one.width, one.height)
        if (same or (syntax.smaller and larger)) and facts.rate in one.rates and facts.interlaced in one.interlaced:
            return True
    return not syntax.formats


def _general(facts: StreamFacts) -> tuple[str, ...]:
    """Return what no transfer syntax and no display knows how to show as it is."""
    found = [
        (bool(facts.rotation), f"it is to be shown turned by {facts.rotation} degrees, which DICOM cannot say"),
        (facts.variable_rate, "the frame rate varies, a DICOM video has one frame time (PS3.3 C.7.6.5)"),
        (bool(facts.hdr), f"high dynamic range ({facts.hdr.upper()}), which DICOM video cannot say (PS3.3 C.7.6.3)"),
        (facts.edited, "an edit list hides or reorders pictures, which many players ignore"),
        (not facts.starts_with_key_frame, "it does not start with a key frame"),
        *((str(defect) in facts.defects, str(defect)) for defect in Defect),
    ]
    return tuple(sentence for applies, sentence in found if applies)


def _remux_reasons(facts: StreamFacts, syntax: Syntax | None) -> tuple[str, ...]:
    """Return why the file cannot be the payload although its stream may stay."""
    allowed, clause = (syntax.containers, syntax.clause) if syntax else (_MP4_OR_TS, "8.2.7")
    name = _CONTAINERS.get(facts.container, facts.container)
    known = {str(defect) for defect in Defect}
    found = [
        (facts.container not in allowed, f"{name} file, DICOM needs MP4 or MPEG-TS (PS3.5 {clause})"),
        (
            facts.container == "mp4" and facts.brand not in _BRANDS,
            f"brand {facts.brand.strip()!r} is not plain MP4 (PS3.5 {clause})",
        ),
        (facts.container == "mpegts" and bool(facts.brand), "packets of 192 bytes are no plain transport stream"),
        (facts.fragmented, "fragmented MP4, in whose index viewers find no pictures"),
        (
            facts.codec_tag not in _ENTRIES,
            f"sample entry {facts.codec_tag}, viewers know avc1 and hvc1 (ISO/IEC 14496-15)",
        ),
        (bool(facts.other_streams), f"other tracks beside picture and sound: {', '.join(facts.other_streams)}"),
        (len(facts.audio) > 1, f"{len(facts.audio)} sound tracks, only the first is kept"),
        *((True, defect) for defect in facts.defects if defect not in known),
    ]
    return tuple(sentence for applies, sentence in found if applies)


def _sound_reason(facts: StreamFacts, syntax: Syntax | None, container: str) -> str:
    """Return why the first sound may not stay; empty when it may or there is none."""
    if not facts.audio:
        return ""
    first = facts.audio[0]
    table = _SOUND_IN_TS if container == "mpegts" else _SOUND_IN_MP4
    if syntax and syntax.codec == "mpeg2video":
        table = _SOUND_WITH_MPEG2
    rates, channels = table.get(first.codec, (set(), set()))
    if first.sample_rate in rates and first.channels in channels:
        return ""
    return f"the sound is {describe_sound(first)}, which DICOM does not allow here (PS3.5 8.2.12)"


def describe_sound(sound: AudioFacts) -> str:
    """Return codec, rate and channels in words."""
    kinds = {1: "mono", 2: "stereo", 6: "5.1"}
    channels = kinds.get(sound.channels, f"{sound.channels} channels")
    return f"{sound.codec.upper()} {sound.sample_rate / 1000:g} kHz {channels}"


def describe(facts: StreamFacts) -> str:
    """Return codec, profile, level and container in words."""
    codec = _NAMES.get(facts.codec, facts.codec)
    scale = {"h264": 10, "hevc": 30}.get(facts.codec)
    level = f" at level {facts.level / scale:.1f}" if scale and facts.level else ""
    return f"{codec} {facts.profile}{level} in {_CONTAINERS.get(facts.container, facts.container)}"
