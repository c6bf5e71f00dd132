"""What a DIMSE status means: held, refused, or worth another try (PS3.7 C, PS3.4 B.2.3 and C.4.1.1.4)."""

from __future__ import annotations

from enum import StrEnum

from pydicom import Dataset


class Meaning(StrEnum):
    """What follows from a status."""

    SUCCESS = "success"
    PENDING = "pending"
    WARNING = "warning"
    PASSING = "passing"
    FAILURE = "failure"


#: First and last status, what it means, and its words; the first row that fits counts.
_TABLE = (
    (0x0000, 0x0000, Meaning.SUCCESS, "Success"),
    (0xFF00, 0xFF01, Meaning.PENDING, "pending"),
    (0x0001, 0x0001, Meaning.WARNING, "requested optional attributes are not supported"),
    (0x0107, 0x0107, Meaning.WARNING, "attribute list error"),
    # It says that it holds the object. Whether it does, and as whose, is for the query to show.
    (0x0111, 0x0111, Meaning.WARNING, "duplicate SOP instance"),
    (0x0116, 0x0116, Meaning.WARNING, "attribute value out of range"),
    (0xB000, 0xB000, Meaning.WARNING, "coercion of data elements"),
    (0xB006, 0xB006, Meaning.WARNING, "elements discarded"),
    (0xB007, 0xB007, Meaning.WARNING, "data set does not match SOP class"),
    (0xB000, 0xBFFF, Meaning.WARNING, "not explained in the standard"),
    (0x0110, 0x0110, Meaning.PASSING, "processing failure"),
    (0x0213, 0x0213, Meaning.PASSING, "resource limitation"),
    (0xA700, 0xA7FF, Meaning.PASSING, "out of resources"),
    (0xFE00, 0xFE00, Meaning.PASSING, "cancelled"),
    (0x0117, 0x0117, Meaning.FAILURE, "invalid object instance"),
    (0x0122, 0x0122, Meaning.FAILURE, "SOP class not supported"),
    (0x0124, 0x0124, Meaning.FAILURE, "not authorised"),
    (0x0210, 0x0210, Meaning.FAILURE, "duplicate invocation"),
    (0x0211, 0x0211, Meaning.FAILURE, "unrecognised operation"),
    (0x0212, 0x0212, Meaning.FAILURE, "mistyped argument"),
    (0xA900, 0xA9FF, Meaning.FAILURE, "data set does not match SOP class"),
    (0xC000, 0xCFFF, Meaning.FAILURE, "cannot understand"),
    (0x0000, 0xFFFF, Meaning.FAILURE, "not explained in the standard"),
)


def judge(answer: Dataset) -> tuple[Meaning, str]:
    """Return what the status of an answer means, and the words: ``A700 out of resources (<the peer's comment>)``."""
    status = int(answer.Status)
    meaning, words = next((row[2], row[3]) for row in _TABLE if row[0] <= status <= row[1])
    comment = str(answer.get("ErrorComment") or "").strip()
    mark = "warning: " if meaning == Meaning.WARNING else ""
    return meaning, f"{status:04X} {mark}{words}" + (f" ({comment})" if comment else "")
