"""When a recording began, as recorders write it: checked, aware, or not at all.

A wrong time is worse than none (clinical.md 3): an unset clock, an hour that the clock change repeats or leaves out,
and a date that does not exist give no time but a sentence.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

#: A recorder whose battery is empty starts in 1904, 1970, 1980 or 2000; no recording is older than this.
FIRST_YEAR = 2005

_DATE = re.compile(r"(\d{4})([-._]?)(\d\d)\2(\d\d)")
_SHORT_DATE = re.compile(r"(\d\d)(\d\d)(\d\d)")
_TIME = re.compile(r"(\d\d)([-.:]?)(\d\d)(?:\2(\d\d)(?:[.,]?(\d{1,6}))?)?")
_ISO = re.compile(r"\d{4}-?\d\d-?\d\d[T ]\d\d:?\d\d.*")

Moment = tuple[datetime | None, str]


def parse_date(text: str) -> date | None:
    """Return a date written as YYYYMMDD, YYYY-MM-DD or YYMMDD; None when it is not one that exists."""
    found = _DATE.fullmatch(text)
    short = _SHORT_DATE.fullmatch(text)
    if found:
        year, month, day = found[1], found[3], found[4]
    elif short:
        year, month, day = f"20{short[1]}", short[2], short[3]
    else:
        return None
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def from_parts(date_text: str, time_text: str, zone: str) -> Moment:
    """Return the moment of a date and a time of day in a zone, or None and why.

    Args:
        date_text: YYYYMMDD, YYYY-MM-DD or YYMMDD.
        time_text: HHMM or HHMMSS, also with ``-``, ``.`` or ``:`` between.
        zone: IANA zone of the recorder's clock.
    """
    day = parse_date(date_text)
    clock = _TIME.fullmatch(time_text)
    if day is None or clock is None:
        return None, f"{date_text} {time_text} is no date and time that exists"
    try:
        fraction = int((clock[5] or "0").ljust(6, "0"))
        local = datetime(day.year, day.month, day.day, int(clock[1]), int(clock[3]), int(clock[4] or 0), fraction)  # noqa: DTZ001 - the zone is added below, with the checks that it needs
    except ValueError:
        return None, f"{date_text} {time_text} is no date and time that exists"
    return _in_zone(local, zone)


def from_iso(text: str, zone: str) -> Moment:
    """Return the moment of an ISO 8601 text; without an offset it is in the zone; None and why when it is not usable.

    Args:
        text: Date and time, e.g. ``2026-11-22T10:15:00+01:00``.
        zone: IANA zone for a text without an offset; empty when that is not allowed.
    """
    if not _ISO.fullmatch(text):
        return None, f"{text[:40]!r} is no ISO 8601 date and time; write for example 2026-11-22T10:15:00+01:00"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None, f"{text[:40]!r} is no date and time that exists; write for example 2026-11-22T10:15:00+01:00"
    if moment.tzinfo is None:
        return _in_zone(moment, zone)
    return _plausible(moment)


def _in_zone(local: datetime, zone: str) -> Moment:
    if not zone:
        return None, f"{local.isoformat()} has no offset from UTC and the station has no time zone; add one of them"
    try:
        tz = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None, f"{zone!r} is no IANA time zone; write for example Europe/Zurich in the stations table"
    early, late = local.replace(tzinfo=tz, fold=0), local.replace(tzinfo=tz, fold=1)
    if early.utcoffset() != late.utcoffset():
        # Before the change's gap the offset grows, in the repeated hour it shrinks: either way the wall clock does not
        # say which moment it was.
        return None, f"{local.isoformat()} is not one moment in {zone}: the clock changes in this hour"
    return _plausible(early)


def _plausible(moment: datetime) -> Moment:
    if moment.year < FIRST_YEAR:
        return None, f"{moment.date().isoformat()} is a clock that was never set; set the recorder's clock"
    if moment.utcoffset() is None or abs(moment.utcoffset() or timedelta()) > timedelta(hours=14):
        return None, "the offset from UTC is more than 14 hours; mend the recorder's time zone"
    return moment.astimezone(UTC), ""
