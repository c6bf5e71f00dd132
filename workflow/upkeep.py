"""What keeps going by itself: due retries, the reconciler that rebuilds lost queue entries, and tries by hand."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from models.audit import Actor
from models.delivery import Delivery, DeliveryState
from models.errors import NotAllowed
from models.recording import Recording, RecordingState
from workflow.conversion import requeue
from workflow.engine import Queue
from workflow.store.unit_of_work import Store, Task, UnitOfWork

log = logging.getLogger("cinelink.upkeep")

S = RecordingState

#: The task that moves a recording on from each state in which the engine, not a person, has the next word.
TASK_OF = {S.READY: "probe", S.PROBED: "match", S.LINKED: "convert"}

#: Where a failed recording goes on, by the stage that failed; every other stage is part of the conversion.
RETRY_FROM = {"probe": S.READY, "deliver": S.CONVERTED, "notify": S.PROVEN}

#: After so many runs that ended without a word, a recording is failed: something in us is broken.
MOST_RUNS = 10


class Upkeep:
    """Finds what should move and does not."""

    def __init__(self, store: Store, queue: Queue) -> None:
        self._store = store
        self._queue = queue

    def wake_due(self) -> None:
        """Queue what waited for its time."""
        now = datetime.now(tz=UTC)
        with self._store.reading() as unit:
            deliveries, recordings = unit.deliveries.due(now), unit.recordings.due(now)
        for delivery in deliveries:
            with self._store.transaction("delivery.due") as unit:
                _queue_delivery(unit, unit.deliveries.get(delivery.id))
        for recording in recordings:
            with self._store.transaction("recording.due") as unit:
                current = unit.recordings.get(recording.id)
                unit.recordings.postpone(current, now + timedelta(hours=1))
                if kind := TASK_OF.get(current.state):
                    unit.enqueue(Task(kind, current.id, current.attempt))

    def reconcile(self) -> int:
        """Rebuild queue entries from our own state (DESIGN 5); return how many were missing."""
        with self._store.reading() as unit:
            recordings = unit.recordings.in_states(frozenset(TASK_OF))
            deliveries = unit.deliveries.open()
        missing = [recording for recording in recordings if self._is_lost(recording)]
        for recording in missing:
            self._restart(recording)
        lost = [delivery for delivery in deliveries if self._is_stuck(delivery)]
        for delivery in lost:
            with self._store.transaction("delivery.requeued") as unit:
                current = unit.deliveries.get(delivery.id)
                unit.deliveries.save(current.model_copy(update={"attempts": current.attempts + 1}))
                unit.enqueue(Task("deliver", current.id, current.attempts + 1, lane=current.lane, place=current.seq))
        return len(missing) + len(lost)

    def _is_lost(self, recording: Recording) -> bool:
        return not self._queue.is_live(Task(TASK_OF[recording.state], recording.id, recording.attempt))

    def _is_stuck(self, delivery: Delivery) -> bool:
        if delivery.next_attempt_at is not None:
            return False
        runs = (delivery.attempts, delivery.attempts - 1)
        with self._store.reading() as unit:
            head = unit.deliveries.head(delivery.lane)
        if head is None or head.id != delivery.id:
            return False
        return not any(self._queue.is_live(Task("deliver", delivery.id, run)) for run in runs)

    def _restart(self, recording: Recording) -> None:
        with self._store.transaction("recording.requeued") as unit:
            if recording.attempt >= MOST_RUNS:
                reason = "it ended without an answer several times; the log of the engine says why"
                unit.recordings.move(
                    recording,
                    recording.model_copy(
                        update={"state": S.FAILED, "stage": TASK_OF[recording.state], "reason": reason}
                    ),
                )
                unit.record("recording.failed", reason, recording_id=recording.id)
                return
            again = recording.model_copy(update={"attempt": recording.attempt + 1})
            unit.recordings.move(recording, again)
            unit.enqueue(Task(TASK_OF[again.state], again.id, again.attempt))

    def retry(self, recording_id: str, actor: Actor) -> Recording:
        """Try a failed, held or rejected recording again, from the stage that ended it.

        Raises:
            NotFound: No such recording.
            NotAllowed: It did not fail and is not held.
        """
        with self._store.transaction("recording.retried") as unit:
            recording = unit.recordings.get(recording_id)
            state = _retry_state(recording)
            again = recording.model_copy(
                update={"state": state, "reason": "", "stage": "", "attempt": recording.attempt + 1}
            )
            unit.recordings.move(recording, again)
            unit.record("recording.retried", f"tried again from {state}", recording_id=recording.id, actor=actor.name)
            unit.journal.audit(actor.name, "recording.retry", recording.id, f"from {recording.state}")
            if kind := TASK_OF.get(state):
                unit.enqueue(Task(kind, again.id, again.attempt))
            for delivery in unit.deliveries.of_recording(recording.id):
                requeue(unit, delivery.id)
            return again


def _retry_state(recording: Recording) -> RecordingState:
    if recording.state == S.HELD:
        return S.LINKED
    if recording.state == S.REJECTED:
        return S.READY
    if recording.state == S.FAILED:
        return RETRY_FROM.get(recording.stage, S.LINKED if recording.order_id else S.READY)
    raise NotAllowed(
        f"recording {recording.id} is {recording.state}; only a failed, held or rejected one can be retried"
    )


def _queue_delivery(unit: UnitOfWork, delivery: Delivery) -> None:
    """Queue a delivery whose time has come; its run number is the attempt that it will be."""
    if delivery.state not in {DeliveryState.WAITING, DeliveryState.SENT}:
        return
    unit.deliveries.save(delivery.model_copy(update={"next_attempt_at": None}))
    unit.enqueue(Task("deliver", delivery.id, delivery.attempts, lane=delivery.lane, place=delivery.seq))
