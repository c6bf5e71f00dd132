"""What all ways of reading a recording share: pace of its pictures, facts of its stream, its container's metadata."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.boxes import damaged
from converters.parameter_sets import Parameters, level_needed
from converters.sample_table import Ticks

_UNSET_YEARS = frozenset({1904, 1970, 2000})
_EPOCH = datetime(1904, 1, 1, tzinfo=UTC)

#: Rates that cameras use; the grid on which variable pictures are placed.
_RATES = tuple(
    Fraction(rate) for rate in ("5", "10", "12", "25/2", "15", "20", "24000/1001", "24", "25", "30000/1001", "30",
                                "40", "50", "60000/1001", "60")
)  # fmt: skip
_SLOWEST, _FASTEST = Fraction(1, 10_000), 1000
_ROUNDING = Fraction(1, 500)

#: Not claims: what programs write for themselves, and what is no business of ours.
_NO_TEXTS = ("encoder", "brand", "minor_version", "creation", "location", "handler", "duration", "vendor", "timecode",
             "make", "model", "software", "language", "com.android", "statistics")  # fmt: skip


@dataclass(frozen=True)
class Pace:
    """How the shown pictures follow each other."""

    rate: Fraction
    variable: bool
    duration: Fraction
    peak_bits: int


def pace_of(times: Ticks, base: Fraction, last: int, guess: Fraction | None) -> Pace:
    """Derive rate and duration.

    Args:
        times: When each picture is shown, in ticks, in any order; may be empty when nothing is known.
        base: Seconds in a tick.
        last: Duration of the last picture in ticks, 0 when unknown.
        guess: What the container says of the rate.
    """
    times = np.sort(times)
    steps = np.diff(times)
    span = int(times[-1] - times[0]) if len(times) else 0
    if not span:
        rate = _possible(1 / (last * base)) if last > 0 else sane(guess)
        return Pace(rate, variable=len(times) > 1, duration=max(len(times), 1) / rate, peak_bits=0)
    mean = Fraction(span, len(steps))
    # What a container rounds to whole ticks, and 2 % of jitter, are no variable rate.
    constant = bool((np.abs(steps - float(mean)) <= max(1.0, float(mean) / 50)).all())
    average = 1 / (mean * base)
    if constant:
        spread = int(steps.max() - steps.min())
        rate = average if not spread else _usual(average, Fraction(spread + 1, span))
    else:
        rate = _grid((times - times[0]).astype(np.float64) * float(base), average)
    end = last if last > 0 else round(mean)
    return Pace(_possible(rate), not constant, (span + end) * base, 0)


def sane(rate: Fraction | None) -> Fraction:
    """Return a container's guess, 25 for one that cannot be or is missing."""
    return rate.limit_denominator(100_000) if rate and _SLOWEST <= rate <= _FASTEST else Fraction(25)


def _possible(rate: Fraction) -> Fraction:
    if not _SLOWEST <= rate <= _FASTEST:
        raise damaged(f"its pictures would follow each other at {float(rate):.3g} a second")
    return rate.limit_denominator(100_000)


def _usual(average: Fraction, tolerance: Fraction) -> Fraction:
    """Return the usual rate that an average within rounding means."""
    nearest = min(_RATES, key=lambda rate: abs(rate - average))
    return nearest if abs(nearest - average) <= nearest * tolerance else average.limit_denominator(1001)


def _grid(seconds: npt.NDArray[np.float64], average: Fraction) -> Fraction:
    """Return a rate on whose grid no two pictures share a place.

    It is that of most pictures where only pauses differ, else the lowest usual one, the highest when none suffices.
    """
    usual = max(float(np.median(np.diff(seconds))), 1 / _FASTEST)
    for rate in (_usual(1 / Fraction(usual).limit_denominator(1 << 20), _ROUNDING), *_RATES):
        if rate >= _SLOWEST and (np.diff(np.rint(seconds * float(rate))) >= 1).all():
            return rate
    return max(_RATES[-1], average.limit_denominator(1001))


def peak_bits(sizes: Ticks, decoded: Ticks, base: Fraction) -> int:
    """Return the most bits of any one second of decoding."""
    if len(sizes) < 2:  # noqa: PLR2004 - no second without two
        return int(sizes.sum()) * 8
    order = np.argsort(decoded, kind="stable")
    ticks, total = decoded[order], np.cumsum(sizes[order])
    before = np.searchsorted(ticks, ticks - max(1, round(1 / base)), side="right")
    earlier = np.where(before > 0, total[np.maximum(before - 1, 0)], 0)
    return int((total - earlier).max()) * 8


@dataclass(frozen=True)
class Coded:
    """The coded pictures: parameters, pace, how many are shown, and what is odd."""

    parameters: Parameters
    pace: Pace
    frames: int
    starts_with_key: bool
    edited: bool = False
    defects: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Return the facts of the stream, without container."""
        sets, pace = self.parameters, self.pace
        if not self.frames:
            raise damaged("it holds no picture that can be shown")
        aspect = sets.aspect or Fraction(1)
        return {
            "codec": sets.codec,
            "profile": sets.profile,
            "level": sets.level,
            "level_needed": level_needed(sets, pace.rate, pace.peak_bits),
            "chroma": sets.chroma,
            "bit_depth": sets.depth,
            "interlaced": not sets.progressive,
            "width": sets.width,
            "height": sets.height,
            "frames": self.frames,
            "fps": f"{pace.rate.numerator}/{pace.rate.denominator}",
            "variable_rate": pace.variable,
            "pixel_aspect": f"{aspect.numerator}:{aspect.denominator}",
            "full_range": sets.full_range,
            "hdr": sets.transfer,
            "stereo": sets.stereo,
            "duration": float(pace.duration),
            "edited": self.edited,
            "starts_with_key_frame": self.starts_with_key,
            "defects": tuple(dict.fromkeys(self.defects)),
        }


def describe_source(texts: dict[str, str], seconds: int) -> dict[str, Any]:
    """Return device, time of creation and free texts from a container's metadata; ``seconds`` since 1904, 0 unset."""
    lower = {key.lower(): value for key, value in texts.items()}
    words = [next((lower[k] for k in lower if k.split(".")[-1] in names), "") for names in
             (("make", "manufacturer"), ("model",))]  # fmt: skip
    created = _moment(lower.get("com.apple.quicktime.creationdate", "")) or _moment(lower.get("creation_time", ""))
    if created is None and seconds:
        created = _known_year(_EPOCH + timedelta(seconds=min(seconds, 1 << 34)))
    free = {key: value for key, value in lower.items() if value and not any(word in key for word in _NO_TEXTS)}
    return {
        "device": " ".join(word for word in words if word),
        "created_at": created,
        "texts": dict(list(free.items())[:50]),
    }


def _moment(text: str) -> datetime | None:
    """Read an ISO time with a zone; a time without one is no moment."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return _known_year(found) if found.tzinfo else None


def _known_year(moment: datetime) -> datetime | None:
    """Return None for a clock that was never set: the epochs of formats and recorders."""
    try:
        years = {moment.year, moment.astimezone(UTC).year}
    except OverflowError:
        return None
    return None if years & _UNSET_YEARS or min(years) < 1990 else moment  # noqa: PLR2004 - before digital video
