"""All queries on inbound messages."""

from __future__ import annotations

import json
from datetime import datetime

from sqlmodel import Session, col, func, select

from models.errors import NotFound
from models.message import Acknowledged, Applied, Header, InboundMessage, MessageTable


def sender_key(header: Header) -> str:
    """Return ``application|facility``: messages of one sender are applied in the order in which they came."""
    return f"{header.sending_application}|{header.sending_facility}"


class Messages:
    """The inbox and the journal."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(  # noqa: PLR0913 - one column each
        self,
        *,
        received_at: datetime,
        peer: str,
        header: Header,
        sha256: str,
        raw: bytes,
        answer: bytes,
        applied: Applied,
        reason: str = "",
    ) -> int:
        """Keep a received message with the answer that it will get; return its id."""
        row = MessageTable(
            received_at=received_at,
            peer=peer,
            sender_key=sender_key(header),
            control_id=header.control_id,
            kind=header.kind,
            sha256=sha256,
            header=header.json_text(),
            raw=raw,
            answer=answer,
            applied=applied.value,
            acknowledged=Acknowledged.OWED.value,
            reason=reason,
        )
        self._session.add(row)
        self._session.flush()
        if row.id is None:
            message = "the database gave a message no id"
            raise RuntimeError(message)
        return row.id

    def _value(self, row: MessageTable) -> InboundMessage:
        return InboundMessage(
            id=row.id or 0,
            received_at=row.received_at,
            peer=row.peer,
            header=Header.model_validate_json(row.header),
            sha256=row.sha256,
            raw=row.raw,
            applied=Applied(row.applied),
            acknowledged=Acknowledged(row.acknowledged),
            answer=row.answer,
            reason=row.reason,
            order_ids=tuple(json.loads(row.order_ids)),
        )

    def duplicate(self, header: Header, sha256: str) -> InboundMessage | None:
        """Return the message that this one repeats: same sender, same control id, same bytes."""
        query = select(MessageTable).where(
            MessageTable.sender_key == sender_key(header),
            MessageTable.control_id == header.control_id,
            MessageTable.sha256 == sha256,
        )
        row = self._session.exec(query.order_by(col(MessageTable.id)).limit(1)).first()
        return self._value(row) if row else None

    def waiting(self, *, limit: int = 100) -> tuple[InboundMessage, ...]:
        """Return messages that are received and not yet applied, in order of arrival."""
        query = select(MessageTable).where(MessageTable.applied == Applied.RECEIVED.value)
        return tuple(self._value(row) for row in self._session.exec(query.order_by(col(MessageTable.id)).limit(limit)))

    def get(self, message_id: int) -> InboundMessage:
        """Return a message.

        Raises:
            NotFound: No such message.
        """
        row = self._session.get(MessageTable, message_id)
        if row is None:
            raise NotFound(f"no message has the id {message_id}; list them with cinelink messages list")
        return self._value(row)

    def settle(self, message_id: int, applied: Applied, *, reason: str = "", order_ids: tuple[str, ...] = ()) -> None:
        """Say what became of a message's content."""
        row = self._session.get_one(MessageTable, message_id)
        row.applied = applied.value
        row.reason = reason
        row.order_ids = json.dumps(order_ids)
        self._session.add(row)
        self._session.flush()

    def acknowledge(self, message_ids: tuple[int, ...], acknowledged: Acknowledged) -> None:
        """Say what became of the answers."""
        for row in self._session.exec(select(MessageTable).where(col(MessageTable.id).in_(message_ids))).all():
            row.acknowledged = acknowledged.value
            self._session.add(row)
        self._session.flush()

    def newest(self, *, limit: int) -> tuple[InboundMessage, ...]:
        """Return the newest messages."""
        query = select(MessageTable).order_by(col(MessageTable.id).desc()).limit(limit)
        return tuple(self._value(row) for row in self._session.exec(query).all())

    def counts(self) -> dict[str, int]:
        """Return how many messages are in each applied state."""
        query = select(MessageTable.applied, func.count()).group_by(MessageTable.applied)
        return dict(self._session.exec(query).all())
