"""The published mapping tables as every decision reads them."""

from __future__ import annotations

from pathlib import Path

from mappings.tables import read_tables
from models.mapping import MappingSet
from workflow.store.unit_of_work import Store


class PublishedTables:
    """The newest published version, read again only when a newer one exists."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: MappingSet | None = None

    def current(self) -> MappingSet:
        """Return the newest published version of all tables."""
        with self._store.reading() as unit:
            newest = unit.mappings.newest_version()
            if self._known is None or self._known.version != newest:
                self._known = unit.mappings.load(newest)
        return self._known

    def version(self, number: int) -> MappingSet:
        """Return one published version."""
        with self._store.reading() as unit:
            return unit.mappings.load(number)


def publish_seed(store: Store, folder: Path | None) -> None:
    """Publish the shipped tables (or the site's, from ``folder``) as version 1, where nothing is published yet."""
    with store.reading() as unit:
        if unit.mappings.newest_version():
            return
    tables = read_tables(folder)
    with store.transaction("mappings.published") as unit:
        if not unit.mappings.newest_version():
            source = f"shipped tables, with those of {folder.name}" if folder else "shipped tables"
            unit.mappings.publish(tables, author="cinelink", comment=source)
