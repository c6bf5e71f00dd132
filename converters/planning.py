"""What will be done with a recording, and why in plain words: passed through, moved into a new MP4, or encoded again.

Pure: facts, mapping rows and the standard's table in, a plan out. A conforming stream is never encoded again for its
own sake; every picture of a recording keeps a place in the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from converters.conformance import Defect, Verdict, describe, describe_sound, judge, syntax_of
from models.errors import ConversionFailed
from models.mapping import DestinationRow, ProcedureRow
from models.plan import AudioPlan, ConversionPlan, PlanKind
from models.recording import StreamFacts
from models.study import TransferSyntax

_T = TransferSyntax

#: Syntaxes whose 16 bits no SOP class of ours allows: visible light enumerates 8/8/7 (PS3.3 C.8.12.1.1), ultrasound
#: has 8 bits for colour (PS3.3 C.8.5.6.1).
_TOO_DEEP = frozenset({_T.HEVC_MAIN10_51})

#: The largest pictures that are written, upright or lying (Full HD).
_LONG, _SHORT = 1920, 1080
_LEAST = 16

#: A pixel aspect that would change a side by no more than this many pixels is rounding.
_SLIGHT = 2

#: Rates that a variable recording may be placed on, when the best one does not fit.
_RATES = tuple(Fraction(rate) for rate in ("10", "12", "25/2", "15", "20", "24", "25", "30", "50", "60"))


@dataclass(frozen=True)
class _Target:
    """A transfer syntax that can be encoded to, with macroblocks in a picture and in a second (H.264 table A-1)."""

    uid: TransferSyntax
    level: str
    blocks: int
    each_second: int

    def holds(self, width: int, height: int, rate: Fraction) -> bool:
        """Tell whether pictures of that size and rate fit."""
        blocks = math.ceil(width / 16) * math.ceil(height / 16)
        return blocks <= self.blocks and blocks * rate <= self.each_second


#: In the order of preference.
_TARGETS = (
    _Target(_T.H264_HIGH_41, "4.1", 8192, 245_760),
    _Target(_T.H264_HIGH_42_2D, "4.2", 8704, 522_240),
    _Target(_T.H264_HIGH_41_FRAGMENTABLE, "4.1", 8192, 245_760),
    _Target(_T.H264_HIGH_42_2D_FRAGMENTABLE, "4.2", 8704, 522_240),
)


def plan(
    facts: StreamFacts, procedure: ProcedureRow, destinations: tuple[DestinationRow, ...], *, mapping_version: int
) -> ConversionPlan:
    """Decide how a recording becomes a DICOM object that every destination takes.

    Args:
        facts: As probing found them.
        procedure: The row of the ``procedures`` table: SOP class, modality, sound.
        destinations: Those that the object goes to; only DICOM ones matter.
        mapping_version: Of the tables that the rows come from.

    Returns:
        The plan, with reasons that name the clause of the standard.

    Raises:
        ConversionFailed: Stage ``plan``: there is no way that keeps what the recording shows, in one sentence.
    """
    archives = tuple(row for row in destinations if row.kind == "dicom")
    accepted = _accepted(archives)
    verdict = judge(facts, lenient_profiles=all(row.lenient_profiles for row in archives))
    _require_convertible(facts)
    usable = [uid for uid in verdict.conforms_to if uid in accepted and uid not in _TOO_DEEP]
    sound = _sound(facts, procedure, verdict)
    if usable and sound is not AudioPlan.ENCODE:
        kind, syntax, reasons = _as_it_is(facts, verdict, usable[0], sound)
        shape = _Shape(facts.width, facts.height, facts.rate)
    else:
        kind = PlanKind.TRANSCODE
        target, shape, notes = _encoding(facts, accepted, archives)
        syntax = target.uid
        reasons = (*_why_again(facts, verdict, usable, archives), *notes)
    return ConversionPlan(
        kind=kind, transfer_syntax=syntax.value, sop_class=procedure.sop_class.uid.value, modality=procedure.modality,
        reasons=(*reasons, *_sound_reasons(facts, sound, verdict)), audio=sound,
        blanked=facts.private_boxes if kind is PlanKind.PASSTHROUGH else (),
        width=shape.width, height=shape.height, fps=f"{shape.rate.numerator}/{shape.rate.denominator}",
        mapping_version=mapping_version,
    )  # fmt: skip


def _accepted(archives: tuple[DestinationRow, ...]) -> frozenset[TransferSyntax]:
    """Return the transfer syntaxes that all take."""
    if not archives:
        raise _refusal("no DICOM destination is given: add one to the routes table")
    accepted = frozenset.intersection(*(frozenset(row.accepted) for row in archives))
    if not accepted:
        raise _refusal(
            f"the destinations have no video transfer syntax in common ({_offers(archives)}): "
            "correct their rows in the destinations table, or route to them separately"
        )
    return accepted


def _offers(archives: tuple[DestinationRow, ...]) -> str:
    return "; ".join(f"{row.name} takes {row.transfer_syntaxes.replace('|', ', ') or 'none'}" for row in archives)


def _refusal(sentence: str) -> ConversionFailed:
    return ConversionFailed("plan", sentence)


def _require_convertible(facts: StreamFacts) -> None:
    """Refuse what would lose something on the way, whatever is done."""
    if facts.video_streams > 1:
        raise _refusal(
            f"the file holds {facts.video_streams} videos and an object only one, and which one matters is not for a "
            "program to say: export each as a file of its own"
        )
    if Defect.MIRRORED in facts.defects:
        raise _refusal("the recording is to be shown mirrored, so sides could be confused: export it as it is seen")


def _sound(facts: StreamFacts, procedure: ProcedureRow, verdict: Verdict) -> AudioPlan:
    """Decide about the sound (clinical rule 11): dropped unless the procedure keeps it."""
    if not facts.audio:
        return AudioPlan.NONE
    if procedure.audio == "drop":
        return AudioPlan.DROP
    return AudioPlan.KEEP if verdict.audio_allowed else AudioPlan.ENCODE


def _sound_reasons(facts: StreamFacts, sound: AudioPlan, verdict: Verdict) -> tuple[str, ...]:
    if sound is AudioPlan.NONE:
        return ()
    name = describe_sound(facts.audio[0])
    words = {
        AudioPlan.DROP: f"the sound ({name}) is left out, as the procedure's row says",
        AudioPlan.KEEP: f"the sound is kept: {name} (PS3.5 8.2.12)",
        AudioPlan.ENCODE: f"the sound is encoded to AAC 48 kHz: {verdict.audio_reason}",
    }
    return (words[sound],)


def _as_it_is(
    facts: StreamFacts, verdict: Verdict, syntax: TransferSyntax, sound: AudioPlan
) -> tuple[PlanKind, TransferSyntax, tuple[str, ...]]:
    """Keep the stream, and the whole file where it may be the payload."""
    row = syntax_of(syntax)
    conforms = f"{describe(facts)} conforms to {row.name} (PS3.5 {row.clause})"
    if facts.profile not in row.profiles:
        conforms += ", its profile taken for High as the destinations' rows allow"
    if verdict.needs_remux or sound is AudioPlan.DROP:
        causes = verdict.remux_reasons or ("the sound is to be left out",)
        return PlanKind.REMUX, syntax, (f"moved into a new MP4, streams untouched: {'; '.join(causes)}", conforms)
    blanked = sorted({box.name for box in facts.private_boxes})
    notes = (f"blanked in place, for position, owner or free text: {', '.join(blanked)}",) if blanked else ()
    return PlanKind.PASSTHROUGH, syntax, (f"passed through: {conforms}", *notes)


def _why_again(
    facts: StreamFacts, verdict: Verdict, usable: list[TransferSyntax], archives: tuple[DestinationRow, ...]
) -> tuple[str, ...]:
    """Return why the stream cannot stay."""
    if usable:
        return ("re-encoded: the sound must be encoded, and sound is encoded only together with the pictures",)
    if verdict.conforms_to:
        row = syntax_of(verdict.conforms_to[0])
        if verdict.conforms_to[0] in _TOO_DEEP:
            return (f"re-encoded: {facts.bit_depth} bits, and the SOP class allows 8 (PS3.3 C.8.12.1.1)",)
        return (f"re-encoded: it conforms to {row.name}, which not all destinations take ({_offers(archives)})",)
    return tuple(f"re-encoded: {reason}" for reason in verdict.reasons)


@dataclass(frozen=True)
class _Shape:
    """Size and rate of the result."""

    width: int
    height: int
    rate: Fraction


def _encoding(
    facts: StreamFacts, accepted: frozenset[TransferSyntax], archives: tuple[DestinationRow, ...]
) -> tuple[_Target, _Shape, tuple[str, ...]]:
    """Choose transfer syntax, size and rate of a recording that is encoded again."""
    if facts.hdr:
        raise _refusal(
            f"high dynamic range ({facts.hdr.upper()}) has to be brought to the normal range, and there is no measured "
            "way yet to do so without falsifying colours: record or export in standard range"
        )
    if facts.stereo:
        raise _refusal(
            "the recording shows two views and would lose one: give the destinations 105 or 106, or export one view"
        )
    targets = [target for target in _TARGETS if target.uid in accepted]
    if not targets:
        raise _refusal(
            "the recording must be encoded again, which is done as H.264 (102 or 104), and not all destinations take "
            f"that ({_offers(archives)}): add it to their rows if they do"
        )
    natural = _Shape(*_upright(facts), facts.rate)
    target = next((one for one in targets if one.holds(natural.width, natural.height, natural.rate)), None)
    if target:
        return target, natural, _shape_reasons(facts, natural)
    target = max(targets, key=lambda one: one.each_second)
    shape = _reduced(facts, natural, target)
    return target, shape, _shape_reasons(facts, shape)


def _upright(facts: StreamFacts) -> tuple[int, int]:
    """Return the size as it is displayed: square pixels, turned upright, within Full HD, even."""
    aspect = Fraction(facts.pixel_aspect.replace(":", "/"))
    width, height = Fraction(facts.width), Fraction(facts.height)
    if abs(aspect - 1) * max(facts.width, facts.height) > _SLIGHT:
        width, height = (width * aspect, height) if aspect > 1 else (width, height / aspect)
    if facts.rotation in (90, 270):
        width, height = height, width
    scale = min(Fraction(1), Fraction(_LONG) / max(width, height), Fraction(_SHORT) / min(width, height))
    return _even(width * scale), _even(height * scale)


def _even(value: Fraction | float) -> int:
    """Return the nearest even number: 4:2:0 halves both directions; a lone odd row or column is never lost."""
    whole = round(value)
    return max(_LEAST, whole + whole % 2)


def _reduced(facts: StreamFacts, shape: _Shape, target: _Target) -> _Shape:
    """Make it fit a level without losing a picture: a coarser grid for a variable rate, else smaller pictures."""
    if facts.variable_rate and facts.duration:
        mean = Fraction(facts.frames / facts.duration)
        for rate in sorted((one for one in _RATES if one < shape.rate), reverse=True):
            if rate >= mean * Fraction(6, 5) and target.holds(shape.width, shape.height, rate):
                return _Shape(shape.width, shape.height, rate)
    width, height = shape.width, shape.height
    across, down = Fraction(width, max(width, height)), Fraction(height, max(width, height))
    # Step by step by one macroblock of the longer side, both sides from the same figure, so that the shape stays.
    for longer in range(max(width, height), _LEAST, -16):
        width, height = _even(longer * across), _even(longer * down)
        if target.holds(width, height, shape.rate):
            break
    return _Shape(width, height, shape.rate)


def _shape_reasons(facts: StreamFacts, shape: _Shape) -> tuple[str, ...]:
    """Say what changes in size and time."""
    found = []
    if facts.rotation:
        found.append(f"turned by {facts.rotation} degrees, as it is to be shown")
    shown = (facts.height, facts.width) if facts.rotation in (90, 270) else (facts.width, facts.height)
    if (shape.width, shape.height) != shown:
        found.append(f"scaled from {shown[0]}x{shown[1]} to {shape.width}x{shape.height}")
    rate = f"{float(shape.rate):.5g}"
    if facts.variable_rate:
        own = (
            "each picture has a place of its own"
            if shape.rate == facts.rate
            else "pictures that come closer together are shown a little later"
        )
        found.append(f"placed on a constant {rate} frames/s: {own}, free places repeat the picture before")
    return tuple(found)
