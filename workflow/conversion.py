"""A linked recording becomes a DICOM object: hold or plan it, convert it in the child, publish it by one commit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from converters.isolation import run_convert
from converters.planning import plan as make_plan
from interfaces.dicom.query import find_studies
from models.delivery import Backoff, Delivery, DeliveryKind, DeliveryState, DicomPeer, StudyFound
from models.errors import ConversionFailed, Declined, DeliveryFailed, Held, MappingMiss
from models.mapping import DestinationRow, MappingSet, ProcedureRow
from models.order import NOT_LINKABLE, Order
from models.plan import ConversionJob, ConversionPlan, ConversionResult
from models.recording import Recording, RecordingState
from models.study import Instance, derive_series_uid, derive_sop_uid, derive_study_uid
from workflow.children import ChildRuns
from workflow.store.recordings import Decision
from workflow.store.unit_of_work import Store, Task, UnitOfWork
from workflow.tables import PublishedTables

log = logging.getLogger("cinelink.conversion")

PeerOf = Callable[[DestinationRow], DicomPeer]


@dataclass(frozen=True)
class Ground:
    """Everything that a conversion stands on, read at one moment."""

    recording: Recording
    order: Order
    tables: MappingSet
    procedure: ProcedureRow
    archives: tuple[DestinationRow, ...]


class Conversion:
    """Converts linked recordings."""

    def __init__(
        self,
        store: Store,
        tables: PublishedTables,
        *,
        objects: Path,
        child: ChildRuns,
        backoff: Backoff,
        peer_of: PeerOf,
        software: str,
    ) -> None:
        self._store = store
        self._tables = tables
        self._objects = objects
        self._child = child
        self._backoff = backoff
        self._peer_of = peer_of
        self._software = software

    def convert(self, recording_id: str) -> None:
        """Take a linked recording as far as it can go: converted, held, back to review, or failed."""
        with self._store.reading() as unit:
            recording = unit.recordings.get(recording_id)
            if recording.state != RecordingState.LINKED:
                return
            order = unit.orders.get(recording.order_id)
        try:
            ground = self._ground(recording, order)
            ground = self._with_study(ground)
            self._make(ground)
        except Held as held:
            self._hold(recording, held)
        except ConversionFailed as failure:
            if not self._child.running.stopped:  # else we are stopping: the next start converts it again
                self._fail(recording, failure)
        except Declined as declined:
            self._hold(recording, Held(f"the study could not be looked up: {declined}", review=False))
        except DeliveryFailed as trouble:
            self._postpone(recording, f"the study cannot be looked up yet: {trouble}")

    # --- may it be converted? ------------------------------------------------------------------------------------

    def _ground(self, recording: Recording, order: Order) -> Ground:
        if order.status in NOT_LINKABLE:
            raise Held(f"the order is {order.status}; nothing is made for it", review=True)
        tables = self._tables.current()
        sender = order.sender.namespace
        try:
            procedure = tables.procedure(order.procedure, sender)
            destinations = tables.route(
                sender=sender, procedure=order.procedure.value, modality=procedure.modality, station=recording.station
            )
        except MappingMiss as miss:
            raise Held(str(miss), review=False) from miss
        if procedure.hold:
            raise Held(f"every video of this procedure is held: {procedure.hold}", review=False)
        if procedure.paired and not order.laterality:
            raise Held(
                f"{procedure.region_meaning} is paired and the order names no side; send the order again with its side",
                review=True,
            )
        archives = tuple(row for row in destinations if row.kind == "dicom")
        if not archives:
            raise Held("no route leads to a DICOM destination: add one to the routes table", review=False)
        return Ground(recording, order, tables, procedure, archives)

    # --- which study? --------------------------------------------------------------------------------------------

    def _with_study(self, ground: Ground) -> Ground:
        """Give the order its Study Instance UID, once and for good (clinical.md 2)."""
        if ground.order.study_uid:
            return ground
        uid, source = self._find_study(ground)
        with self._store.transaction("order.study") as unit:
            order = unit.orders.get(ground.order.id)
            if not order.study_uid:
                order = order.model_copy(
                    update={"study_uid": uid, "study_uid_source": source, "version": order.version + 1}
                )
                unit.orders.save(order, action="study", message_id=None, mapping_version=ground.tables.version)
                unit.record("order.study", f"study UID {source}", order_id=order.id, data={"study_uid": uid})
        return Ground(ground.recording, order, ground.tables, ground.procedure, ground.archives)

    def _find_study(self, ground: Ground) -> tuple[str, str]:
        order = ground.order
        if order.accession:
            found = find_studies(self._peer_of(ground.archives[0]), accession=order.accession)
            if adopted := _adopt(found, order, issuer_of_patient_id(ground.tables, order)):
                return adopted, "pacs"
        number = order.filler or order.placer
        if number is None:
            raise Held("the order has no filler or placer number to derive a study from", review=True)
        return derive_study_uid(number.authority.key, number.value, order.requested_procedure_id), "derived"

    # --- make it -------------------------------------------------------------------------------------------------

    def _make(self, ground: Ground) -> None:
        recording, order = ground.recording, ground.order
        if recording.facts is None:
            raise ConversionFailed("plan", f"recording {recording.id} was never probed; run cinelink recordings retry")
        plan = make_plan(recording.facts, ground.procedure, ground.archives, mapping_version=ground.tables.version)
        with self._store.reading() as unit:
            instance = _instance(unit, ground, plan)
        job = self._job(ground, plan, instance)
        result = run_convert(job, self._child.limits, children=self._child.running)
        self._publish(ground, plan, instance, result)
        log.info(
            "converted", extra={"action": "recording.converted", "recording_id": recording.id, "order_id": order.id}
        )

    def _job(self, ground: Ground, plan: ConversionPlan, instance: Instance) -> ConversionJob:
        recording, order, tables = ground.recording, ground.order, ground.tables
        if recording.facts is None:
            raise ConversionFailed("plan", f"recording {recording.id} was never probed")
        accession = tables.authority(order.accession_authority, "accession")
        self._objects.mkdir(parents=True, exist_ok=True)
        return ConversionJob(
            source=recording.path,
            # Named by attempt and immutable; only the commit that follows publishes it (engine.md, os.replace trap).
            output=str(self._objects / f"{instance.sop_uid}.{uuid4().hex[:8]}.dcm"),
            facts=recording.facts,
            plan=plan,
            order=order,
            instance=instance,
            procedure=ground.procedure,
            station=tables.station_named(recording.station),
            started_at=recording.facts.created_at or recording.started_at,
            written_at=datetime.now(tz=UTC),
            software=self._software,
            issuer_of_patient_id=issuer_of_patient_id(tables, order),
            issuer_of_accession=accession.dicom_issuer if accession else order.accession_authority.key,
            empty_audio_sequence=any(row.empty_audio_sequence for row in ground.archives),
        )

    def _publish(self, ground: Ground, plan: ConversionPlan, instance: Instance, result: ConversionResult) -> None:
        """Publish the file, the state, the history and what is now owed: one commit."""
        recording = ground.recording
        made = instance.model_copy(
            update={
                "path": result.path,
                "size": result.size,
                "stream_sha256": result.stream_sha256,
                "frames": result.frames,
            }
        )
        with self._store.transaction("recording.converted") as unit:
            new = recording.model_copy(update={"state": RecordingState.CONVERTED, "reason": "; ".join(plan.reasons)})
            unit.recordings.move(recording, new)
            unit.recordings.save_instance(made)
            decision = Decision(plan=plan, checks=result.checks)
            unit.recordings.decide(new, decision, actor="cinelink", kind="plan", reason=new.reason)
            unit.record(
                "recording.converted",
                f"{plan.kind}: {new.reason}",
                order_id=recording.order_id,
                recording_id=recording.id,
                data={
                    "sop_uid": made.sop_uid,
                    "stream_sha256": made.stream_sha256,
                    "transfer_syntax": made.transfer_syntax,
                },
            )
            for row in ground.archives:
                owe(unit, made, row, DeliveryKind.DICOM)

    # --- ways out ------------------------------------------------------------------------------------------------

    def _hold(self, recording: Recording, held: Held) -> None:
        state = RecordingState.NEEDS_REVIEW if held.review else RecordingState.HELD
        update = {"state": state, "reason": str(held), "order_id": "" if held.review else recording.order_id}
        with self._store.transaction(f"recording.{state}") as unit:
            unit.recordings.move(recording, recording.model_copy(update=update))
            unit.record(f"recording.{state}", str(held), order_id=recording.order_id, recording_id=recording.id)

    def _fail(self, recording: Recording, failure: ConversionFailed) -> None:
        with self._store.transaction("recording.failed") as unit:
            new = recording.model_copy(
                update={"state": RecordingState.FAILED, "reason": str(failure), "stage": failure.stage}
            )
            unit.recordings.move(recording, new)
            unit.record(
                "recording.failed",
                str(failure),
                order_id=recording.order_id,
                recording_id=recording.id,
                data={"stage": failure.stage},
            )

    def _postpone(self, recording: Recording, reason: str) -> None:
        with self._store.transaction("recording.postponed") as unit:
            new = recording.model_copy(update={"reason": reason, "attempt": recording.attempt + 1})
            unit.recordings.move(recording, new)
            wait = self._backoff.after(new.attempt)
            unit.recordings.postpone(new, datetime.now(tz=UTC) + timedelta(seconds=wait))
            unit.record("recording.postponed", reason, order_id=recording.order_id, recording_id=recording.id)

    # --- orphans -------------------------------------------------------------------------------------------------

    def sweep(self, *, older_than: timedelta) -> int:
        """Delete object files that no commit published; return how many."""
        with self._store.reading() as unit:
            published = unit.recordings.published_paths()
        limit = (datetime.now(tz=UTC) - older_than).timestamp()
        removed = 0
        for path in self._objects.glob("*") if self._objects.is_dir() else ():
            if str(path) not in published and path.stat().st_mtime < limit:
                path.unlink(missing_ok=True)
                removed += 1
        return removed


def issuer_of_patient_id(tables: MappingSet, order: Order) -> str:
    """Return the issuer under which objects of this order are written and proven (0010,0021)."""
    authority = order.patient.identifier.authority
    row = tables.authority(authority, "patient")
    return row.dicom_issuer if row and row.dicom_issuer else authority.key


def _adopt(found: tuple[StudyFound, ...], order: Order, issuer: str) -> str:
    """Return the UID of the one study that the PACS holds for this order; empty when it holds none."""
    mine = [
        study
        for study in found
        if study.patient_id == order.patient.identifier.value
        and (not study.issuer_of_patient_id or study.issuer_of_patient_id == issuer)
    ]
    if len(mine) != len(found):
        raise Held("the PACS holds a study of another patient under this accession number", review=True)
    if len(mine) > 1:
        raise Held(f"the PACS holds {len(mine)} studies under this accession number", review=True)
    return mine[0].study_uid if mine else ""


def _instance(unit: UnitOfWork, ground: Ground, plan: ConversionPlan) -> Instance:
    """Return the planned instance; the same recording, order and plan always give the same UIDs (clinical.md 1)."""
    recording, order, procedure = ground.recording, ground.order, ground.procedure
    series_uid = derive_series_uid(recording.sha256, order.id, plan.modality, plan.sop_class)
    return Instance(
        sop_uid=derive_sop_uid(
            recording.sha256, order.id, recording.revision, plan.kind, plan.transfer_syntax, plan.sop_class, 1
        ),
        sop_class=plan.sop_class,
        transfer_syntax=plan.transfer_syntax,
        series_uid=series_uid,
        study_uid=order.study_uid,
        order_id=order.id,
        recording_id=recording.id,
        modality=plan.modality,
        series_number=unit.recordings.next_series_number(order.id, series_uid),
        series_description=procedure.series_description or procedure.description,
        body_part_code=procedure.region_code,
        body_part_scheme=procedure.region_scheme,
        body_part_meaning=procedure.region_meaning,
        file_sha256=recording.sha256,
        duration=recording.facts.duration if recording.facts else 0.0,
        plan_kind=plan.kind,
    )


def owe(
    unit: UnitOfWork,
    instance: Instance,
    row: DestinationRow,
    kind: DeliveryKind,
    *,
    control: str = "",
) -> None:
    """Owe an instance or its notice to a destination, once, and queue its delivery; a failed one is owed again."""
    delivery_id = f"{instance.sop_uid}@{row.name}"
    if unit.deliveries.exists(delivery_id):
        requeue(unit, delivery_id)
        return
    lane = f"{row.name}/{instance.order_id}"
    delivery = Delivery(
        id=delivery_id,
        kind=kind,
        destination=row.name,
        order_id=instance.order_id,
        recording_id=instance.recording_id,
        sop_uid=instance.sop_uid,
        lane=lane,
        seq=unit.deliveries.take_place(lane),
        state=DeliveryState.QUEUED,
        control_id=control,
    )
    unit.deliveries.save(delivery)
    unit.enqueue(Task("deliver", delivery.id, 0, lane=lane, place=delivery.seq))


def requeue(unit: UnitOfWork, delivery_id: str) -> bool:
    """Owe a failed delivery again, with the same payload and control id; return whether it had failed."""
    delivery = unit.deliveries.get(delivery_id)
    if delivery.state != DeliveryState.FAILED:
        return False
    unit.deliveries.save(delivery.model_copy(update={"state": DeliveryState.QUEUED, "reason": ""}))
    unit.enqueue(Task("deliver", delivery.id, delivery.attempts, lane=delivery.lane, place=delivery.seq))
    return True
