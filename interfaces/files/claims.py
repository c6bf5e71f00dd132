"""What a recorder says about a recording, cleaned and checked one value at a time.

Nothing is mended: a value is normalised where that cannot change whom it names, or it is left out with a sentence.
"""

from __future__ import annotations

import re
import unicodedata

from interfaces.files.moments import parse_date
from models.recording import ORDER_GRADE

#: File name, folder and sidecar are written by one login: one source (clinical.md 3).
GROUP = "recorder"

#: Every key that a sidecar or a file name may claim.
KEYS = ORDER_GRADE | {"patient_id", "family", "given", "birth_date", "performer"}

#: The longest value of a claim: that of a DICOM long string (PS3.5 6.2 LO), and of a UID.
LONGEST = 64

_BLANKS = re.compile("[ \u00a0\u202f]+")
_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_DIGITS_ONLY = re.compile(r"[-._/T :]")
_FIRST_BIRTH_YEAR = 1880
#: Dates that people type when they know none.
_PLACEHOLDERS = frozenset({"19000101", "18000101", "11111111", "99991231", "20000101", "19700101"})


def clean(key: str, value: str) -> tuple[str, str]:
    """Return the value as claims carry it and an empty text, or an empty value and why it is not used.

    Args:
        key: One of ``KEYS``.
        value: As it was written. Birth dates come back as YYYY-MM-DD, all texts in Unicode NFC.
    """
    text = _BLANKS.sub(" ", unicodedata.normalize("NFC", value)).strip()
    if not text:
        return "", ""
    if len(text) > LONGEST:
        return "", f"{key} is longer than {LONGEST} characters and is not used"
    if not text.isprintable():
        return "", f"{key} holds control characters and is not used"
    if key == "birth_date":
        return _birth_date(text)
    if key == "study_uid" and not _UID.fullmatch(text):
        return "", "study_uid is no UID (PS3.5 9.1) and is not used"
    return text, ""


def looks_like_date(value: str) -> bool:
    """Say whether a value may be a date or a date with a time, in any order of day, month and year."""
    digits = _DIGITS_ONLY.sub("", value)
    if not digits.isdecimal() or len(digits) not in {8, 12, 14, 17}:
        return False
    head = digits[:8]
    orders = (head, head[4:] + head[2:4] + head[:2], head[4:] + head[:2] + head[2:4])
    days = (parse_date(order) for order in orders)
    return any(day and 1900 <= day.year <= 2099 for day in days)  # noqa: PLR2004 - the years that people write


def _birth_date(text: str) -> tuple[str, str]:
    day = parse_date(text) if len(text) >= 8 else None  # noqa: PLR2004 - six digits leave the century open
    if day is None or day.year < _FIRST_BIRTH_YEAR:
        return "", "birth_date is no date as YYYY-MM-DD and is not used"
    if day.strftime("%Y%m%d") in _PLACEHOLDERS:
        return "", "birth_date is a placeholder and is not used"
    return day.isoformat(), ""
