"""All queries on deliveries, their attempts and their lanes."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlmodel import Session, col, func, select

from models.delivery import (
    Attempt,
    AttemptTable,
    Delivery,
    DeliveryState,
    DeliveryTable,
    LaneTable,
    Outcome,
)
from models.errors import NotFound

#: States in which a delivery still holds its lane.
OPEN_STATES = (DeliveryState.QUEUED, DeliveryState.WAITING, DeliveryState.SENDING, DeliveryState.SENT)


class Deliveries:
    """Everything that is owed."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def take_place(self, lane: str) -> int:
        """Return the next place in a lane; its row is locked until the commit, so commit order is place order."""
        query = select(LaneTable).where(LaneTable.id == lane).with_for_update()
        row = self._session.exec(query).first() or LaneTable(id=lane)
        row.seq += 1
        self._session.add(row)
        self._session.flush()
        return row.seq

    def save(self, delivery: Delivery) -> None:
        """Write a delivery."""
        row = self._session.get(DeliveryTable, delivery.id)
        if row is None:
            row = DeliveryTable(id=delivery.id, seq=delivery.seq)  # type: ignore[call-arg]
        for name, value in delivery.model_dump(exclude={"id", "seq", "kind", "state"}).items():
            setattr(row, name, value)
        row.kind = delivery.kind.value
        row.state = delivery.state.value
        row.updated_at = datetime.now(tz=UTC)
        self._session.add(row)
        self._session.flush()

    @staticmethod
    def _value(row: DeliveryTable) -> Delivery:
        return Delivery.model_validate(row.model_dump(exclude={"updated_at"}))

    def get(self, delivery_id: str) -> Delivery:
        """Return a delivery.

        Raises:
            NotFound: No such delivery.
        """
        row = self._session.get(DeliveryTable, delivery_id)
        if row is None:
            raise NotFound(f"no delivery has the id {delivery_id!r}; list them with GET /api/v1/deliveries")
        return self._value(row)

    def exists(self, delivery_id: str) -> bool:
        """Say whether a delivery was already made."""
        return self._session.get(DeliveryTable, delivery_id) is not None

    def head(self, lane: str) -> Delivery | None:
        """Return the first open delivery of a lane."""
        query = select(DeliveryTable).where(
            DeliveryTable.lane == lane, col(DeliveryTable.state).in_([state.value for state in OPEN_STATES])
        )
        row = self._session.exec(query.order_by(col(DeliveryTable.seq)).limit(1)).first()
        return self._value(row) if row else None

    def due(self, now: datetime, *, limit: int = 200) -> tuple[Delivery, ...]:
        """Return waiting deliveries whose time has come."""
        query = select(DeliveryTable).where(
            col(DeliveryTable.state).in_([DeliveryState.WAITING.value, DeliveryState.SENT.value]),
            col(DeliveryTable.next_attempt_at) <= now,
        )
        return tuple(
            self._value(row)
            for row in self._session.exec(query.order_by(col(DeliveryTable.next_attempt_at)).limit(limit)).all()
        )

    def open(self, *, limit: int = 10000) -> tuple[Delivery, ...]:
        """Return all open deliveries."""
        query = select(DeliveryTable).where(col(DeliveryTable.state).in_([state.value for state in OPEN_STATES]))
        return tuple(self._value(row) for row in self._session.exec(query.limit(limit)).all())

    def of_recording(self, recording_id: str) -> tuple[Delivery, ...]:
        """Return what a recording owes and owed."""
        query = select(DeliveryTable).where(DeliveryTable.recording_id == recording_id)
        rows = self._session.exec(query.order_by(col(DeliveryTable.kind), col(DeliveryTable.id))).all()
        return tuple(self._value(row) for row in rows)

    def of_order(self, order_id: str) -> tuple[Delivery, ...]:
        """Return what an order owes and owed."""
        query = select(DeliveryTable).where(DeliveryTable.order_id == order_id)
        rows = self._session.exec(query.order_by(col(DeliveryTable.kind), col(DeliveryTable.seq))).all()
        return tuple(self._value(row) for row in rows)

    def newest(self, *, state: str = "", limit: int) -> tuple[Delivery, ...]:
        """Return the deliveries that changed last, of one state when given."""
        query = select(DeliveryTable).order_by(col(DeliveryTable.updated_at).desc()).limit(limit)
        if state:
            query = query.where(DeliveryTable.state == state)
        return tuple(self._value(row) for row in self._session.exec(query).all())

    def counts(self) -> dict[str, int]:
        """Return how many deliveries are in each state."""
        query = select(DeliveryTable.state, func.count()).group_by(DeliveryTable.state)
        return dict(self._session.exec(query).all())

    def trouble(self) -> tuple[tuple[str, str], ...]:
        """Return (destination, last reason) of every destination that has waiting or failed deliveries."""
        query = select(DeliveryTable.destination, func.max(DeliveryTable.reason)).where(
            col(DeliveryTable.state).in_([DeliveryState.WAITING.value, DeliveryState.FAILED.value])
        )
        return tuple((name, reason) for name, reason in self._session.exec(query.group_by(DeliveryTable.destination)))

    def save_attempt(self, attempt: Attempt) -> None:
        """Write an attempt."""
        row = self._session.get(AttemptTable, (attempt.delivery_id, attempt.number))
        if row is None:
            row = AttemptTable(delivery_id=attempt.delivery_id, number=attempt.number, outcome="")  # type: ignore[call-arg]
        row.started_at = attempt.started_at
        row.ended_at = attempt.ended_at
        row.outcome = attempt.outcome.value
        row.detail = attempt.detail
        self._session.add(row)
        self._session.flush()

    def attempts(self, delivery_id: str) -> tuple[Attempt, ...]:
        """Return the attempts of a delivery, first to last."""
        query = select(AttemptTable).where(AttemptTable.delivery_id == delivery_id)
        rows = self._session.exec(query.order_by(col(AttemptTable.number))).all()
        return tuple(
            Attempt(
                delivery_id=row.delivery_id,
                number=row.number,
                started_at=row.started_at,
                ended_at=row.ended_at,
                outcome=Outcome(row.outcome),
                detail=row.detail,
            )
            for row in rows
        )
