"""HL7 escape sequences, both ways (HL7 v2.5.1 2.7): reading is tolerant and bounded, writing is strict."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

#: A ``\\.sp<n>\\`` never grows into more lines than this, so that a short message cannot become a long one.
MOST_BLANK_LINES = 8

_HEX = re.compile(r"X((?:[0-9A-Fa-f]{2})+)")
_LINES = re.compile(r"\.sp\+?(\d{0,9})")
_COLUMNS = re.compile(r"\.sk\+?(\d{1,9})")
_LAYOUT = re.compile(r"\.(?:fi|nf|in[+-]?\d{0,9}|ti[+-]?\d{0,9})|H|N")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class Delimiters(NamedTuple):
    """The five separators of a message (HL7 v2.5.1 2.5.4)."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"


STANDARD = Delimiters()


def unescape(text: str, delimiters: Delimiters, encoding: str) -> str:
    r"""Return the text that was meant; an unknown sequence or a lone escape character stays as it is.

    Args:
        text: One component or subcomponent as it stands in the message.
        delimiters: Of the message.
        encoding: Python codec of the message, for ``\X..\``.
    """
    escape = delimiters.escape
    if escape not in text:
        return text
    parts = text.split(escape)
    out = [parts[0]]
    index = 1
    while index < len(parts):
        closed = index + 1 < len(parts)
        meant = _meaning(parts[index], delimiters, encoding) if closed else None
        if meant is None:
            out.append(escape + parts[index])
            index += 1
        else:
            out += (meant, parts[index + 1])
            index += 2
    return "".join(out)


def _meaning(body: str, delimiters: Delimiters, encoding: str) -> str | None:
    plain = {
        "F": delimiters.field,
        "S": delimiters.component,
        "T": delimiters.subcomponent,
        "R": delimiters.repetition,
        "E": delimiters.escape,
        ".br": "\n",
        ".ce": "\n",
    }.get(body)
    if plain is not None:
        return plain
    rules: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
        (_HEX, lambda found: bytes.fromhex(found[1]).decode(encoding, errors="replace")),
        (_LINES, lambda found: "\n" * min(int(found[1] or 1), MOST_BLANK_LINES)),
        (_COLUMNS, lambda found: " " * min(int(found[1]), MOST_BLANK_LINES)),
        (_LAYOUT, lambda _found: ""),
    )
    for pattern, meant in rules:
        if found := pattern.fullmatch(body):
            return meant(found)
    return None


def escape(text: str, delimiters: Delimiters = STANDARD) -> str:
    r"""Return text that is safe inside a component: separators escaped, control characters turned into blanks.

    A raw CR in a value would begin a new segment, so it never gets through; ``\.br\`` is not written, because it is
    only defined for formatted text (HL7 v2.5.1 2.7.6).
    """
    escape_character = delimiters.escape
    names = {
        delimiters.field: "F",
        delimiters.component: "S",
        delimiters.repetition: "R",
        escape_character: "E",
        delimiters.subcomponent: "T",
    }
    table = {ord(mark): f"{escape_character}{name}{escape_character}" for mark, name in names.items() if mark}
    return _CONTROL.sub(" ", text).translate(table)
