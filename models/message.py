"""One received HL7 message: its bytes, and two independent axes, *applied* and *acknowledged*."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Column, Index, LargeBinary, Text
from sqlmodel import Field, SQLModel

from models.value import UtcDateTime, Value


class Applied(StrEnum):
    """What became of the message's content."""

    RECEIVED = "received"
    APPLIED = "applied"
    REFUSED = "refused"
    FAILED = "failed"


class Acknowledged(StrEnum):
    """What became of the answer."""

    OWED = "owed"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"


class Header(Value):
    """What MSH says, read tolerantly; empty where it says nothing (HL7 2.5.1 2.15.9)."""

    sending_application: str = ""
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    sent_at: datetime | None = None
    message_type: str = ""
    trigger_event: str = ""
    control_id: str = ""
    processing_id: str = ""
    version: str = ""
    character_set: str = ""

    @property
    def kind(self) -> str:
        """``ORM^O01``."""
        return f"{self.message_type}^{self.trigger_event}" if self.trigger_event else self.message_type


class InboundMessage(Value):
    """One received message as it is kept."""

    id: int
    received_at: datetime
    peer: str
    header: Header
    sha256: str
    raw: bytes
    applied: Applied
    acknowledged: Acknowledged
    answer: bytes
    reason: str = ""
    order_ids: tuple[str, ...] = ()


class Acknowledgement(Value):
    """An answer as the sender of a message reads it: MSA-1, MSA-2, MSA-3 and the raw bytes as text."""

    code: str
    control_id: str
    text: str = ""
    raw: str = ""

    @property
    def accepted(self) -> bool:
        """AA and CA are acceptance (HL7 table 0008)."""
        return self.code in {"AA", "CA"}


class MessageTable(SQLModel, table=True):
    """The inbox and the journal: drained in order for each sender."""

    __tablename__ = "cl_message"
    __table_args__ = (
        Index("ix_cl_message_duplicate", "sender_key", "control_id", "sha256"),
        Index("ix_cl_message_drain", "applied", "id"),
    )

    id: int | None = Field(default=None, primary_key=True)
    received_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False, index=True))
    peer: str
    sender_key: str
    control_id: str = Field(index=True)
    kind: str
    sha256: str
    header: str = Field(sa_column=Column(Text, nullable=False))
    raw: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    answer: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    applied: str
    acknowledged: str
    reason: str = Field(default="", sa_column=Column(Text, nullable=False))
    order_ids: str = Field(default="[]", sa_column=Column(Text, nullable=False))
