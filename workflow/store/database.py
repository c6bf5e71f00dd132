"""One database, SQLite or PostgreSQL by its URL: engines, durability settings, migrations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url

from models.errors import SettingsError

#: Where alembic keeps its revision; prefixed like all our tables.
VERSION_TABLE = "cl_alembic_version"


def _durable(connection: Any, *, explicit_begin: bool) -> None:
    # With pysqlite's own BEGIN a SELECT runs outside the transaction, and updates are lost (engine.md, SQLite).
    connection.isolation_level = None if explicit_begin else "IMMEDIATE"
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def make_engine(url: str, *, explicit_begin: bool = True) -> Engine:
    """Return a synchronous engine; on SQLite every acknowledged commit survives power loss (WAL, synchronous FULL).

    Args:
        url: SQLAlchemy URL.
        explicit_begin: False for the execution library's own engine, which begins its transactions itself.
    """
    engine = create_engine(url, pool_size=20, max_overflow=0, pool_pre_ping=True, hide_parameters=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda raw, _record: _durable(raw, explicit_begin=explicit_begin))
        if explicit_begin:
            event.listen(engine, "begin", _begin)
    return engine


class Database:
    """The engines on one database, and its migrations."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
            raise SettingsError(
                f"database.url has the kind {parsed.get_backend_name()!r}; use sqlite:///FILE or postgresql+psycopg://..."
            )
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        self.url = url
        self.engine = make_engine(url)
        self.execution_engine = make_engine(url, explicit_begin=False)

    @property
    def embedded(self) -> bool:
        """True for SQLite: one process."""
        return self.engine.dialect.name == "sqlite"

    @property
    def file(self) -> Path | None:
        """The SQLite file."""
        name = make_url(self.url).database
        return Path(name) if self.embedded and name else None

    def _config(self) -> Config:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["engine"] = self.engine
        return config

    def upgrade(self) -> None:
        """Bring the schema to the newest version."""
        command.upgrade(self._config(), "head")

    def check(self) -> str:
        """Return an empty text when the schema is current, else what to do."""
        newest = ScriptDirectory.from_config(self._config()).get_current_head()
        with self.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
            held = context.get_current_revision()
        return "" if held == newest else f"the schema is {held or 'empty'}, {newest} is needed: run cinelink db upgrade"

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()
        self.execution_engine.dispose()
