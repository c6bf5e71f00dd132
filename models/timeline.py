"""What happened, in order, and the chain of proof from the file to the notice."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, Text
from sqlmodel import Field, SQLModel

from models.delivery import Attempt, Delivery
from models.match import Verdict
from models.order import Order
from models.plan import Check, ConversionPlan
from models.recording import Recording
from models.study import Instance
from models.value import UtcDateTime, Value


class Event(Value):
    """One durable transition (DESIGN 2).

    Attributes:
        action: e.g. ``order.scheduled``, ``recording.linked``, ``delivery.proven``.
        detail: One sentence for people, without patient data.
        data: Figures and identifiers, as text.
    """

    at: datetime
    action: str
    detail: str
    order_id: str = ""
    recording_id: str = ""
    delivery_id: str = ""
    actor: str = "cinelink"
    data: dict[str, str] = {}


class EventTable(SQLModel, table=True):
    """The history of every order, recording and delivery."""

    __tablename__ = "cl_event"

    id: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    action: str
    detail: str = Field(sa_column=Column(Text, nullable=False))
    order_id: str = Field(default="", index=True)
    recording_id: str = Field(default="", index=True)
    delivery_id: str = Field(default="", index=True)
    actor: str
    data: str = Field(default="{}", sa_column=Column(Text, nullable=False))


class ProofLink(Value):
    """One link of the proof chain; ``holds`` is None while it is still owed."""

    name: str
    value: str
    holds: bool | None
    at: datetime | None = None


class RecordingStory(Value):
    """A recording with everything that was decided and done about it."""

    recording: Recording
    verdict: Verdict | None
    plan: ConversionPlan | None
    checks: tuple[Check, ...]
    instances: tuple[Instance, ...]
    proof: tuple[ProofLink, ...]


class DeliveryStory(Value):
    """A delivery with its attempts."""

    delivery: Delivery
    attempts: tuple[Attempt, ...]


class Timeline(Value):
    """All that is known of one order (``GET /api/v1/orders/{accession}/timeline``)."""

    order: Order
    versions: int
    recordings: tuple[RecordingStory, ...]
    deliveries: tuple[DeliveryStory, ...]
    events: tuple[Event, ...]
