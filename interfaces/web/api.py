"""The JSON API, version 1. Every answer that shows patient data is preceded by its row in the audit."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Query, Security
from fastapi.security import HTTPBearer
from pydantic import StringConstraints, model_validator

from interfaces.web.desk import Desk
from interfaces.web.errors import SeveralOrders
from interfaces.web.gate import actor_of
from models.audit import Actor, AuditRow
from models.delivery import Delivery, DeliveryState
from models.errors import NotFound
from models.message import Acknowledged, Applied, Header, InboundMessage
from models.order import Order
from models.recording import Recording, RecordingState
from models.timeline import RecordingStory, Timeline
from models.value import Value

Who = Annotated[Actor, Depends(actor_of)]
Limit = Annotated[int, Query(ge=1, le=1000, description="Rows, newest first.")]
Search = Annotated[str, Query(max_length=200, description="An accession, order, patient or study identifier.")]


class OrderList(Value):
    """Orders, the one that changed last first."""

    orders: tuple[Order, ...]


class TimelineList(Value):
    """Everything about every order of one accession number."""

    timelines: tuple[Timeline, ...]


class RecordingList(Value):
    """Recordings, newest first."""

    recordings: tuple[Recording, ...]


class MessageView(Value):
    """An inbound message, its bytes as text: UTF-8 where they are, else ISO 8859-1, which loses no byte."""

    id: int
    received_at: datetime
    peer: str
    header: Header
    sha256: str
    raw: str
    applied: Applied
    acknowledged: Acknowledged
    answer: str
    reason: str
    order_ids: tuple[str, ...]


class MessageList(Value):
    """Inbound messages, newest first."""

    messages: tuple[MessageView, ...]


class DeliveryList(Value):
    """Deliveries, the one that changed last first."""

    deliveries: tuple[Delivery, ...]


class AuditList(Value):
    """Rows of the audit, newest first."""

    audit: tuple[AuditRow, ...]


class LinkRequest(Value):
    """Which order a recording belongs to, by exactly one of its two names, and why.

    Attributes:
        order_id: The order's id.
        accession: Its accession number, where that names one order only.
        reason: In words; kept in the audit.
    """

    order_id: str = ""
    accession: str = ""
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def name_the_order_once(self) -> Self:
        """Two names could name two orders."""
        if bool(self.order_id) == bool(self.accession):
            message = "name the order once: send either order_id or accession"
            raise ValueError(message)
        return self


class ErrorView(Value):
    """Every refusal: one sentence that says what, where and how to mend it."""

    error: str


def text_of(raw: bytes) -> str:
    """Return bytes as text without losing any."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def message_view(message: InboundMessage) -> MessageView:
    """Return a message as JSON can carry it."""
    fields = message.model_dump(exclude={"raw", "answer"})
    return MessageView(**fields, raw=text_of(message.raw), answer=text_of(message.answer))


def order_of_accession(desk: Desk, accession: str, actor: Actor) -> str:
    """Return the id of the one order that has an accession number.

    Raises:
        NotFound: None has.
        SeveralOrders: Several requested procedures share it (clinical.md 2), so a person must choose.
    """
    orders = [timeline.order for timeline in desk.timeline(accession, actor)]
    if len(orders) == 1:
        return orders[0].id
    told = [
        {
            "order_id": order.id,
            "requested_procedure_id": order.requested_procedure_id,
            "procedure": order.procedure.meaning or order.procedure.value,
            "status": order.status.value,
        }
        for order in orders
    ]
    raise SeveralOrders(f"{len(orders)} orders have this accession number: send the order_id of the right one", told)


def api_routes(desk: Desk) -> APIRouter:
    """Return ``/api/v1``. The gate has let the asker in before any of this runs."""
    router = APIRouter(
        prefix="/api/v1",
        dependencies=[Security(HTTPBearer(auto_error=False, description="cinelink token create NAME"))],
        responses={code: {"model": ErrorView} for code in (401, 404, 409, 422)},
    )
    _order_routes(router, desk)
    _recording_routes(router, desk)
    _journal_routes(router, desk)
    return router


def _order_routes(router: APIRouter, desk: Desk) -> None:
    @router.get("/orders")
    def orders(actor: Who, text: Search = "", limit: Limit = 100) -> OrderList:
        found = desk.orders(text=text, limit=limit)
        desk.audit_view(actor, "orders", f"list of {len(found)}" + (f", search {text!r}" if text else ""))
        return OrderList(orders=found)

    @router.get("/orders/{accession:path}/timeline")
    def timeline(accession: str, actor: Who) -> TimelineList:
        if not accession:
            raise NotFound("an accession number is missing in the address: search with GET /api/v1/orders?text=")
        return TimelineList(timelines=desk.timeline(accession, actor))


def _recording_routes(router: APIRouter, desk: Desk) -> None:
    @router.get("/recordings")
    def recordings(actor: Who, state: RecordingState | None = None, limit: Limit = 100) -> RecordingList:
        found = desk.recordings(state=state or "", limit=limit)
        desk.audit_view(actor, "recordings", f"list of {len(found)}" + (f", {state}" if state else ""))
        return RecordingList(recordings=found)

    @router.get("/recordings/{recording_id}")
    def recording(recording_id: str, actor: Who) -> RecordingStory:
        story = desk.recording(recording_id)
        desk.audit_view(actor, f"recording {recording_id}", "story")
        return story

    @router.post("/recordings/{recording_id}/link")
    def link(recording_id: str, request: LinkRequest, actor: Who) -> Recording:
        order_id = request.order_id or order_of_accession(desk, request.accession, actor)
        return desk.link(recording_id, order_id, actor, request.reason)


def _journal_routes(router: APIRouter, desk: Desk) -> None:
    @router.get("/messages")
    def messages(actor: Who, limit: Limit = 100) -> MessageList:
        found = desk.messages(limit=limit)
        desk.audit_view(actor, "messages", f"list of {len(found)}")
        return MessageList(messages=tuple(message_view(message) for message in found))

    @router.get("/deliveries")
    def deliveries(actor: Who, state: DeliveryState | None = None, limit: Limit = 100) -> DeliveryList:
        found = desk.deliveries(state=state or "", limit=limit)
        desk.audit_view(actor, "deliveries", f"list of {len(found)}" + (f", {state}" if state else ""))
        return DeliveryList(deliveries=found)

    @router.get("/audit")
    def audit(actor: Who, limit: Limit = 100) -> AuditList:
        found = desk.audit(limit=limit)
        desk.audit_view(actor, "audit", f"list of {len(found)}")
        return AuditList(audit=found)
