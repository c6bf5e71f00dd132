"""A recording meets its orders: read it, rank the candidates, link it or ask a person."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from converters.isolation import run_probe
from interfaces.files.names import read_name
from interfaces.files.sidecar import read_sidecar
from models.audit import Actor
from models.errors import ConversionFailed, NotAllowed, RecordingRejected
from models.mapping import MappingSet, StationRow
from models.match import MatchRule, Verdict, VerdictKind
from models.order import NOT_LINKABLE, Order
from models.ranking import rank, recording_times
from models.recording import Claim, Recording, RecordingState, StreamFacts
from workflow.children import ChildRuns
from workflow.store.recordings import Decision
from workflow.store.unit_of_work import Store, Task, UnitOfWork
from workflow.tables import PublishedTables

log = logging.getLogger("cinelink.matching")

#: Clocks that were never set; a time of these years says nothing (clinical.md 3).
UNSET_YEARS = frozenset({1904, 1970, 1980, 2000})


@dataclass(frozen=True)
class Reading:
    """Everything that was read of a recording before it is matched."""

    facts: StreamFacts
    claims: tuple[Claim, ...]
    started_at: datetime | None
    station: str
    doubts: tuple[str, ...]


class Matching:
    """Probes recordings and links them to orders."""

    def __init__(self, store: Store, tables: PublishedTables, *, rule: MatchRule, child: ChildRuns) -> None:
        self._store = store
        self._tables = tables
        self._rule = rule
        self._child = child

    # --- probe ---------------------------------------------------------------------------------------------------

    def probe(self, recording_id: str) -> None:
        """Read a ready recording: facts from the child process, claims from name, sidecar and container."""
        with self._store.reading() as unit:
            recording = unit.recordings.get(recording_id)
        if recording.state != RecordingState.READY:
            return
        tables = self._tables.current()
        try:
            facts = run_probe(Path(recording.path), self._child.limits, children=self._child.running)
        except RecordingRejected as refusal:
            self._set_aside(recording, RecordingState.REJECTED, str(refusal), stage=refusal.code)
            return
        except ConversionFailed as failure:
            if self._child.running.stopped:  # we are stopping: the next start probes it again
                return
            self._set_aside(recording, RecordingState.FAILED, str(failure), stage=failure.stage)
            return
        self._keep_reading(recording, _read(recording, facts, tables))

    def _keep_reading(self, recording: Recording, reading: Reading) -> None:
        with self._store.transaction("recording.probed") as unit:
            if earlier := unit.recordings.with_bytes(reading.facts.sha256, but=recording.id):
                reason = f"the same bytes as recording {earlier[0].id}, which is {earlier[0].state}"
                new = recording.model_copy(
                    update={"state": RecordingState.DUPLICATE, "sha256": reading.facts.sha256, "reason": reason}
                )
                unit.recordings.move(recording, new)
                unit.record("recording.duplicate", reason, recording_id=recording.id)
                return
            new = recording.model_copy(
                update={
                    "state": RecordingState.PROBED,
                    "sha256": reading.facts.sha256,
                    "facts": reading.facts,
                    "claims": reading.claims,
                    "started_at": reading.started_at,
                    "station": reading.station,
                    "doubts": reading.doubts,
                }
            )
            unit.recordings.move(recording, new)
            unit.record("recording.probed", _facts_in_words(reading.facts), recording_id=recording.id)
            unit.enqueue(Task("match", recording.id, new.attempt))

    def _set_aside(self, recording: Recording, state: RecordingState, reason: str, *, stage: str) -> None:
        with self._store.transaction(f"recording.{state}") as unit:
            new = recording.model_copy(update={"state": state, "reason": reason, "stage": stage})
            unit.recordings.move(recording, new)
            unit.record(f"recording.{state}", reason, recording_id=recording.id, data={"stage": stage})

    # --- match ---------------------------------------------------------------------------------------------------

    def match(self, recording_id: str) -> None:
        """Rank the candidates of a probed or waiting recording, and link it when nothing speaks against it."""
        with self._store.reading() as unit:
            recording = unit.recordings.get(recording_id)
            if recording.state not in {RecordingState.PROBED, RecordingState.NEEDS_REVIEW} or recording.order_id:
                return
            moments = tuple(recording_times(recording).values())
            orders = unit.orders.candidates(recording.claims, recording.station, moments)
        tables = self._tables.current()
        verdict = rank(
            recording,
            orders,
            station=tables.station_named(recording.station),
            evidence_rows=tables.evidence,
            rule=self._rule,
            mapping_version=tables.version,
        )
        if verdict.kind == VerdictKind.LINK:
            self._link(recording, verdict)
        else:
            self._ask(recording, verdict)

    def _link(self, recording: Recording, verdict: Verdict) -> None:
        with self._store.transaction("recording.linked") as unit:
            order = unit.orders.get(verdict.order_id)
            if order.status in NOT_LINKABLE:  # it changed while we ranked
                self._write_review(unit, recording, verdict, f"the order became {order.status} meanwhile")
                return
            new = recording.model_copy(
                update={"state": RecordingState.LINKED, "order_id": order.id, "reason": "; ".join(verdict.reasons)}
            )
            _write_link(unit, recording, new, Decision(verdict=verdict), actor="cinelink", kind="automatic")

    def _ask(self, recording: Recording, verdict: Verdict) -> None:
        with self._store.transaction("recording.review") as unit:
            self._write_review(unit, recording, verdict, "; ".join(verdict.reasons))

    @staticmethod
    def _write_review(unit: UnitOfWork, recording: Recording, verdict: Verdict, reason: str) -> None:
        new = recording.model_copy(update={"state": RecordingState.NEEDS_REVIEW, "reason": reason})
        unit.recordings.move(recording, new)
        unit.recordings.decide(new, Decision(verdict=verdict), actor="cinelink", kind="review", reason=reason)
        unit.record("recording.needs_review", reason, recording_id=recording.id)

    # --- a person decides ----------------------------------------------------------------------------------------

    def link(self, recording_id: str, order_id: str, actor: Actor, reason: str) -> Recording:
        """Link a waiting recording to an order that a person chose.

        Raises:
            NotFound: No such recording or order.
            NotAllowed: The recording does not wait for a person, the order cannot take it, or no reason was given.
        """
        if not reason.strip():
            raise NotAllowed("a link by hand needs a reason in words; it is kept in the audit")
        with self._store.transaction("recording.linked") as unit:
            recording = unit.recordings.get(recording_id)
            order = unit.orders.get(order_id)
            _require_linkable(recording, order)
            new = recording.model_copy(
                update={
                    "state": RecordingState.LINKED,
                    "order_id": order.id,
                    "reason": f"linked by {actor.name}: {reason}",
                    "attempt": recording.attempt + 1,
                }
            )
            _write_link(unit, recording, new, Decision(), actor=actor.name, kind="manual")
            unit.journal.audit(actor.name, "recording.link", recording.id, f"order {order.id}: {reason}")
            return new


def _require_linkable(recording: Recording, order: Order) -> None:
    if recording.state not in {RecordingState.NEEDS_REVIEW, RecordingState.HELD}:
        raise NotAllowed(f"recording {recording.id} is {recording.state}; only one that needs review can be linked")
    if order.status in NOT_LINKABLE:
        raise NotAllowed(f"order {order.accession or order.id} is {order.status}; release or correct it first")


def _write_link(unit: UnitOfWork, old: Recording, new: Recording, decision: Decision, *, actor: str, kind: str) -> None:
    unit.recordings.move(old, new)
    unit.recordings.decide(new, decision, actor=actor, kind=kind, reason=new.reason)
    unit.record(
        "recording.linked", new.reason, order_id=new.order_id, recording_id=new.id, actor=actor, data={"kind": kind}
    )
    unit.journal.audit(actor, "recording.linked", new.id, f"order {new.order_id} ({kind})")
    unit.enqueue(Task("convert", new.id, new.attempt))


def _read(recording: Recording, facts: StreamFacts, tables: MappingSet) -> Reading:
    path = Path(recording.path)
    station = tables.station_of_folder(recording.folder)
    zone = station.time_zone if station else "UTC"
    known = station.station if station else ""
    name = read_name(_below_station(path, recording.folder), tables.filename_patterns, known, zone)
    sidecar = read_sidecar(path, zone)
    claims = [*name.claims, *_sidecar_claims(sidecar.claims, station)]
    started = sidecar.started_at or name.started_at
    if started and started.year in UNSET_YEARS:
        started = None
    doubts = tuple(problem for problem in (name.problem, sidecar.problem) if problem)
    return Reading(facts, tuple(claims), started, known, doubts)


def _below_station(path: Path, folder: str) -> str:
    """Return the path below the station's folder: some recorders put the identity into folder names."""
    parents = [parent.name for parent in path.parents]
    depth = parents.index(folder) if folder in parents else 0
    return "/".join(path.parts[len(path.parts) - depth - 1 :])


def _sidecar_claims(claims: tuple[Claim, ...], station: StationRow | None) -> tuple[Claim, ...]:
    """A sidecar is the recorder's own word, unless the station says that another system writes it."""
    if station is None or not station.independent_sidecar:
        return claims
    return tuple(claim.model_copy(update={"group": "sidecar"}) for claim in claims)


def _facts_in_words(facts: StreamFacts) -> str:
    sound = ", ".join(f"{audio.codec} {audio.sample_rate} Hz" for audio in facts.audio) or "no sound"
    return (
        f"{facts.codec} {facts.profile} {facts.width}x{facts.height}, {facts.frames} frames at {facts.fps}, "
        f"{facts.duration:.1f} s, {sound}, {facts.container}"
    )
