"""HL7 time stamps, read and written (HL7 v2.5.1 2.A.22 DTM, 2.A.21 DT)."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import NamedTuple

_STAMP = re.compile(
    r"(\d{4})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:\.(\d{1,6})\d*)?)?)?)?)?)?(?:([+-])(\d{2})(\d{2}))?"
)
_YEARS = range(1900, 2200)
_MINUTES_OF_HOUR = range(60)
_WIDEST_OFFSET_HOURS = 14


class Stamp(NamedTuple):
    """A moment, and whether the hour was said at all; without it the moment is the day's first."""

    at: datetime
    has_hour: bool


def read_stamp(text: str, zone: tzinfo | None) -> Stamp | None:
    """Return the moment that a DTM names, aware, or None when it cannot be read.

    Args:
        text: ``YYYY[MM[DD[HH[MM[SS[.S+]]]]]][+/-ZZZZ]``.
        zone: For a stamp without an offset; with None such a stamp is not read.
    """
    found = _STAMP.fullmatch(text.strip())
    if not found or int(found[1]) not in _YEARS:
        return None
    where = _offset(found[8], found[9], found[10]) if found[8] else zone
    if where is None:
        return None
    parts = [int(found[index] or (1 if index <= 3 else 0)) for index in range(1, 7)]  # noqa: PLR2004 - year to day
    micro = int((found[7] or "0").ljust(6, "0"))
    try:
        at = datetime(*parts, micro, tzinfo=where)  # type: ignore[misc,arg-type] # six whole numbers, then microseconds
    except ValueError:
        return None
    return Stamp(at, found[4] is not None)


def _offset(sign: str, hours: str, minutes: str) -> tzinfo | None:
    if int(hours) > _WIDEST_OFFSET_HOURS or int(minutes) not in _MINUTES_OF_HOUR:
        return None
    span = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-span if sign == "-" else span)


def read_date(text: str) -> date | None:
    """Return the day of a DT or DTM with at least eight digits, else None."""
    if not re.match(r"\d{8}", text.strip()):
        return None
    try:
        day = datetime.strptime(text.strip()[:8], "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None
    return day if day.year in _YEARS else None


def write_stamp(at: datetime) -> str:
    """Return a DTM to the second with its offset; in UTC, so that one moment has one text."""
    return at.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")
