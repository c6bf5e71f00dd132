"""Videos come in: a watched file is claimed only when it is whole, and once."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from interfaces.files.watch import Sighting, Watcher
from models.recording import Recording, RecordingState
from workflow.store.unit_of_work import Store, Task, UnitOfWork

log = logging.getLogger("cinelink.arrivals")


class Arrivals:
    """Looks into the inbox and claims what is whole."""

    def __init__(self, store: Store, watcher: Watcher, inbox: Path) -> None:
        self._store = store
        self._watcher = watcher
        self._inbox = inbox

    def scan(self) -> None:
        """Look once: note what arrives, claim what is whole, let go of what was taken away."""
        self._inbox.mkdir(parents=True, exist_ok=True)
        sightings = self._watcher.scan(self._inbox, time.monotonic(), self._known)
        for sighting in sightings:
            if sighting.state == "whole":
                self._claim(sighting)
            else:
                self._note(sighting)
        self._let_go()

    def _known(self, path: Path, size: int, modified_ns: int) -> bool:
        with self._store.reading() as unit:
            return any(
                recording.state != RecordingState.ARRIVING
                and (recording.size, recording.modified_ns) == (size, modified_ns)
                for recording in unit.recordings.at_path(str(path))
            )

    @staticmethod
    def _arriving(unit: UnitOfWork, sighting: Sighting) -> Recording | None:
        for recording in unit.recordings.at_path(str(sighting.path)):
            if recording.state == RecordingState.ARRIVING:
                return recording
        return None

    def _note(self, sighting: Sighting) -> None:
        with self._store.reading() as unit:
            if self._arriving(unit, sighting):
                return
        with self._store.transaction("recording.arriving") as unit:
            recording = _recording(sighting, RecordingState.ARRIVING)
            unit.recordings.add(recording)
            unit.record(
                "recording.arriving", f"seen in {sighting.folder}: {sighting.reason}", recording_id=recording.id
            )

    def _claim(self, sighting: Sighting) -> None:
        with self._store.transaction("recording.ready") as unit:
            known = self._arriving(unit, sighting)
            ready = _recording(sighting, RecordingState.READY)
            if known is None:
                unit.recordings.add(ready)
            else:
                ready = ready.model_copy(update={"id": known.id})
                unit.recordings.move(known, ready)
            unit.record("recording.ready", f"whole, {sighting.size} bytes", recording_id=ready.id)
            unit.enqueue(Task("probe", ready.id, ready.attempt))
        log.info("recording claimed", extra={"action": "recording.ready", "recording_id": ready.id})

    def _let_go(self) -> None:
        with self._store.reading() as unit:
            arriving = unit.recordings.in_states(frozenset({RecordingState.ARRIVING}))
        for recording in arriving:
            if not Path(recording.path).exists():
                reason = "taken away before it was whole; copy it again"
                with self._store.transaction("recording.rejected") as unit:
                    unit.recordings.move(
                        recording,
                        recording.model_copy(update={"state": RecordingState.REJECTED, "reason": reason}),
                    )
                    unit.record("recording.rejected", reason, recording_id=recording.id)


def _recording(sighting: Sighting, state: RecordingState) -> Recording:
    return Recording(
        id=str(uuid4()),
        state=state,
        path=str(sighting.path),
        name=sighting.path.name,
        folder=sighting.folder,
        size=sighting.size,
        modified_ns=sighting.modified_ns,
        seen_at=datetime.now(tz=UTC),
    )
