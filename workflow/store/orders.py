"""All queries on orders."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, or_
from sqlmodel import Session, col, func, select

from models.errors import NotFound
from models.order import Order, OrderRequest, OrderTable, OrderVersionTable, number_key
from models.recording import Claim


class Orders:
    """Orders and their versions."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def save(self, order: Order, *, action: str, message_id: int | None, mapping_version: int) -> None:
        """Write a new version of an order; the versions before it stay."""
        now = datetime.now(tz=UTC)
        row = self._session.get(OrderTable, order.id) or OrderTable(id=order.id, version=0, body="")  # type: ignore[call-arg]
        row.version = order.version
        row.status = order.status.value
        row.accession = order.accession
        row.placer_key = number_key(order.placer, order.sender)
        row.filler_key = number_key(order.filler, order.sender)
        row.patient_key = order.patient.identifier.key
        row.patient_id = order.patient.identifier.value
        row.study_uid = order.study_uid
        row.requested_procedure_id = order.requested_procedure_id
        row.scheduled_step_id = order.scheduled_step_id
        row.station = order.station
        row.scheduled_at = order.scheduled_at
        row.updated_at = now
        row.body = order.json_text()
        self._session.add(row)
        self._session.flush()
        self._session.add(
            OrderVersionTable(
                order_id=order.id,
                version=order.version,
                message_id=message_id,
                action=action,
                mapping_version=mapping_version,
                at=now,
                body=row.body,
            )
        )

    def get(self, order_id: str) -> Order:
        """Return an order.

        Raises:
            NotFound: No such order.
        """
        row = self._session.get(OrderTable, order_id)
        if row is None:
            raise NotFound(f"no order has the id {order_id!r}; list them with GET /api/v1/orders")
        return Order.model_validate_json(row.body)

    def _values(self, rows: Sequence[OrderTable]) -> tuple[Order, ...]:
        return tuple(Order.model_validate_json(row.body) for row in rows)

    def of_accession(self, accession: str) -> tuple[Order, ...]:
        """Return all orders of an accession; several requested procedures may share one."""
        query = select(OrderTable).where(OrderTable.accession == accession).order_by(col(OrderTable.id))
        return self._values(self._session.exec(query).all()) if accession else ()

    def named_by(self, request: OrderRequest) -> tuple[Order, ...]:
        """Return the orders that carry the request's filler or placer number, else its accession with step ids."""
        keys: list[ColumnElement[bool]] = []
        if request.filler:
            keys.append(col(OrderTable.filler_key) == number_key(request.filler, request.sender))
        if request.placer:
            keys.append(col(OrderTable.placer_key) == number_key(request.placer, request.sender))
        if not keys and request.accession:
            keys.append(col(OrderTable.accession) == request.accession)
        query = select(OrderTable).where(or_(*keys))
        if request.requested_procedure_id:
            query = query.where(col(OrderTable.requested_procedure_id).in_(["", request.requested_procedure_id]))
        return self._values(self._session.exec(query.order_by(col(OrderTable.id))).all())

    def of_patient(self, patient_key: str, *, limit: int = 20) -> tuple[Order, ...]:
        """Return the newest orders of a patient."""
        query = select(OrderTable).where(OrderTable.patient_key == patient_key)
        return self._values(self._session.exec(query.order_by(col(OrderTable.updated_at).desc()).limit(limit)).all())

    def candidates(
        self, claims: Sequence[Claim], station: str, moments: Sequence[datetime], *, limit: int = 50
    ) -> tuple[Order, ...]:
        """Return every order that a recording could belong to: by identifier, by patient, by station and time."""
        wanted: dict[str, set[str]] = {}
        for claim in claims:
            wanted.setdefault(claim.key, set()).add(claim.value.strip())
        tests: list[ColumnElement[bool]] = []
        for column, key in (
            (OrderTable.accession, "accession"),
            (OrderTable.study_uid, "study_uid"),
            (OrderTable.scheduled_step_id, "scheduled_step_id"),
            (OrderTable.patient_id, "patient_id"),
        ):
            if key in wanted:
                tests.append(col(column).in_(wanted[key]))
        for number_column, key in ((OrderTable.placer_key, "placer"), (OrderTable.filler_key, "filler")):
            tests += [col(number_column).endswith(f"|{value}", autoescape=True) for value in wanted.get(key, ())]
        if station:
            day = timedelta(hours=12)
            tests += [
                (col(OrderTable.station) == station) & col(OrderTable.scheduled_at).between(moment - day, moment + day)
                for moment in moments
            ]
        if not tests:
            return ()
        query = select(OrderTable).where(or_(*tests)).order_by(col(OrderTable.updated_at).desc()).limit(limit)
        return self._values(self._session.exec(query).all())

    def search(self, text: str, *, limit: int) -> tuple[Order, ...]:
        """Return the newest orders, or those with an identifier that begins with ``text``."""
        query = select(OrderTable)
        if text:
            query = query.where(
                or_(
                    *(
                        col(column).startswith(text, autoescape=True)
                        for column in (OrderTable.accession, OrderTable.patient_id, OrderTable.study_uid)
                    ),
                    *(
                        col(column).endswith(f"|{text}", autoescape=True)
                        for column in (OrderTable.placer_key, OrderTable.filler_key)
                    ),
                )
            )
        return self._values(self._session.exec(query.order_by(col(OrderTable.updated_at).desc()).limit(limit)).all())

    def versions(self, order_id: str) -> int:
        """Return how many versions an order has."""
        query = select(func.count()).select_from(OrderVersionTable).where(OrderVersionTable.order_id == order_id)
        return self._session.exec(query).one()
