"""Checks that one cell's type cannot say: of a row as a whole, and of tables against each other."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from models.mapping import ANY, DestinationRow, EvidenceRow, FilenamePatternRow, ProcedureRow, RouteRow, Row
from models.recording import ORDER_GRADE
from models.value import Value

#: Column and what is wrong with it.
Finding = tuple[str, str]

#: Names that recorders give when they know nothing but the time; no pattern may read an identity out of one.
DATE_NAMES = (
    "20261122", "22112026", "261122", "2026-11-22", "2026_11_22", "22-11-2026", "22.11.2026",
    "20261122101500", "20261122_101500", "20261122-101500", "20261122T101500", "2026-11-22_10-15-00",
    "2026-11-22 10.15.00", "20261122_101500_1", "20261122101500_001", "VID_20261122_101500", "261122_101500",
    "20261122/20261122101500", "20261122101500/20261122101500", "2026-11-22/10-15-00",
    "20261122/20261122101500/20261122101500",
)  # fmt: skip

#: Groups of a pattern that identify a patient or an order.
IDENTITY = ORDER_GRADE | {"patient_id"}

#: Columns where ``*`` means any, and where an empty cell would fit nothing at all.
_NEVER_EMPTY = {"routes": ("sender", "procedure", "modality", "station"), "filename_patterns": ("station",)}

#: What a spreadsheet makes of a long number.
_MANGLED = re.compile(r"\d[.,]?\d*E\+\d+")
_BODY_PART = re.compile(r"[A-Z0-9_ ]{0,16}")
_LONG_STRING = 64
_SHORT_STRING = 16


class CellProblem(Value):
    """One thing that is wrong with one cell.

    Attributes:
        table: Name of the table.
        line: Line of the file, 1 is the first; 0 when it concerns the table as a whole.
        column: Name of the column, empty when it concerns the row as a whole.
        value: What stands in the cell.
        sentence: What is wrong, where, and how to mend it.
    """

    table: str
    line: int
    column: str
    value: str
    sentence: str


def problem(table: str, line: int, column: str, value: str, words: str) -> CellProblem:
    """Return a problem whose sentence begins with the place: table, line and column."""
    place = f"{table}.csv" + (f" line {line}" if line else "") + (f", column {column}" if column else "")
    return CellProblem(table=table, line=line, column=column, value=value, sentence=f"{place}: {words}")


def row_findings(row: Row) -> Iterator[Finding]:
    """Yield what is wrong within one row that its model alone accepts."""
    yield from _needed(row)
    yield from _keys(row)
    if check := _ROW_CHECKS.get(row.table):
        yield from check(row)


def check_set(
    tables: Mapping[str, Sequence[Row]], lines: Mapping[str, Sequence[int]] | None = None
) -> tuple[CellProblem, ...]:
    """Return what is wrong between tables: names that lead nowhere, and one folder for two stations.

    Args:
        tables: Rows by table name.
        lines: The file line of every row by table name; without it rows count from line 2, as ``write_table`` has them.
    """
    known = lines or {}
    found: list[CellProblem] = []
    for name, check in _SET_CHECKS.items():
        for position, column, value, words in check(tables):
            numbers = known.get(name)
            found.append(problem(name, numbers[position] if numbers else position + 2, column, value, words))
    return tuple(found)


def _needed(row: Row) -> Iterator[Finding]:
    fields = type(row).model_fields
    for column, field in fields.items():
        if field.is_required() and getattr(row, column) == "":
            yield column, "this cell may not be empty"
    for column in _NEVER_EMPTY.get(row.table, ()):
        if getattr(row, column) == "":
            yield column, "an empty cell fits nothing; write * for any"


def _keys(row: Row) -> Iterator[Finding]:
    for column in row.key_columns:
        value = getattr(row, column)
        if not isinstance(value, str):
            continue
        if value != value.strip():
            yield column, f"{value!r} has blanks around it and would never be found; remove them"
        if _MANGLED.fullmatch(value):
            yield column, f"{value!r} looks like a number that a spreadsheet shortened; format the column as text"


def _procedure(row: ProcedureRow) -> Iterator[Finding]:
    if not _BODY_PART.fullmatch(row.body_part):
        yield "body_part", f"{row.body_part!r} is no code string: at most 16 of A-Z, 0-9, blank, _ (PS3.5 6.2 CS)"
    if len(row.region_code) > _SHORT_STRING or _MANGLED.fullmatch(row.region_code):
        yield "region_code", f"{row.region_code!r} is no code value: at most 16 characters (PS3.3 8.1)"
    for column in ("region_meaning", "series_description"):
        value = getattr(row, column)
        if len(value) > _LONG_STRING or "\\" in value:
            yield column, f"{value!r} is no long string: at most 64 characters and no backslash (PS3.5 6.2 LO)"


def _pattern(row: FilenamePatternRow) -> Iterator[Finding]:
    for name in DATE_NAMES:
        found = re.fullmatch(row.pattern, name)
        taken = sorted(key for key, value in found.groupdict().items() if value and key in IDENTITY) if found else []
        if taken:
            yield "pattern", f"it reads {taken[0]} out of {name!r}, which is a date; put a fixed text before {taken[0]}"
            return


def _evidence(row: EvidenceRow) -> Iterator[Finding]:
    if not math.isfinite(row.ratio):
        yield "ratio", f"{row.ratio} is no ratio; write a number such as 0.2 or 50"
    elif row.outcome == "agrees" and row.ratio < 1:
        yield "ratio", f"{row.ratio} would count agreement against the order; write 1 or more"
    elif row.outcome == "differs" and row.ratio > 1:
        yield "ratio", f"{row.ratio} would count a difference for the order; write 1 or less"


def _destination(row: DestinationRow) -> Iterator[Finding]:
    if not math.isfinite(row.timeout_seconds):
        yield "timeout_seconds", "write a number of seconds such as 30"
    if "|" in row.name:
        yield "name", "a name may not hold |, which separates names in routes"


def _route(row: RouteRow) -> Iterator[Finding]:
    if not row.names:
        yield "destinations", "it leads nowhere; write names of destinations, separated by |"


_ROW_CHECKS: dict[str, Callable[[Any], Iterator[Finding]]] = {
    "procedures": _procedure,
    "filename_patterns": _pattern,
    "evidence": _evidence,
    "destinations": _destination,
    "routes": _route,
}

#: Position of the row in its table, column, value, words.
_SetFinding = tuple[int, str, str, str]


def _routes_lead_somewhere(tables: Mapping[str, Sequence[Any]]) -> Iterator[_SetFinding]:
    known = {row.name for row in tables.get("destinations", ())}
    for position, row in enumerate(tables.get("routes", ())):
        for name in row.names:
            if name not in known:
                yield position, "destinations", name, f"{name!r} is not in the destinations table; add it there"


def _patterns_have_stations(tables: Mapping[str, Sequence[Any]]) -> Iterator[_SetFinding]:
    known = {row.station for row in tables.get("stations", ())} | {ANY}
    for position, row in enumerate(tables.get("filename_patterns", ())):
        if row.station not in known:
            yield position, "station", row.station, f"{row.station!r} is not in the stations table; add it there"


def _one_station_a_folder(tables: Mapping[str, Sequence[Any]]) -> Iterator[_SetFinding]:
    owner: dict[str, str] = {}
    for position, row in enumerate(tables.get("stations", ())):
        if row.folder and owner.setdefault(row.folder, row.station) != row.station:
            words = f"folder {row.folder!r} already belongs to {owner[row.folder]!r}; give each recorder its own"
            yield position, "folder", row.folder, words


_SET_CHECKS: dict[str, Callable[[Mapping[str, Sequence[Any]]], Iterator[_SetFinding]]] = {
    "routes": _routes_lead_somewhere,
    "filename_patterns": _patterns_have_stations,
    "stations": _one_station_a_folder,
}
