"""All queries on the history, the audit and the access tokens."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

from sqlalchemy import or_
from sqlmodel import Session, col, select

from models.audit import Actor, AuditRow, AuditTable, TokenTable
from models.timeline import Event, EventTable


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Journal:
    """What happened, who saw what, and who may ask."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add_event(self, event: Event) -> None:
        """Add one line to the history."""
        fields = event.model_dump(exclude={"data"})
        self._session.add(EventTable(**fields, data=json.dumps(event.data)))
        self._session.flush()

    def events(self, order_id: str, recording_ids: tuple[str, ...] = ()) -> tuple[Event, ...]:
        """Return the history of an order and its recordings, first to last."""
        query = select(EventTable).where(
            or_(col(EventTable.order_id) == order_id, col(EventTable.recording_id).in_(recording_ids))
        )
        return self._events(list(self._session.exec(query.order_by(col(EventTable.at), col(EventTable.id))).all()))

    @staticmethod
    def _events(rows: list[EventTable]) -> tuple[Event, ...]:
        return tuple(
            Event.model_validate({**row.model_dump(exclude={"id", "data"}), "data": json.loads(row.data)})
            for row in rows
        )

    def audit(self, actor: str, action: str, subject: str, detail: str = "") -> None:
        """Add one line to the audit; lines are never changed or removed."""
        self._session.add(
            AuditTable(at=datetime.now(tz=UTC), actor=actor, action=action, subject=subject, detail=detail)
        )
        self._session.flush()

    def audit_rows(self, *, limit: int) -> tuple[AuditRow, ...]:
        """Return the newest lines of the audit."""
        query = select(AuditTable).order_by(col(AuditTable.id).desc()).limit(limit)
        return tuple(AuditRow.model_validate(row.model_dump(exclude={"id"})) for row in self._session.exec(query).all())

    def add_token(self, token: str, name: str) -> None:
        """Keep a token's SHA-256."""
        self._session.add(TokenTable(sha256=_digest(token), name=name, created_at=datetime.now(tz=UTC)))
        self._session.flush()

    def revoke_tokens(self, name: str) -> int:
        """Revoke all tokens of a name; return how many."""
        query = select(TokenTable).where(TokenTable.name == name, col(TokenTable.revoked_at).is_(None))
        rows = self._session.exec(query).all()
        for row in rows:
            row.revoked_at = datetime.now(tz=UTC)
            self._session.add(row)
        self._session.flush()
        return len(rows)

    def actor_of(self, token: str) -> Actor | None:
        """Return who a token belongs to; None for an unknown or revoked one."""
        row = self._session.get(TokenTable, _digest(token))
        return Actor(name=row.name) if row and row.revoked_at is None else None

    def tokens(self) -> tuple[tuple[str, datetime, datetime | None], ...]:
        """Return (name, created, revoked) of every token."""
        query = select(TokenTable).order_by(col(TokenTable.created_at))
        return tuple((row.name, row.created_at, row.revoked_at) for row in self._session.exec(query).all())
