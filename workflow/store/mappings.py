"""All queries on mapping versions and their rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session, col, func, select

from models.errors import MappingError
from models.mapping import ROW_MODELS, MappingRowTable, MappingSet, MappingVersionTable, Row


class Mappings:
    """Published versions of all tables."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def newest_version(self) -> int:
        """Return the number of the newest published version; 0 when nothing was published."""
        return self._session.exec(select(func.max(MappingVersionTable.version))).one() or 0

    def publish(self, tables: Mapping[str, tuple[Row, ...]], *, author: str, comment: str) -> int:
        """Publish all tables as the next version and return its number."""
        version = self.newest_version() + 1
        self._session.add(
            MappingVersionTable(version=version, published_at=datetime.now(tz=UTC), author=author, comment=comment)
        )
        self._session.flush()
        for table, rows in tables.items():
            for position, row in enumerate(rows):
                self._session.add(
                    MappingRowTable(version=version, table_name=table, position=position, body=row.json_text())
                )
        self._session.flush()
        return version

    def load(self, version: int = 0) -> MappingSet:
        """Return all tables of a version, the newest when 0.

        Raises:
            MappingError: Nothing was published, or no such version.
        """
        wanted = version or self.newest_version()
        if not wanted or self._session.get(MappingVersionTable, wanted) is None:
            raise MappingError(f"mapping version {wanted} was never published; start cinelink serve once to publish 1")
        query = select(MappingRowTable).where(MappingRowTable.version == wanted)
        tables: dict[str, list[Any]] = {name: [] for name in ROW_MODELS}
        for row in self._session.exec(
            query.order_by(col(MappingRowTable.table_name), col(MappingRowTable.position))
        ).all():
            tables[row.table_name].append(ROW_MODELS[row.table_name].model_validate_json(row.body))
        return MappingSet(version=wanted, **{name: tuple(rows) for name, rows in tables.items()})
