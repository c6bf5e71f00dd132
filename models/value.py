"""The base of every frozen value, and the two column types that all tables share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import DateTime, Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel import SQLModel

# Named constraints, so that one set of migrations works on SQLite and PostgreSQL.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Value(BaseModel):
    """A frozen value: what travels between rooms. Equality is by content."""

    # An error's text must not repeat patient data.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def json_text(self) -> str:
        """Return the value as JSON text, the form in which it is stored and handed to a child process."""
        return self.model_dump_json()


class UtcDateTime(TypeDecorator[datetime]):
    """A timestamp that is aware on both sides; SQLite gives naive ones back (DESIGN 3)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive datetime; store UTC."""
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            message = f"a naive datetime ({value.isoformat()}) cannot be stored: give it a time zone"
            raise ValueError(message)
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Give back an aware UTC datetime."""
        del dialect
        if value is None:
            return None
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        message = f"not a datetime: {value!r}"
        raise TypeError(message)
