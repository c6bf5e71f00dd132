"""What is owed is handed over, proven and acknowledged: one attempt at a time, in order within its lane."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from interfaces.dicom.query import prove
from interfaces.dicom.store import store as c_store
from interfaces.fhir.client import FhirClient
from interfaces.hl7.sender import send as send_hl7
from models.delivery import (
    Attempt,
    Backoff,
    Delivery,
    DeliveryKind,
    DeliveryState,
    DicomPeer,
    ExpectedInstance,
    Outcome,
    Proof,
)
from models.errors import (
    CinelinkError,
    ConversionFailed,
    Declined,
    DeliveryFailed,
    MappingMiss,
    OutcomeUnknown,
    ProofConflict,
)
from models.mapping import DestinationRow
from models.order import NOT_LINKABLE, Order
from models.recording import Recording, RecordingState
from models.study import Instance
from workflow.conversion import PeerOf, issuer_of_patient_id, owe
from workflow.notify import Sender, build_notice, control_id, payload_of
from workflow.store.unit_of_work import Store, Task, UnitOfWork
from workflow.tables import PublishedTables

log = logging.getLogger("cinelink.delivery")

FhirOf = Callable[[DestinationRow], FhirClient]

#: Outcomes after which the destination may already hold what we are about to send.
MAY_BE_THERE = frozenset({Outcome.OPEN, Outcome.UNKNOWN, Outcome.SENT, Outcome.UNPROVEN})


@dataclass(frozen=True)
class Claim:
    """One claimed attempt, with everything that it needs; no transaction is open while it runs."""

    delivery: Delivery
    attempt: Attempt
    look_first: bool
    order: Order
    recording: Recording
    instance: Instance
    row: DestinationRow
    issuer: str


class Delivering:
    """Hands over what is owed."""

    def __init__(
        self,
        store: Store,
        tables: PublishedTables,
        *,
        backoff: Backoff,
        peer_of: PeerOf,
        fhir_of: FhirOf,
        sender: Sender,
    ) -> None:
        self._store = store
        self._tables = tables
        self._backoff = backoff
        self._peer_of = peer_of
        self._fhir_of = fhir_of
        self._sender = sender

    def deliver(self, delivery_id: str) -> None:
        """Make one attempt at a delivery, if it is the first of its lane and still owed."""
        claim = self._claim(delivery_id)
        if claim is None:
            return
        try:
            {
                DeliveryKind.DICOM: self._deliver_object,
                DeliveryKind.HL7: self._deliver_hl7,
                DeliveryKind.FHIR: self._deliver_fhir,
            }[claim.delivery.kind](claim)
        except (Declined, ProofConflict, MappingMiss, ConversionFailed) as refusal:
            self._give_up(claim, refusal)
        except OutcomeUnknown as unknown:
            self._wait(claim, Outcome.UNKNOWN, str(unknown))
        except DeliveryFailed as trouble:
            self._wait(claim, Outcome.UNREACHABLE, str(trouble))

    # --- claiming ------------------------------------------------------------------------------------------------

    def _claim(self, delivery_id: str) -> Claim | None:
        tables = self._tables.current()
        with self._store.transaction("delivery.claimed") as unit:
            delivery = unit.deliveries.get(delivery_id)
            head = unit.deliveries.head(delivery.lane)
            if head is None or head.id != delivery.id:
                return None
            order = unit.orders.get(delivery.order_id)
            recording = unit.recordings.get(delivery.recording_id)
            before = unit.deliveries.attempts(delivery.id)
            number = delivery.attempts + 1
            if delivery.kind == DeliveryKind.DICOM and not before and order.status in NOT_LINKABLE:
                self._withhold(unit, delivery, recording, order)
                return None
            attempt = Attempt(delivery_id=delivery.id, number=number, started_at=datetime.now(tz=UTC))
            unit.deliveries.save_attempt(attempt)
            state = delivery.state if delivery.state == DeliveryState.SENT else DeliveryState.SENDING
            claimed = delivery.model_copy(update={"state": state, "attempts": number, "next_attempt_at": None})
            unit.deliveries.save(claimed)
            return Claim(
                delivery=claimed,
                attempt=attempt,
                look_first=any(attempt.outcome in MAY_BE_THERE for attempt in before),
                order=order,
                recording=recording,
                instance=unit.recordings.instance(delivery.sop_uid),
                row=tables.destination(delivery.destination),
                issuer=issuer_of_patient_id(tables, order),
            )

    @staticmethod
    def _withhold(unit: UnitOfWork, delivery: Delivery, recording: Recording, order: Order) -> None:
        """An order that was cancelled or held before anything was sent: nothing is sent, a person decides."""
        reason = f"the order became {order.status} before the video was sent"
        unit.deliveries.save(delivery.model_copy(update={"state": DeliveryState.FAILED, "reason": reason}))
        if recording.state == RecordingState.CONVERTED:
            new = recording.model_copy(update={"state": RecordingState.NEEDS_REVIEW, "reason": reason, "order_id": ""})
            unit.recordings.move(recording, new)
            unit.record("recording.needs_review", reason, order_id=order.id, recording_id=recording.id)

    # --- DICOM ---------------------------------------------------------------------------------------------------

    def _deliver_object(self, claim: Claim) -> None:
        peer = self._peer_of(claim.row)
        proof = prove(peer, _expected(claim)) if claim.look_first else None
        if proof is None or not (proof.found or proof.conflicts):
            status = c_store(peer, Path(claim.instance.path))
            self._note_sent(claim, status)
            proof = prove(peer, _expected(claim))
        self._settle_proof(claim, proof)

    def _note_sent(self, claim: Claim, status: str) -> None:
        with self._store.transaction("delivery.sent") as unit:
            delivery = claim.delivery.model_copy(update={"state": DeliveryState.SENT, "reason": "sent, not yet proven"})
            unit.deliveries.save(delivery)
            unit.record(
                "delivery.sent",
                f"C-STORE to {delivery.destination}: {status}",
                order_id=delivery.order_id,
                recording_id=delivery.recording_id,
                delivery_id=delivery.id,
                data={"status": status, "sop_uid": delivery.sop_uid},
            )
            self._advance(unit, claim, RecordingState.STORED)

    def _settle_proof(self, claim: Claim, proof: Proof) -> None:
        if proof.conflicts:
            raise ProofConflict(
                f"{claim.row.name} holds the object under another identity: {'; '.join(proof.conflicts)}"
            )
        if not proof.holds:
            missing = f"{', '.join(proof.unshown)} of it" if proof.found else "it yet"
            self._wait(
                claim, Outcome.UNPROVEN, f"sent to {claim.row.name}, which does not show {missing}; asked again later"
            )
            return
        words = f"C-FIND at {claim.row.name}: held under the expected patient, accession and study"
        if proof.unstated:
            words += f" (not stated by the peer: {', '.join(proof.unstated)})"
        with self._store.transaction("delivery.proven") as unit:
            self._finish(unit, claim, words)
            self._advance(unit, claim, RecordingState.STORED)
            if self._advance(unit, claim, RecordingState.PROVEN):
                for row in self._told(claim):
                    control = control_id(claim.instance.sop_uid, row.name)
                    owe(unit, claim.instance, row, DeliveryKind(row.kind), control=control)
                self._advance(unit, claim, RecordingState.REPORTED)

    def _told(self, claim: Claim) -> list[DestinationRow]:
        """Return who is owed a notice."""
        tables = self._tables.current()
        procedure = tables.procedure(claim.order.procedure, claim.order.sender.namespace)
        rows = tables.route(
            sender=claim.order.sender.namespace,
            procedure=claim.order.procedure.value,
            modality=procedure.modality,
            station=claim.recording.station,
        )
        return [row for row in rows if row.kind != "dicom"]

    # --- notices -------------------------------------------------------------------------------------------------

    def _payload(self, claim: Claim) -> str:
        """Return what a notice says; it is fixed when first built, so that every repeat is the same to the byte."""
        if claim.delivery.payload:
            return claim.delivery.payload
        notice = build_notice(
            claim.order,
            claim.recording,
            self._proven_instances(claim),
            claim.row,
            self._tables.current(),
            event_at=datetime.now(tz=UTC),
            sender=self._sender,
        )
        payload = payload_of(notice, claim.delivery.kind)
        with self._store.transaction("delivery.built") as unit:
            unit.deliveries.save(unit.deliveries.get(claim.delivery.id).model_copy(update={"payload": payload}))
        return payload

    def _proven_instances(self, claim: Claim) -> tuple[Instance, ...]:
        proven = {RecordingState.PROVEN, RecordingState.REPORTED}
        with self._store.reading() as unit:
            others = [
                instance
                for recording in unit.recordings.of_order(claim.order.id)
                if recording.state in proven and recording.id != claim.recording.id
                for instance in unit.recordings.instances_of(recording.id)
            ]
        return (*others, claim.instance)

    def _deliver_hl7(self, claim: Claim) -> None:
        answer = send_hl7(
            claim.row.host, claim.row.port, self._payload(claim).encode(), timeout=claim.row.timeout_seconds
        )
        self._acknowledge(claim, f"MSA-1 {answer.code}, MSA-2 {answer.control_id}")

    def _deliver_fhir(self, claim: Claim) -> None:
        published = self._fhir_of(claim.row).publish(json.loads(self._payload(claim)))
        words = ", ".join(f"{item.resource_type}/{item.id} version {item.version_id}" for item in published)
        self._acknowledge(claim, words)

    def _acknowledge(self, claim: Claim, words: str) -> None:
        with self._store.transaction("delivery.acknowledged") as unit:
            self._finish(unit, claim, words)
            unit.journal.audit("cinelink", "notice.sent", claim.delivery.id, words)
            self._advance(unit, claim, RecordingState.REPORTED)

    # --- endings -------------------------------------------------------------------------------------------------

    def _close(self, unit: UnitOfWork, claim: Claim, outcome: Outcome, detail: str) -> None:
        attempt = claim.attempt.model_copy(
            update={"ended_at": datetime.now(tz=UTC), "outcome": outcome, "detail": detail}
        )
        unit.deliveries.save_attempt(attempt)

    def _finish(self, unit: UnitOfWork, claim: Claim, proof: str) -> None:
        self._close(unit, claim, Outcome.DONE, proof)
        delivery = unit.deliveries.get(claim.delivery.id).model_copy(
            update={"state": DeliveryState.DONE, "reason": "", "proof": proof}
        )
        unit.deliveries.save(delivery)
        unit.record(
            "delivery.proven" if delivery.kind == DeliveryKind.DICOM else "delivery.acknowledged",
            f"{delivery.destination}: {proof}",
            order_id=delivery.order_id,
            recording_id=delivery.recording_id,
            delivery_id=delivery.id,
        )
        self._release_lane(unit, delivery.lane)

    def _wait(self, claim: Claim, outcome: Outcome, reason: str) -> None:
        with self._store.transaction("delivery.waiting") as unit:
            self._close(unit, claim, outcome, reason)
            current = unit.deliveries.get(claim.delivery.id)
            state = DeliveryState.SENT if outcome == Outcome.UNPROVEN else DeliveryState.WAITING
            until = datetime.now(tz=UTC) + timedelta(seconds=self._backoff.after(claim.attempt.number))
            unit.deliveries.save(
                current.model_copy(update={"state": state, "reason": reason, "next_attempt_at": until})
            )
            if claim.attempt.number == 1:
                unit.record(
                    "delivery.waiting",
                    reason,
                    order_id=current.order_id,
                    recording_id=current.recording_id,
                    delivery_id=current.id,
                )
        log.warning("delivery waits", extra={"action": "delivery.waiting", "delivery_id": claim.delivery.id})

    def _give_up(self, claim: Claim, refusal: CinelinkError) -> None:
        reason = str(refusal)
        with self._store.transaction("delivery.failed") as unit:
            self._close(unit, claim, Outcome.DECLINED, reason)
            delivery = unit.deliveries.get(claim.delivery.id).model_copy(
                update={"state": DeliveryState.FAILED, "reason": reason}
            )
            unit.deliveries.save(delivery)
            unit.record(
                "delivery.failed",
                reason,
                order_id=delivery.order_id,
                recording_id=delivery.recording_id,
                delivery_id=delivery.id,
            )
            self._fail_recording(unit, claim, reason, review=isinstance(refusal, ProofConflict))
            self._release_lane(unit, delivery.lane)
        log.error("delivery failed", extra={"action": "delivery.failed", "delivery_id": claim.delivery.id})

    @staticmethod
    def _fail_recording(unit: UnitOfWork, claim: Claim, reason: str, *, review: bool) -> None:
        recording = unit.recordings.get(claim.recording.id)
        state = RecordingState.NEEDS_REVIEW if review else RecordingState.FAILED
        if recording.state in {RecordingState.FAILED, RecordingState.NEEDS_REVIEW, RecordingState.REPORTED}:
            return
        stage = "deliver" if claim.delivery.kind == DeliveryKind.DICOM else "notify"
        unit.recordings.move(recording, recording.model_copy(update={"state": state, "reason": reason, "stage": stage}))
        unit.record(f"recording.{state}", reason, order_id=recording.order_id, recording_id=recording.id)

    def _release_lane(self, unit: UnitOfWork, lane: str) -> None:
        head = unit.deliveries.head(lane)
        if head and head.state != DeliveryState.SENDING and head.next_attempt_at is None:
            unit.enqueue(Task("deliver", head.id, head.attempts, lane=lane, place=head.seq))

    def _advance(self, unit: UnitOfWork, claim: Claim, state: RecordingState) -> bool:
        """Move the recording on when everything that its next state needs is there; return whether it moved."""
        recording = unit.recordings.get(claim.recording.id)
        owed = unit.deliveries.of_recording(recording.id)
        if not _ready_for(state, recording, [item for item in owed if item.sop_uid == claim.instance.sop_uid]):
            return False
        unit.recordings.move(recording, recording.model_copy(update={"state": state, "reason": ""}))
        unit.record(f"recording.{state}", _ADVANCE_WORDS[state], order_id=recording.order_id, recording_id=recording.id)
        if state == RecordingState.REPORTED:
            self._complete_media(unit, claim)
        return True

    def _complete_media(self, unit: UnitOfWork, claim: Claim) -> None:
        recordings = unit.recordings.of_order(claim.order.id)
        order = unit.orders.get(claim.order.id)
        if order.media_complete or any(recording.state != RecordingState.REPORTED for recording in recordings):
            return
        version = self._tables.current().version
        complete = order.model_copy(update={"media_complete": True, "version": order.version + 1})
        unit.orders.save(complete, action="media", message_id=None, mapping_version=version)
        unit.record("order.media_complete", "every recording of it is proven and reported", order_id=order.id)


_ADVANCE_WORDS = {
    RecordingState.STORED: "every archive has taken it",
    RecordingState.PROVEN: "every archive has shown that it holds it",
    RecordingState.REPORTED: "everyone who is owed a notice has it",
}

_BEFORE = {
    RecordingState.STORED: RecordingState.CONVERTED,
    RecordingState.PROVEN: RecordingState.STORED,
    RecordingState.REPORTED: RecordingState.PROVEN,
}


def _ready_for(state: RecordingState, recording: Recording, owed: list[Delivery]) -> bool:
    if recording.state != _BEFORE[state]:
        return False
    if state == RecordingState.REPORTED:
        return all(item.state == DeliveryState.DONE for item in owed)
    enough = {DeliveryState.DONE} if state == RecordingState.PROVEN else {DeliveryState.DONE, DeliveryState.SENT}
    return all(item.state in enough for item in owed if item.kind == DeliveryKind.DICOM)


def _expected(claim: Claim) -> ExpectedInstance:
    order, instance = claim.order, claim.instance
    return ExpectedInstance(
        sop_uid=instance.sop_uid,
        sop_class=instance.sop_class,
        series_uid=instance.series_uid,
        study_uid=instance.study_uid,
        accession=order.accession,
        patient_id=order.patient.identifier.value,
        issuer_of_patient_id=claim.issuer,
    )


def dicom_peer(row: DestinationRow, calling_ae_title: str) -> DicomPeer:
    """Return how a DICOM destination is spoken to."""
    return DicomPeer(
        host=row.host,
        port=row.port,
        ae_title=row.ae_title,
        calling_ae_title=calling_ae_title,
        timeout_seconds=row.timeout_seconds,
    )
