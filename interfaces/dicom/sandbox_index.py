"""What the sandbox PACS holds, and the answers to C-FIND at STUDY, SERIES and IMAGE level (PS3.4 C.6.2.1)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from pydicom import Dataset
from pydicom.datadict import dictionary_VR

from interfaces.dicom.text import text_of

_STUDY = (
    "StudyInstanceUID",
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "ReferringPhysicianName",
)
_SERIES = ("SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "BodyPartExamined")
_IMAGE = (
    "SOPInstanceUID",
    "SOPClassUID",
    "InstanceNumber",
    "NumberOfFrames",
    "AvailableTransferSyntaxUID",
)
COLUMNS = (*_STUDY, *_SERIES, *_IMAGE)

#: The attributes that a level answers with: its own and those above it. An answer is one group of them, so a study that
#: is held under two patients gives two answers.
LEVELS = {"STUDY": _STUDY, "SERIES": (*_STUDY, *_SERIES), "IMAGE": COLUMNS}

_COUNTED = {
    "STUDY": {
        "NumberOfStudyRelatedSeries": 'COUNT(DISTINCT "SeriesInstanceUID")',
        "NumberOfStudyRelatedInstances": "COUNT(*)",
        "ModalitiesInStudy": """REPLACE(GROUP_CONCAT(DISTINCT "Modality"), ',', '\\')""",
    },
    "SERIES": {"NumberOfSeriesRelatedInstances": "COUNT(*)"},
    "IMAGE": {},
}


class SandboxIndex:
    """The table of all instances, in one SQLite file. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        columns = ", ".join(f'"{name}" TEXT NOT NULL' for name in (*COLUMNS, "path"))
        with self._open() as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute(f'CREATE TABLE IF NOT EXISTS instance ({columns}, PRIMARY KEY ("SOPInstanceUID"))')
            for name in ("StudyInstanceUID", "AccessionNumber", "PatientID"):
                database.execute(f'CREATE INDEX IF NOT EXISTS "by{name}" ON instance ("{name}")')

    def add(self, header: Dataset, path: Path) -> None:
        """Add an instance, unless one of its UID is there already; durable on return."""
        values = {name: text_of(header, name) for name in COLUMNS}
        values["AvailableTransferSyntaxUID"] = str(header.file_meta.TransferSyntaxUID)
        marks = ", ".join("?" * (len(COLUMNS) + 1))
        with self._open() as database:
            database.execute(
                f"INSERT OR IGNORE INTO instance VALUES ({marks})",  # noqa: S608 - question marks only
                (*values.values(), path.name),
            )

    def holds(self, sop_uid: str) -> bool:
        """Return whether an instance is there."""
        with self._open() as database:
            return bool(database.execute('SELECT 1 FROM instance WHERE "SOPInstanceUID" = ?', (sop_uid,)).fetchone())

    def all(self) -> list[dict[str, str]]:
        """Return every instance in the order of arrival: DICOM keyword to value, and ``path``, the file's name."""
        with self._open() as database:
            return [dict(row) for row in database.execute("SELECT * FROM instance ORDER BY rowid")]

    def find(self, level: str, keys: Mapping[str, str]) -> list[dict[str, str]]:
        """Return what matches the keys at a level; a key that the level does not know matches everything."""
        columns = LEVELS[level]
        conditions = [_condition(name, value) for name, value in keys.items() if name in columns and value.strip("*")]
        where = " AND ".join(sql for sql, _ in conditions) or "1"
        names = ", ".join(f'"{name}"' for name in columns)
        counted = "".join(f', {sql} AS "{name}"' for name, sql in _COUNTED[level].items())
        # Only column names of our own stand in the text; every value is a parameter.
        text = f"SELECT {names}{counted} FROM instance WHERE {where} GROUP BY {names}"  # noqa: S608 - see above
        with self._open() as database:
            rows = database.execute(text, [value for _, values in conditions for value in values])
            return [{name: str(value) for name, value in dict(row).items()} for row in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=30)) as database, database:
            database.row_factory = sqlite3.Row
            database.execute("PRAGMA synchronous=FULL")
            yield database


def _condition(name: str, value: str) -> tuple[str, list[str]]:
    """Return one matching key as SQL: list of UIDs, range of dates, wildcard or single value (PS3.4 C.2.2.2)."""
    vr = dictionary_VR(name)
    if vr == "UI":
        values = value.split("\\")
        return f'"{name}" IN ({", ".join("?" * len(values))})', values
    if vr == "DA" and "-" in value:
        first, _, last = value.partition("-")
        return f'"{name}" BETWEEN ? AND ?', [first.strip() or "0", last.strip() or "9"]
    if "*" in value or "?" in value:
        return f'"{name}" GLOB ?', [value.strip().replace("[", "[[]")]
    return f'"{name}" = ?', [value.strip()]
