"""Alembic's entry: one set of migrations for SQLite and PostgreSQL; tables that are not ours are never touched."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlmodel import AutoString, SQLModel

import models.audit
import models.delivery
import models.mapping
import models.match
import models.message
import models.node
import models.order
import models.recording
import models.study
import models.timeline  # noqa: F401 - the imports fill the metadata


def ours(name: str | None, kind: str, parents: Any) -> bool:
    """Keep alembic off the execution library's tables in the same database."""
    del parents
    return kind != "table" or bool(name and name.startswith("cl_"))


def plain_types(kind: str, item: Any, autogenerate: Any) -> str | Literal[False]:
    """Write our texts as plain strings, so that a migration does not depend on the model library."""
    del autogenerate
    return "sa.String()" if kind == "type" and isinstance(item, AutoString) else False


def run() -> None:
    """Run the migrations on the engine that the caller gave."""
    with context.config.attributes["engine"].connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=SQLModel.metadata,
            render_as_batch=True,
            include_name=ours,
            version_table="cl_alembic_version",
            transaction_per_migration=True,
            render_item=plain_types,
        )
        with context.begin_transaction():
            context.run_migrations()


run()
