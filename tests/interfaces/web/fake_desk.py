"""A desk in memory with invented orders and recordings, some of them hostile."""

from __future__ import annotations

from datetime import date, timedelta

from interfaces.web.desk import Desk, DoorHealth, Health
from models.audit import Actor, AuditRow
from models.delivery import Attempt, Delivery, DeliveryKind, DeliveryState, Outcome
from models.errors import NotAllowed, NotFound
from models.match import Candidate, Evidence, Verdict, VerdictKind
from models.message import Acknowledged, Applied, Header, InboundMessage
from models.order import NOT_LINKABLE, Code, Order, OrderStatus
from models.patient import Identifier, Patient, PersonName
from models.plan import AudioPlan, Check, ConversionPlan, PlanKind
from models.recording import Recording, RecordingState
from models.study import Instance, SopClass, TransferSyntax
from models.timeline import DeliveryStory, Event, ProofLink, RecordingStory, Timeline
from tests.samples import DEMO, NOW, claim, facts, order, patient, recording

TOKEN = "an-invented-token-of-a-nurse"
NURSE = Actor(name="Nora Berger")
FILE = "4e0f3a1c9bd27786" * 4
SOP = "2.25.227189403361845540921376218443129007731"
HOSTILE_NAME = '<script>alert("x")</script>'
DECEIVING_NUMBER = "MRN\u202e2400"


class FakeDesk:
    """Implements ``interfaces.web.desk.Desk`` over plain dictionaries, and remembers every row of the audit."""

    def __init__(self) -> None:
        self.orders_held: dict[str, Order] = {}
        self.stories: dict[str, RecordingStory] = {}
        self.delivery_stories: list[DeliveryStory] = []
        self.events: list[Event] = []
        self.rows: list[AuditRow] = []
        self.inbox: list[InboundMessage] = []
        self.tokens: dict[str, Actor] = {TOKEN: NURSE}
        self.broken: Exception | None = None
        self.state = Health(ready=True, doors=(DoorHealth(name="hl7", ok=True, sentence="listening on port 2575"),))

    def authenticate(self, token: str) -> Actor | None:
        return self.tokens.get(token)

    def orders(self, *, text: str = "", limit: int = 100) -> tuple[Order, ...]:
        if self.broken:
            raise self.broken
        found = [
            item
            for item in self.orders_held.values()
            if any(value.startswith(text) for value in (item.accession, item.patient.identifier.value, item.study_uid))
        ]
        return tuple(found[:limit])

    def order(self, order_id: str) -> Order:
        if order_id not in self.orders_held:
            raise NotFound(f"no order has the id {order_id!r}")
        return self.orders_held[order_id]

    def recordings(self, *, state: str = "", limit: int = 100) -> tuple[Recording, ...]:
        held = [story.recording for story in self.stories.values()]
        return tuple(item for item in held if state in ("", item.state))[:limit]

    def recording(self, recording_id: str) -> RecordingStory:
        if recording_id not in self.stories:
            raise NotFound(f"no recording has the id {recording_id!r}")
        return self.stories[recording_id]

    def candidates(self, story: RecordingStory) -> tuple[Order, ...]:
        named = story.verdict.candidates if story.verdict else ()
        return tuple(self.orders_held[candidate.order_id] for candidate in named)

    def timeline(self, accession: str, actor: Actor) -> tuple[Timeline, ...]:
        found = [item for item in self.orders_held.values() if item.accession == accession]
        if not found:
            raise NotFound(f"no order has the accession number {accession!r}")
        self.audit_view(actor, f"accession {accession}", "timeline")
        return tuple(self._timeline(item) for item in found)

    def _timeline(self, item: Order) -> Timeline:
        return Timeline(
            order=item,
            versions=item.version,
            recordings=tuple(story for story in self.stories.values() if story.recording.order_id == item.id),
            deliveries=tuple(story for story in self.delivery_stories if story.delivery.order_id == item.id),
            events=tuple(event for event in self.events if event.order_id == item.id),
        )

    def link(self, recording_id: str, order_id: str, actor: Actor, reason: str) -> Recording:
        story, chosen = self.recording(recording_id), self.order(order_id)
        if story.recording.state not in {RecordingState.NEEDS_REVIEW, RecordingState.HELD}:
            raise NotAllowed(f"recording {recording_id} is {story.recording.state}; only one that needs review")
        if chosen.status in NOT_LINKABLE:
            raise NotAllowed(f"order {chosen.accession} is {chosen.status}; release or correct it first")
        linked = story.recording.model_copy(
            update={"state": RecordingState.LINKED, "order_id": order_id, "reason": f"linked by {actor.name}: {reason}"}
        )
        self.stories[recording_id] = story.model_copy(update={"recording": linked, "verdict": None})
        self.rows.append(AuditRow(at=NOW, actor=actor.name, action="recording.link", subject=recording_id))
        return linked

    def messages(self, *, limit: int = 100) -> tuple[InboundMessage, ...]:
        return tuple(self.inbox[:limit])

    def deliveries(self, *, state: str = "", limit: int = 100) -> tuple[Delivery, ...]:
        held = [story.delivery for story in self.delivery_stories]
        return tuple(item for item in held if state in ("", item.state))[:limit]

    def audit(self, *, limit: int = 100) -> tuple[AuditRow, ...]:
        return tuple(reversed(self.rows))[:limit]

    def audit_view(self, actor: Actor, subject: str, what: str) -> None:
        self.rows.append(AuditRow(at=NOW, actor=actor.name, action="view", subject=subject, detail=what))

    def health(self) -> Health:
        if self.broken:
            raise self.broken
        counts: dict[str, int] = {}
        for story in self.stories.values():
            key = f"recordings {story.recording.state}"
            counts[key] = counts.get(key, 0) + 1
        return self.state.model_copy(update={"queues": counts})

    # --- inventing ---

    def add(self, *orders: Order) -> None:
        self.orders_held.update({item.id: item for item in orders})


def is_a_desk(fake: FakeDesk) -> Desk:
    """The type checker holds the fake to the Protocol."""
    return fake


def said(signal: str, outcome: str, words: str, *, group: str = "recorder", contradiction: bool = False) -> Evidence:
    return Evidence(signal=signal, outcome=outcome, group=group, ratio=1.0, contradiction=contradiction, words=words)


def other_patient(number: str, family: str, given: str, born: date) -> Patient:
    return Patient(
        identifier=Identifier(value=number, authority=DEMO, type_code="MR"),
        name=PersonName(family=family, given=given),
        birth_date=born,
        sex="F",
    )


def instance(recording_id: str) -> Instance:
    return Instance(
        sop_uid=SOP,
        sop_class=SopClass.VIDEO_ENDOSCOPIC,
        transfer_syntax=TransferSyntax.H264_HIGH_41,
        series_uid=f"{SOP}1",
        study_uid="2.25.42",
        order_id="order-E1001",
        recording_id=recording_id,
        modality="ES",
        series_number=1,
        file_sha256=FILE,
        stream_sha256=FILE,
        path="objects/one.dcm",
    )


def reported_story() -> RecordingStory:
    """A recording that went the whole way."""
    evidence = (
        said("accession", "agrees", "the file name carries the order's accession"),
        said("station", "agrees", "it came from ENDO1, where it is scheduled", group="station"),
        said("time", "agrees", "by the container time it began 4 min after the schedule", group="container"),
        said("time", "near", "by the moment of arrival it began 61 min after the schedule", group="arrival"),
    )
    candidate = Candidate(order_id="order-E1001", accession="E1001", probability=0.99998, evidence=evidence)
    at = NOW + timedelta(minutes=31)
    links = (
        ("file SHA-256", FILE, None),
        ("bit stream SHA-256", f"{FILE} (identical to the file)", None),
        ("SOP Instance UID", SOP, None),
        ("C-STORE status (archive)", "0x0000", at),
        (
            "held in PACS (archive)",
            "C-FIND at archive: held under the expected patient, accession and study",
            at + timedelta(seconds=1),
        ),
        ("FHIR version (fhir)", "ImagingStudy/17 version 1", at + timedelta(seconds=2)),
        ("HL7 acknowledgement (ehr)", "MSA-1 AA, MSA-2 C7F3A92B11", at + timedelta(seconds=2)),
    )
    return RecordingStory(
        recording=recording(
            claim("accession", "E1001"),
            state=RecordingState.REPORTED,
            order_id="order-E1001",
            sha256=FILE,
            facts=facts(sha256=FILE, size=148_000_000, duration=312.4, frames=9372, device="Acme CV-190"),
        ),
        verdict=Verdict(
            kind=VerdictKind.LINK, order_id="order-E1001", probability=0.99998, none_probability=0.00002,
            candidates=(candidate,), reasons=tuple(piece.words for piece in evidence),
        ),
        plan=ConversionPlan(
            kind=PlanKind.PASSTHROUGH, transfer_syntax=TransferSyntax.H264_HIGH_41,
            sop_class=SopClass.VIDEO_ENDOSCOPIC, modality="ES",
            reasons=("the stream conforms to H.264 High 4.1 (PS3.5 8.2.7), so its bytes are kept as they are",),
            audio=AudioPlan.NONE, width=1920, height=1080, fps="30/1",
        ),
        checks=(
            Check(name="bit stream", passed=True, figure="SHA-256 equals the file's"),
            Check(name="number of frames", passed=True, figure="9372 decoded, 9372 in the attributes"),
            Check(name="rows and columns", passed=True, figure="1920x1080 in the stream and in the attributes"),
            Check(name="frame rate", passed=True, figure="30/1 in the stream, 30.000/s in Frame Time"),
        ),
        instances=(instance("recording-1"),),
        proof=tuple(ProofLink(name=name, value=value, holds=True, at=at) for name, value, at in links),
    )  # fmt: skip


def delivery(name: str, kind: DeliveryKind, state: DeliveryState, **changes: object) -> DeliveryStory:
    owed = Delivery(
        id=f"delivery-{name}", kind=kind, destination=name, order_id="order-E1001", recording_id="recording-1",
        sop_uid=SOP, lane=f"{name}/order-E1001", seq=1, state=state, attempts=1,
    ).model_copy(update=changes)  # fmt: skip
    tried = Attempt(
        delivery_id=owed.id, number=1, started_at=NOW + timedelta(minutes=31), ended_at=NOW + timedelta(minutes=32),
        outcome=Outcome.DONE if state == DeliveryState.DONE else Outcome.UNREACHABLE, detail=owed.reason or owed.proof,
    )  # fmt: skip
    return DeliveryStory(delivery=owed, attempts=(tried,))


def history() -> list[Event]:
    told = (
        (-40.0, "order.scheduled", "ORM^O01 NW from DEMO_RIS, order is scheduled", ""),
        (4.1, "recording.arriving", "seen in endo1: still being written", "recording-1"),
        (30.2, "recording.ready", "whole, 148000000 bytes", "recording-1"),
        (30.3, "recording.probed", "h264 High 1920x1080, 9372 frames at 30/1, 312.4 s, no sound", "recording-1"),
        (30.4, "recording.linked", "the file name carries the order's accession", "recording-1"),
        (30.9, "recording.converted", "passthrough: the stream conforms, its bytes are kept", "recording-1"),
        (31.0, "delivery.sent", "C-STORE to archive: 0x0000", "recording-1"),
        (31.1, "delivery.proven", "archive: held under the expected patient, accession and study", "recording-1"),
        (31.2, "delivery.acknowledged", "ehr: MSA-1 AA, MSA-2 C7F3A92B11", "recording-1"),
        (31.2, "order.media_complete", "every recording of it is proven and reported", ""),
    )
    return [
        Event(
            at=NOW + timedelta(minutes=minutes), action=action, detail=detail,
            order_id="order-E1001", recording_id=about,
        )
        for minutes, action, detail, about in told
    ]  # fmt: skip


def waiting_story() -> RecordingStory:
    """A recording with two close candidates and one that was cancelled."""
    first = (
        said("station", "agrees", "it came from ENDO1, where it is scheduled", group="station"),
        said("name", "near", "the sidecar carries a similar surname", group="sidecar"),
        said("time", "agrees", "by the container time it began 2 min before the schedule", group="container"),
    )
    second = (
        said("station", "agrees", "it came from ENDO1, where it is scheduled", group="station"),
        said("name", "near", "the sidecar carries a similar surname", group="sidecar"),
        said("time", "near", "by the container time it began 48 min before the schedule", group="container"),
    )
    third = (
        said("patient_id", "differs", "the sidecar carries another patient id", group="sidecar", contradiction=True),
        said("status", "differs", "the order is cancelled", group="order", contradiction=True),
    )
    return RecordingStory(
        recording=recording(
            claim("family", "Mars", source="sidecar", group="sidecar"),
            id="recording-2", name="OR3_20260301_085801.mp4", state=RecordingState.NEEDS_REVIEW, sha256="cd" * 32,
            reason="no order-grade identifier names the best candidate; two candidates are too close to each other",
        ),
        verdict=Verdict(
            kind=VerdictKind.REVIEW, probability=0.61, none_probability=0.08,
            candidates=(
                Candidate(order_id="order-E1002", accession="E1002", probability=0.61, evidence=first),
                Candidate(order_id="order-E1003", accession="E1003", probability=0.31, evidence=second),
                Candidate(order_id="order-E1004", accession="E1004", probability=0.0004, evidence=third),
            ),
            reasons=(
                "no order-grade identifier (accession, placer, filler, study or step) names the best candidate",
                "two candidates are too close to each other",
            ),
        ),
        plan=None, checks=(), instances=(),
        proof=(ProofLink(name="file SHA-256", value="cd" * 32, holds=True),),
    )  # fmt: skip


def message(raw: bytes = b"MSH|^~\\&|DEMO_RIS|DEMO|CINELINK|DEMO|20260301||ORM^O01|M1|P|2.3.1\r") -> InboundMessage:
    return InboundMessage(
        id=1, received_at=NOW, peer="127.0.0.1", header=Header(control_id="M1", message_type="ORM"), sha256="ef" * 32,
        raw=raw, applied=Applied.APPLIED, acknowledged=Acknowledged.DELIVERED, answer=b"MSA|AA|M1\r",
    )  # fmt: skip


def hospital() -> FakeDesk:
    """A desk on a usual morning: one order that is done, a recording that waits, and names that mean no good."""
    desk = FakeDesk()
    desk.add(
        order("E1001", media_complete=True, performer=PersonName(family="Okafor", given="Daniel", prefix="Dr")),
        order("E1002", patient=other_patient("MRN0071", "Marsh", "Elena", date(1961, 5, 4))),
        order("E1003", patient=other_patient("MRN0077", "Marsch", "Eleanor", date(1966, 11, 23)), version=2),
        order(
            "E1004",
            patient=other_patient("MRN0090", "Quist", "Ida", date(1950, 2, 28)),
            status=OrderStatus.CANCELLED,
            status_reason="cancelled by its owner",
        ),
        order("E2001", id="order-E2001-a", procedure=Code(value="EGD", meaning="Upper endoscopy"), study_uid="2.25.7"),
        order("E2001", id="order-E2001-b", procedure=Code(value="COL", meaning="Colonoscopy"), study_uid="2.25.8"),
        order("E/3 %2F?#", id="order-odd", patient=patient(family=HOSTILE_NAME)),
        order("E4001", patient=other_patient(DECEIVING_NUMBER, "לוי", "שרה", date(1980, 3, 3))),
        order("E5001", patient=other_patient("MRN" + "9" * 60, "Wolfeschlegelstein" * 12, "Ana", date(1999, 9, 9))),
        order("", id="order-nameless", procedure=Code(value="EGD")),
    )
    desk.stories = {"recording-1": reported_story(), "recording-2": waiting_story()}
    desk.delivery_stories = [
        delivery("archive", DeliveryKind.DICOM, DeliveryState.DONE, proof="held under the expected patient"),
        delivery("fhir", DeliveryKind.FHIR, DeliveryState.DONE, proof="ImagingStudy/17 version 1"),
        delivery(
            "ehr", DeliveryKind.HL7, DeliveryState.DONE, proof="MSA-1 AA, MSA-2 C7F3A92B11", control_id="C7F3A92B11"
        ),
    ]
    desk.events = history()
    desk.inbox = [message(), message(b"PID|1||MRN1||M\xfcller\r")]
    return desk
