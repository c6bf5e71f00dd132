"""One imaging order: what was asked for, for whom, where and when; its states and every version."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from sqlalchemy import Column, Index, Text
from sqlmodel import Field, SQLModel

from models.patient import Authority, Identifier, Patient, PersonName
from models.value import UtcDateTime, Value

#: Name space of order ids: the same first message gives the same id, also after a restored backup (clinical.md 13).
ORDER_NAMESPACE = UUID("6f6f2b53-0a55-5d1c-9c60-0b8a4c7f2e01")


class OrderStatus(StrEnum):
    """The order's state, always its owner's word (never moved because a video is available, clinical.md 5)."""

    SCHEDULED = "scheduled"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    HELD = "held"
    CANCELLED = "cancelled"
    DISCONTINUED = "discontinued"


#: A late message does not reopen these (DESIGN 4).
TERMINAL = frozenset({OrderStatus.COMPLETED, OrderStatus.CANCELLED, OrderStatus.DISCONTINUED})

#: No automatic link to an order in one of these (clinical.md 3).
NOT_LINKABLE = frozenset({OrderStatus.HELD, OrderStatus.CANCELLED, OrderStatus.DISCONTINUED})


class OrderAction(StrEnum):
    """What a message asks us to do with an order; the ``order_control`` table gives it for ORC-1 and ORC-5."""

    SCHEDULE = "schedule"
    UPDATE = "update"
    START = "start"
    COMPLETE = "complete"
    CANCEL = "cancel"
    DISCONTINUE = "discontinue"
    HOLD = "hold"
    RELEASE = "release"
    IGNORE = "ignore"


#: The state that an action leads to; UPDATE and IGNORE keep the present one.
STATUS_AFTER = {
    OrderAction.SCHEDULE: OrderStatus.SCHEDULED,
    OrderAction.START: OrderStatus.IN_PROGRESS,
    OrderAction.COMPLETE: OrderStatus.COMPLETED,
    OrderAction.CANCEL: OrderStatus.CANCELLED,
    OrderAction.DISCONTINUE: OrderStatus.DISCONTINUED,
    OrderAction.HOLD: OrderStatus.HELD,
    OrderAction.RELEASE: OrderStatus.SCHEDULED,
}


class Code(Value):
    """A coded concept (HL7 CE/CWE; DICOM code sequence item)."""

    value: str = ""
    meaning: str = ""
    scheme: str = ""


class OrderRequest(Value):
    """What one ORC/OBR group of one message says. ``None`` is "not sent", ``""`` is "delete" (HL7 2.5.1 2.5.3).

    Attributes:
        control: ORC-1 order control.
        order_status: ORC-5, empty when not sent.
        sent_at: MSH-7, the order of messages in time; None when absent or unreadable.
        accession: Accession number; never trimmed (clinical.md 2).
        study_uid: Study Instance UID that came with the order (ZDS-1, IPC-3, OBX 113014/110180).
        laterality: ``R``, ``L``, ``B`` from structured data, else None (clinical.md 10).
        scheduled_at: Aware.
        station: Scheduled station AE title or name, as the ``stations`` table knows it.
    """

    control: str
    order_status: str = ""
    sent_at: datetime | None = None
    sender: Authority
    patient: Patient
    placer: Identifier | None = None
    filler: Identifier | None = None
    accession: str | None = None
    accession_authority: Authority = Authority()
    study_uid: str | None = None
    requested_procedure_id: str | None = None
    scheduled_step_id: str | None = None
    procedure: Code | None = None
    modality: str | None = None
    laterality: str | None = None
    scheduled_at: datetime | None = None
    station: str | None = None
    requester: PersonName | None = None
    referrer: PersonName | None = None
    performer: PersonName | None = None
    reason: str | None = None
    visit_number: Identifier | None = None


class Order(Value):
    """One order as it stands; every earlier version is kept beside it.

    Attributes:
        id: UUID text, derived from the first number that named it (see ``order_id``).
        version: 1, 2, ... each with the message that made it.
        study_uid_source: ``order`` (sent with it), ``pacs`` (adopted), ``derived`` or empty while unknown.
        media_complete: Our own mark: the media are proven and reported; never the order's status.
        status_reason: Why it is held or cancelled, in words.
        held_by_us: The hold is ours, for an identity conflict: a repeat of the order does not lift it, a release does.
    """

    id: str
    version: int
    status: OrderStatus
    status_reason: str = ""
    held_by_us: bool = False
    media_complete: bool = False
    sender: Authority
    sent_at: datetime | None = None
    patient: Patient
    placer: Identifier | None = None
    filler: Identifier | None = None
    accession: str = ""
    accession_authority: Authority = Authority()
    study_uid: str = ""
    study_uid_source: str = ""
    requested_procedure_id: str = ""
    scheduled_step_id: str = ""
    procedure: Code = Code()
    modality: str = ""
    laterality: str = ""
    scheduled_at: datetime | None = None
    station: str = ""
    requester: PersonName = PersonName()
    referrer: PersonName = PersonName()
    performer: PersonName = PersonName()
    reason: str = ""
    visit_number: Identifier | None = None


def number_key(number: Identifier | None, sender: Authority) -> str:
    """Return what an order number is known by: its authority, or else its sender, and its value.

    Two senders may give out the same bare number; it names two orders.
    """
    if number is None:
        return ""
    return number.key if number.authority.key else f"sender {sender.key}|{number.value}"


def order_id(request: OrderRequest) -> str:
    """Return the id of the order that this request names first: filler number, else placer number, else accession.

    The kind of the number belongs to it, because a filler and a placer may both give out 1001, and so does the
    requested procedure id, because one accession may carry several procedures (clinical.md 2).
    """
    if request.filler:
        name = f"filler|{number_key(request.filler, request.sender)}"
    elif request.placer:
        name = f"placer|{number_key(request.placer, request.sender)}"
    else:
        name = f"accession|{request.sender.key}|{request.accession or ''}"
    return str(uuid5(ORDER_NAMESPACE, f"{name}|{request.requested_procedure_id or ''}"))


class OrderTable(SQLModel, table=True):
    """The order as it stands, with its keys as columns and the whole value as JSON."""

    __tablename__ = "cl_order"
    __table_args__ = (Index("ix_cl_order_patient", "patient_key"),)

    id: str = Field(primary_key=True)
    version: int
    status: str = Field(index=True)
    accession: str = Field(index=True)
    placer_key: str = Field(index=True)
    filler_key: str = Field(index=True)
    patient_key: str
    patient_id: str = Field(index=True)
    study_uid: str = Field(index=True)
    requested_procedure_id: str = Field(index=True)
    scheduled_step_id: str = Field(index=True)
    station: str = Field(index=True)
    scheduled_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime, index=True, nullable=True))
    updated_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    body: str = Field(sa_column=Column(Text, nullable=False))


class OrderVersionTable(SQLModel, table=True):
    """Every version of every order, with the message and the mapping version that made it."""

    __tablename__ = "cl_order_version"

    order_id: str = Field(primary_key=True, foreign_key="cl_order.id")
    version: int = Field(primary_key=True)
    message_id: int | None = Field(default=None, index=True)
    action: str
    mapping_version: int
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    body: str = Field(sa_column=Column(Text, nullable=False))
