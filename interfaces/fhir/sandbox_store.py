"""The memory of the sandbox EHR: resources with every version, and an index of what they can be searched by."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from interfaces.fhir.identifiers import as_list

_SCHEMA = """
CREATE TABLE IF NOT EXISTS version (
  type TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (type, id, version)
);
CREATE TABLE IF NOT EXISTS token (
  type TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, system TEXT NOT NULL, value TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS ix_token_value ON token (type, name, value);
CREATE INDEX IF NOT EXISTS ix_token_owner ON token (type, id);
"""

#: Elements that are references, by the names of their search parameters.
_REFERENCES = {"subject": "subject", "basedOn": "based-on", "focus": "focus"}


@dataclass(frozen=True)
class Token:
    """One value of one search parameter; ``system`` None fits any system."""

    name: str
    value: str
    system: str | None = None


class SandboxStore:
    """Resources in one SQLite file; a write that was answered survives a crash.

    Args:
        path: The database file, made when absent.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" + _SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Look and write as one step: no other request comes between, so a conditional create is safe here."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            with self._database:  # commits when the block ends, rolls back when it raises
                yield

    def versions(self, kind: str, identity: str) -> list[dict[str, Any]]:
        """Return every version of a resource, oldest first; none when there is no such resource."""
        rows = self._rows("SELECT body FROM version WHERE type = ? AND id = ? ORDER BY version", kind, identity)
        return [json.loads(body) for (body,) in rows]

    def write(self, resource: dict[str, Any], identity: str = "") -> dict[str, Any]:
        """Store a new resource or the next version of one, within ``transaction``; return it with id and meta."""
        kind, identity = resource["resourceType"], identity or str(uuid4())
        number = len(self.versions(kind, identity)) + 1
        meta = {**resource.get("meta", {}), "versionId": str(number), "lastUpdated": datetime.now(UTC).isoformat()}
        stored = {**resource, "id": identity, "meta": meta}
        self._rows("INSERT INTO version VALUES (?, ?, ?, ?)", kind, identity, number, json.dumps(stored))
        self._rows("DELETE FROM token WHERE type = ? AND id = ?", kind, identity)
        for token in _tokens(stored):
            values = (kind, identity, token.name, token.system or "", token.value)
            self._rows("INSERT INTO token VALUES (?, ?, ?, ?, ?)", *values)
        return stored

    def find(self, kind: str, criteria: list[list[Token]]) -> list[dict[str, Any]]:
        """Return the resources that fit every criterion, each by any of its tokens; all when there is no criterion."""
        ids = {identity for (identity,) in self._rows("SELECT DISTINCT id FROM version WHERE type = ?", kind)}
        for tokens in criteria:
            ids &= {identity for token in tokens for identity in self._owners(kind, token)}
        return [self.versions(kind, identity)[-1] for identity in sorted(ids)]

    def _owners(self, kind: str, token: Token) -> list[str]:
        query, values = (
            "SELECT id FROM token WHERE type = ? AND name = ? AND value = ?",
            [kind, token.name, token.value],
        )
        if token.system is not None:
            query, values = f"{query} AND system = ?", [*values, token.system]
        return [identity for (identity,) in self._rows(query, *values)]

    def _rows(self, statement: str, *values: str | int) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(statement, values).fetchall()


def _tokens(resource: dict[str, Any]) -> Iterator[Token]:
    """Yield what a resource can be found by (FHIR R4 3.1.1.4.12 to .14)."""
    yield Token("_id", resource["id"])
    for identifier in as_list(resource.get("identifier")):
        yield _token("identifier", identifier)
    for element, name in _REFERENCES.items():
        for reference in as_list(resource.get(element)):
            if reference.get("reference"):
                yield Token(name, "/".join(str(reference["reference"]).split("/")[-2:]))
            if reference.get("identifier"):
                yield _token(f"{name}:identifier", reference["identifier"])


def _token(name: str, identifier: dict[str, Any]) -> Token:
    return Token(name, str(identifier.get("value", "")), str(identifier.get("system", "")))
