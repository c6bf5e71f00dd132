"""One thing owed to one destination, in order within its lane, and every attempt to hand it over."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Column, Index, Text
from sqlmodel import Field, SQLModel

from models.order import Code, Order
from models.study import Instance
from models.value import UtcDateTime, Value


class DeliveryKind(StrEnum):
    """What is owed: the object to a PACS, the notice to an HL7 receiver or a FHIR server."""

    DICOM = "dicom"
    HL7 = "hl7"
    FHIR = "fhir"


class DeliveryState(StrEnum):
    """Where it stands. ``sent`` is handed over but not proven: it releases no notice (clinical.md 4)."""

    QUEUED = "queued"
    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    DONE = "done"
    FAILED = "failed"


class Outcome(StrEnum):
    """How one attempt ended. ``open`` after a crash means unknown: look before repeating."""

    OPEN = "open"
    SENT = "sent"
    DONE = "done"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"
    DECLINED = "declined"
    UNPROVEN = "unproven"


class Delivery(Value):
    """One thing owed.

    Attributes:
        lane: ``destination/order``: exact order within it, and no other lane waits for it.
        seq: Place in the lane.
        control_id: MSH-10 of a notice, the same for every repeat.
        payload: The HL7 bytes as text or the FHIR resources as JSON, fixed when first built; empty for DICOM.
        proof: The answer that proves it: C-FIND match, MSA, FHIR ids with version ids.
    """

    id: str
    kind: DeliveryKind
    destination: str
    order_id: str
    recording_id: str
    sop_uid: str
    lane: str
    seq: int
    state: DeliveryState
    attempts: int = 0
    next_attempt_at: datetime | None = None
    reason: str = ""
    control_id: str = ""
    payload: str = ""
    proof: str = ""


class Attempt(Value):
    """One attempt; its number is the fencing token (DESIGN 5)."""

    delivery_id: str
    number: int
    started_at: datetime
    ended_at: datetime | None = None
    outcome: Outcome = Outcome.OPEN
    detail: str = ""


class Backoff(Value):
    """How long to wait between attempts, in seconds (settings)."""

    first: float = 1.0
    most: float = 60.0

    def after(self, attempts: int) -> float:
        """Return the wait after that many attempts: doubling up to the most."""
        return float(min(self.most, self.first * 2.0 ** min(max(attempts - 1, 0), 30)))


class DicomPeer(Value):
    """Where and how a DICOM destination is spoken to."""

    host: str
    port: int
    ae_title: str
    calling_ae_title: str = "CINELINK"
    timeout_seconds: float = 30.0


class ExpectedInstance(Value):
    """The identity under which a PACS must hold an instance for it to count as proven (clinical.md 4)."""

    sop_uid: str
    sop_class: str
    series_uid: str
    study_uid: str
    accession: str
    patient_id: str
    issuer_of_patient_id: str = ""


#: Attributes by their DICOM keywords; a peer that leaves one out has not proven anything.
_MUST_BE_SHOWN = frozenset({"PatientID", "AccessionNumber", "StudyInstanceUID"})


class Proof(Value):
    """What the destination showed.

    Attributes:
        found: The instance is there under the study and series asked for.
        conflicts: Sentences, one for each attribute that is held under another value.
        unstated: Keywords of attributes that the peer did not return, so they are neither shown nor contradicted.
    """

    found: bool
    conflicts: tuple[str, ...] = ()
    unstated: tuple[str, ...] = ()
    held_as: dict[str, str] = {}

    @property
    def unshown(self) -> tuple[str, ...]:
        """What had to be shown and was not: patient, accession and study are the proof (clinical.md 4)."""
        return tuple(name for name in self.unstated if name in _MUST_BE_SHOWN)

    @property
    def holds(self) -> bool:
        """Found under the identity that was asked for: nothing contradicts, and nothing that matters is unsaid."""
        return self.found and not self.conflicts and not self.unshown


class StudyFound(Value):
    """A study that a PACS already holds for an accession."""

    study_uid: str
    patient_id: str
    issuer_of_patient_id: str
    accession: str


class ResultNotice(Value):
    """The facts of "the video is in the PACS", from which ORU^R01 and the FHIR resources are built.

    Attributes:
        control_id: MSH-10; deterministic, so that a repeat is recognised.
        event_at: When proof was given, aware; MSH-7 and the resources use it, never the clock at sending.
        result_status: OBR-25; default ``R`` (stored, not yet verified), clinical.md 5.
        observation_status: OBX-11; default ``O``.
        instances: All proven instances of this order, oldest first.
        started_at: When the procedure or the first recording started, when known.
        patient_system: FHIR system URI of the patient's authority, from ``authorities``; likewise the others.
        code_system: FHIR system and code of the procedure from ``procedures``.
    """

    control_id: str
    event_at: datetime
    order: Order
    instances: tuple[Instance, ...]
    sending_application: str = "CINELINK"
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    result_status: str = "R"
    observation_status: str = "O"
    processing_id: str = "P"
    started_at: datetime | None = None
    ended_at: datetime | None = None
    patient_system: str = ""
    accession_system: str = ""
    placer_system: str = ""
    filler_system: str = ""
    fhir_code: Code = Code()
    with_procedure: bool = False


class FhirPublished(Value):
    """One resource as a FHIR server now holds it."""

    resource_type: str
    id: str
    version_id: str
    created: bool


class DeliveryTable(SQLModel, table=True):
    """Everything that is or was owed."""

    __tablename__ = "cl_delivery"
    __table_args__ = (
        Index("ix_cl_delivery_lane", "lane", "seq"),
        Index("ix_cl_delivery_due", "state", "next_attempt_at"),
    )

    id: str = Field(primary_key=True)
    kind: str
    destination: str = Field(index=True)
    order_id: str = Field(index=True)
    recording_id: str = Field(index=True)
    sop_uid: str
    lane: str
    seq: int
    state: str
    attempts: int = 0
    next_attempt_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime, nullable=True))
    updated_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    reason: str = Field(default="", sa_column=Column(Text, nullable=False))
    control_id: str = Field(default="", index=True)
    payload: str = Field(default="", sa_column=Column(Text, nullable=False))
    proof: str = Field(default="", sa_column=Column(Text, nullable=False))


class AttemptTable(SQLModel, table=True):
    """Every attempt, with its fencing number."""

    __tablename__ = "cl_attempt"

    delivery_id: str = Field(primary_key=True, foreign_key="cl_delivery.id")
    number: int = Field(primary_key=True)
    started_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    ended_at: datetime | None = Field(default=None, sa_column=Column(UtcDateTime, nullable=True))
    outcome: str
    detail: str = Field(default="", sa_column=Column(Text, nullable=False))


class LaneTable(SQLModel, table=True):
    """The last place given in a lane, taken under this row's lock: commit order is sequence order."""

    __tablename__ = "cl_lane"

    id: str = Field(primary_key=True)
    seq: int = 0
