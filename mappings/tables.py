"""Reads, checks and writes the mapping tables as CSV; the nine shipped defaults lie beside this module.

Nothing is guessed: every column must be there, every cell is checked, and all problems are listed at once, each with
its line and column, so that a person can mend a file in one go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mappings import csvtext
from mappings.checks import CellProblem, check_set, problem, row_findings
from models.errors import MappingError
from models.mapping import ROW_MODELS, MappingSet, Row

__all__ = [
    "CellProblem",
    "check_set",
    "check_table",
    "load_set",
    "parse_table",
    "read_tables",
    "shipped",
    "write_table",
]

#: A table larger than this is not one that a person keeps.
LARGEST = 32 * 1024 * 1024


@dataclass(frozen=True)
class _Checked:
    """A table as far as it could be read: rows with the line of each, and what is wrong."""

    rows: tuple[Row, ...]
    lines: tuple[int, ...]
    problems: tuple[CellProblem, ...]


def check_table(name: str, text: str) -> tuple[tuple[Row, ...], tuple[CellProblem, ...]]:
    """Return the usable rows of a CSV text, and everything that is wrong with it, cell by cell.

    Args:
        name: Name of the table, a key of ``ROW_MODELS``.
        text: CSV text; lines on top that begin with ``#`` are comments.

    Raises:
        MappingError: No table has that name.
    """
    checked = _checked(name, text)
    return checked.rows, checked.problems


def parse_table(name: str, text: str) -> tuple[Row, ...]:
    """Return the rows of a CSV text.

    Raises:
        MappingError: Something is wrong; the sentence names the first problem and how many there are.
    """
    checked = _checked(name, text)
    _refuse(checked.problems)
    return checked.rows


def write_table(name: str, rows: Sequence[Row]) -> str:
    """Return rows as CSV text that ``parse_table`` reads back as the same rows, and that is safe in a spreadsheet.

    Raises:
        MappingError: No table has that name.
    """
    columns = tuple(_model(name).model_fields)
    cells = ([_text(getattr(row, column)) for column in columns] for row in rows)
    return csvtext.write([columns, *cells])


def shipped(name: str) -> str:
    """Return the CSV text that is shipped for a table, with its source and licence in the lines on top.

    Raises:
        MappingError: No table has that name.
    """
    _model(name)
    return csvtext.decode((files("mappings") / f"{name}.csv").read_bytes(), f"the shipped {name}.csv")


def read_tables(folder: Path | None = None) -> dict[str, tuple[Row, ...]]:
    """Return all tables: the shipped ones, each replaced as a whole by a CSV of the same name in ``folder``.

    Raises:
        MappingError: The folder or a file is not usable; the sentence names the first problem and how many there are.
    """
    own = _own_files(folder) if folder else {}
    checked = {name: _checked(name, _own_text(own[name]) if name in own else shipped(name)) for name in ROW_MODELS}
    _refuse(tuple(one for table in checked.values() for one in table.problems))
    tables = {name: table.rows for name, table in checked.items()}
    _refuse(check_set(tables, {name: table.lines for name, table in checked.items()}))
    return tables


def load_set(version: int, folder: Path | None = None) -> MappingSet:
    """Return all tables as one version: what ``read_tables`` reads.

    Raises:
        MappingError: As ``read_tables``.
    """
    return MappingSet.model_validate({"version": version, **read_tables(folder)})


def _model(name: str) -> type[Row]:
    if name not in ROW_MODELS:
        raise MappingError(f"there is no table {name!r}{_hint(name, ROW_MODELS)}; tables are {', '.join(ROW_MODELS)}")
    return ROW_MODELS[name]


def _refuse(problems: tuple[CellProblem, ...]) -> None:
    if problems:
        more = f" (the first of {len(problems)} problems)" if len(problems) > 1 else ""
        raise MappingError(problems[0].sentence + more)


def _own_files(folder: Path) -> dict[str, Path]:
    try:
        found = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() == ".csv"}
    except OSError as error:
        raise MappingError(f"the mappings folder {folder} cannot be read ({error.strerror}): check its path") from error
    for name in found:
        _model(name)  # a file that replaces nothing is a slip of the pen, and silence would hide it
    return found


def _own_text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise MappingError(f"{path} is larger than {LARGEST >> 20} MiB: it is no mapping table")
        return csvtext.decode(path.read_bytes(), str(path))
    except OSError as error:
        raise MappingError(f"{path} cannot be read ({error.strerror}): check its rights") from error


def _checked(name: str, text: str) -> _Checked:
    model = _model(name)
    sheet = csvtext.sheet(text)
    if sheet.broken:
        return _Checked((), (), (problem(name, sheet.broken_line, "", "", sheet.broken),))
    if not sheet.records:
        columns = ",".join(model.model_fields)
        return _Checked((), (), (problem(name, 1, "", "", f"the file is empty; its first line is {columns}"),))
    header, *records = sheet.records
    if problems := _header_problems(name, model, header):
        return _Checked((), (), problems)
    return _rows(name, model, header.cells, records)


def _header_problems(name: str, model: type[Row], header: csvtext.Record) -> tuple[CellProblem, ...]:
    found: list[CellProblem] = []
    for position, column in enumerate(header.cells):
        if column not in model.model_fields:
            words = f"no such column{_hint(column, model.model_fields)}; columns are {', '.join(model.model_fields)}"
            found.append(problem(name, header.line, column, column, words))
        elif column in header.cells[:position]:
            found.append(problem(name, header.line, column, column, "the column is there twice; remove one"))
    for column, field in model.model_fields.items():
        if column not in header.cells:
            usual = "" if field.is_required() else f" (usual value {_text(field.default)!r})"
            words = f"the column is missing; add it{usual}: {field.description}"
            found.append(problem(name, header.line, column, "", words))
    return tuple(found)


def _rows(name: str, model: type[Row], columns: tuple[str, ...], records: list[csvtext.Record]) -> _Checked:
    rows: list[Row] = []
    lines: list[int] = []
    problems: list[CellProblem] = []
    seen: dict[tuple[object, ...], int] = {}
    for record in records:
        row, found = _row(name, model, columns, record)
        if row is not None:
            key = tuple(getattr(row, column) for column in row.key_columns)
            if (first := seen.setdefault(key, record.line)) != record.line:
                words = f"the same {', '.join(row.key_columns)} stand in line {first}; remove one of the rows"
                found.append(problem(name, record.line, row.key_columns[0], str(key[0]), words))
            else:
                rows.append(row)
                lines.append(record.line)
        problems += found
    return _Checked(tuple(rows), tuple(lines), tuple(problems))


def _row(
    name: str, model: type[Row], columns: tuple[str, ...], record: csvtext.Record
) -> tuple[Row | None, list[CellProblem]]:
    line = record.line
    if len(record.cells) != len(columns):
        words = (
            f"{len(record.cells)} cells where the header has {len(columns)}; a comma in a text needs quotes around it"
        )
        return None, [problem(name, line, "", "", words)]
    cells = dict(zip(columns, record.cells, strict=True))
    values = {column: value for column, cell in cells.items() if (value := _value(model, column, cell)) is not None}
    try:
        row = model.model_validate(values)
    except ValidationError as error:
        return None, [_from_pydantic(name, line, cells, dict(detail)) for detail in error.errors()]
    found = [problem(name, line, column, str(getattr(row, column)), words) for column, words in row_findings(row)]
    return (None if found else row), found


def _value(model: type[Row], column: str, cell: str) -> str | None:
    """Return what a cell says, None for "the usual value": an empty cell is a text of its own in a text column only."""
    if model.model_fields[column].annotation is str:
        return csvtext.unguarded(cell)
    return cell.strip() or None


def _from_pydantic(name: str, line: int, cells: dict[str, str], detail: dict[str, Any]) -> CellProblem:
    column = str(detail["loc"][0]) if detail["loc"] else ""
    value = cells.get(column, "")
    words = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "missing":
        words = "this cell may not be empty"
    elif detail["type"] != "value_error":
        words = f"{value!r} does not fit: {words[:1].lower()}{words[1:]}"
    return problem(name, line, column, value, words)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, str):
        return csvtext.guarded(value)
    return str(value).removesuffix(".0")


def _hint(name: str, known: object) -> str:
    close = get_close_matches(name, list(known), n=1) if isinstance(known, dict) else []
    return f" (do you mean {close[0]}?)" if close else ""
