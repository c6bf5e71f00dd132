"""All queries on the engine's running processes."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, select

from models.node import NodeTable


class Nodes:
    """Who is alive."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def join(self, node_id: str, now: datetime) -> None:
        """Add a process."""
        self._session.add(NodeTable(id=node_id, beat_at=now))
        self._session.flush()

    def beat(self, node_id: str, now: datetime) -> bool:
        """Note that a process lives; False when it was declared dead and must stop."""
        row = self._session.get(NodeTable, node_id)
        if row is None or row.dead:
            return False
        row.beat_at = now
        self._session.add(row)
        self._session.flush()
        return True

    def declare_dead(self, *, but: str, before: datetime) -> tuple[str, ...]:
        """Declare silent processes dead; return all dead ones, whose work is to be taken over."""
        query = select(NodeTable).where(
            col(NodeTable.dead).is_(False), NodeTable.id != but, col(NodeTable.beat_at) < before
        )
        for row in self._session.exec(query).all():
            row.dead = True
            self._session.add(row)
        self._session.flush()
        return tuple(self._session.exec(select(NodeTable.id).where(col(NodeTable.dead).is_(True))).all())
