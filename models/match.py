"""What matching says: evidence, candidates with a probability, a verdict, and the decision that was made."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Column, Text
from sqlmodel import Field, SQLModel

from models.value import UtcDateTime, Value


class Evidence(Value):
    """One independent signal for or against one order.

    Attributes:
        signal: As in the ``evidence`` table.
        outcome: ``agrees``, ``near`` or ``differs``.
        group: The source it comes from; several of one group count once (clinical.md 3).
        words: One sentence.
    """

    signal: str
    outcome: str
    group: str
    ratio: float
    contradiction: bool = False
    words: str


class Candidate(Value):
    """An order that could own the recording."""

    order_id: str
    accession: str
    probability: float
    evidence: tuple[Evidence, ...]


class VerdictKind(StrEnum):
    """Linked by evidence, or a person must decide."""

    LINK = "link"
    REVIEW = "review"


class Verdict(Value):
    """What ``rank`` decided, with what and why. ``none_probability`` is "none of these orders"."""

    kind: VerdictKind
    order_id: str = ""
    probability: float
    none_probability: float
    candidates: tuple[Candidate, ...]
    reasons: tuple[str, ...]
    mapping_version: int = 0


class MatchRule(Value):
    """The limits of an automatic link (DESIGN 7; settings).

    Attributes:
        nearer_minutes: Another patient's order at the same station that fits the time better by more than this sends
            the recording to a person: the recorder may have been left on the previous patient (clinical.md 3).
    """

    least_probability: float = 0.99
    least_margin: float = 0.9
    prior_none: float = 0.2
    nearer_minutes: float = 30


class LinkTable(SQLModel, table=True):
    """Every decision about a recording, by whom and on what; the last one counts."""

    __tablename__ = "cl_link"

    id: int | None = Field(default=None, primary_key=True)
    recording_id: str = Field(index=True, foreign_key="cl_recording.id")
    order_id: str = Field(default="", index=True)
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    actor: str
    kind: str
    reason: str = Field(default="", sa_column=Column(Text, nullable=False))
    body: str = Field(sa_column=Column(Text, nullable=False))
