"""One running process of the engine, by its heart beat."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from models.value import UtcDateTime


class NodeTable(SQLModel, table=True):
    """A process that takes work; its id is never used again."""

    __tablename__ = "cl_node"

    id: str = Field(primary_key=True)
    beat_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    dead: bool = Field(default=False, index=True)
