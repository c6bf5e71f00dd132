"""The text form of a table: RFC 4180 CSV with comment lines on top, safe to open in a spreadsheet.

Reading takes what spreadsheets save (a byte order mark; ``;`` or tab between cells); writing gives one form only, so
that ``cells(write(x)) == x`` for every text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from models.errors import MappingError

#: A spreadsheet takes a cell that begins with one of these for a formula (OWASP, CSV injection); the full-width forms
#: too. The apostrophe is the guard itself, so a text that begins with one is guarded like the others.
GUARDED = "=+-@\t\r\uff1d\uff0b\uff0d\uff20'"
_DELIMITERS = ",;\t"
_NEEDS_QUOTES = frozenset(',;\t"\r\n')


@dataclass(frozen=True)
class Record:
    """One record: the line of the file that it begins in (1 is the first) and its cells as they stand there."""

    line: int
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Sheet:
    """All records without comments and blank lines; ``broken`` says why reading stopped, at ``broken_line``."""

    records: tuple[Record, ...]
    broken_line: int = 0
    broken: str = ""


def decode(data: bytes, origin: str) -> str:
    """Return the text of a CSV file: UTF-8, with or without a byte order mark.

    Raises:
        MappingError: Another encoding; the sentence names the line.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise MappingError(f"{origin} is UTF-16: save it as CSV UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MappingError(f"{origin} line {line} is not UTF-8: save it as CSV UTF-8") from error


def sheet(text: str) -> Sheet:
    """Return the records of a CSV text; the first is the header."""
    stream = io.StringIO(text.removeprefix("\ufeff"), newline="")
    skipped = 0
    first = stream.readline()
    while first and (first.startswith(("#", '"#')) or not first.strip(",;\t\r\n ")):
        first = stream.readline()
        skipped += 1
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(chain((first,), stream), delimiter=delimiter, strict=True)
    records: list[Record] = []
    line = skipped + 1
    try:
        for cells in reader:
            if any(cells):
                records.append(Record(line, tuple(cells)))
            line = skipped + reader.line_num + 1
    except csv.Error as error:
        return Sheet(tuple(records), line, f"the quotes do not fit ({error}): write a quote inside a cell twice")
    return Sheet(tuple(records))


def write(rows: Iterable[Sequence[str]]) -> str:
    """Return rows of cells as CSV text, one row a line unless a cell holds a line break."""
    return "".join(",".join(map(_quoted, row)) + "\n" for row in rows)


def guarded(value: str) -> str:
    """Return a text as a cell that no spreadsheet takes for a formula: with an apostrophe before it where needed."""
    return f"'{value}" if value[:1] and value[0] in GUARDED else value


def unguarded(cell: str) -> str:
    """Return the text of a cell: the inverse of ``guarded``."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] and cell[1] in GUARDED else cell


def _quoted(cell: str) -> str:
    if _NEEDS_QUOTES.isdisjoint(cell):
        return cell
    return '"' + cell.replace('"', '""') + '"'
