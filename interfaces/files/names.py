"""What a file name says: the first pattern that fits the whole name gives claims and the start time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from interfaces.files.claims import GROUP, KEYS, clean, looks_like_date
from interfaces.files.moments import from_parts
from models.mapping import ANY, FilenamePatternRow
from models.recording import ORDER_GRADE, Claim
from models.value import Value

#: Longer names come from no recorder; a pattern over one could take for ever.
LONGEST = 512

_ENDING = re.compile(r"\.[A-Za-z0-9]{1,5}$")
_NUMBERS = ORDER_GRADE | {"patient_id"}
_WORDS = frozenset({"family", "given"})


class NameReading(Value):
    """What a name says.

    Attributes:
        claims: All of the group ``recorder``.
        started_at: When the recording began, UTC; None when the name does not say or the time is worthless.
        pattern: Name of the pattern that fits; empty for none.
        problem: Sentences on what was left out, empty for nothing.
    """

    claims: tuple[Claim, ...] = ()
    started_at: datetime | None = None
    pattern: str = ""
    problem: str = ""


def read_name(name: str, patterns: Sequence[FilenamePatternRow], station: str, zone: str) -> NameReading:
    """Return what a name says by the first pattern, in order of priority, that fits all of it.

    Args:
        name: File name, or the path below the station's folder with ``/`` between, which patterns with ``/`` need.
        patterns: The ``filename_patterns`` table; at one priority a row for the station goes before one for any.
        station: The station that the file came from, empty when unknown.
        zone: IANA zone of the station's clock.
    """
    if len(name) > LONGEST:
        return NameReading(problem=f"the name is longer than {LONGEST} characters and is not read")
    whole = _ENDING.sub("", name)
    stem = whole.rpartition("/")[2]
    for row in sorted(patterns, key=lambda row: (row.priority, row.station == ANY, row.name)):
        if row.station not in (ANY, station):
            continue
        if found := re.fullmatch(row.pattern, whole if "/" in row.pattern else stem):
            return _reading(row.name, found, zone)
    return NameReading()


def _reading(pattern: str, found: re.Match[str], zone: str) -> NameReading:
    claims: list[Claim] = []
    problems: list[str] = []
    for key, value in found.groupdict().items():
        if value and key in KEYS:
            text, words = _checked(key, value)
            problems += [words] if words else []
            claims += [Claim(source=_source(found, key), group=GROUP, key=key, value=text)] if text else []
    started, words = _started(found, zone)
    problems += [words] if words else []
    return NameReading(claims=tuple(claims), started_at=started, pattern=pattern, problem="; ".join(problems))


def _checked(key: str, value: str) -> tuple[str, str]:
    if key in _NUMBERS and looks_like_date(value):
        return "", f"{key} in the name looks like a date and is not used"
    return clean(key, value.replace("_", " ").replace("+", " ") if key in _WORDS else value)


def _started(found: re.Match[str], zone: str) -> tuple[datetime | None, str]:
    parts = found.groupdict()
    if not parts.get("date") or not parts.get("time"):
        return None, ""  # a day without an hour says when nobody's recording began
    return from_parts(parts["date"], parts["time"], zone)


def _source(found: re.Match[str], key: str) -> str:
    return "folder" if "/" in found.string[found.end(key) :] else "file name"
