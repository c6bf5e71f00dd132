"""Who saw, linked or sent what: rows that are only ever added (a database trigger refuses the rest)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, Text
from sqlmodel import Field, SQLModel

from models.value import UtcDateTime, Value


class Actor(Value):
    """A person or a service that signed in, or the engine itself."""

    name: str
    kind: str = "person"


#: The engine as an actor.
ENGINE = Actor(name="cinelink", kind="engine")


class AuditRow(Value):
    """One line of the audit."""

    at: datetime
    actor: str
    action: str
    subject: str
    detail: str = ""


class AuditTable(SQLModel, table=True):
    """Append-only."""

    __tablename__ = "cl_audit"

    id: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False, index=True))
    actor: str
    action: str
    subject: str = Field(index=True)
    detail: str = Field(default="", sa_column=Column(Text, nullable=False))


class TokenTable(SQLModel, table=True):
    """An access token for API and console; only its SHA-256 is kept."""

    __tablename__ = "cl_token"

    sha256: str = Field(primary_key=True)
    name: str
    created_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    revoked_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime, nullable=True))
