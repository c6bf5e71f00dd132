"""Promise 2: queue entries are rebuilt from our own state, and what failed can be tried again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import Session

from models.audit import Actor
from models.delivery import Delivery, DeliveryKind, DeliveryState
from models.errors import NotAllowed
from models.recording import Recording, RecordingState
from tests.samples import order, recording
from workflow.store.database import Database
from workflow.store.unit_of_work import Store, Task
from workflow.upkeep import MOST_RUNS, Upkeep

ANA = Actor(name="Ana")


class FakeQueue:
    """A queue that remembers what was put in, and in which nothing lives unless a test says so."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.live: set[str] = set()

    def enqueue(self, session: Session, task: Task) -> None:
        del session
        self.tasks.append(task)

    def is_live(self, task: Task) -> bool:
        return task.id in self.live


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def store(tmp_path: Path, queue: FakeQueue) -> Iterator[Store]:
    database = Database(f"sqlite:///{tmp_path / 'cinelink.db'}")
    database.upgrade()
    yield Store(database, outbox=queue.enqueue)
    database.dispose()


@pytest.fixture
def upkeep(store: Store, queue: FakeQueue) -> Upkeep:
    return Upkeep(store, queue)  # type: ignore[arg-type]


def put(store: Store, **changes: object) -> Recording:
    added = recording(**changes)
    with store.transaction("test.recording") as unit:
        unit.recordings.add(added)
    return added


def now_in(store: Store, recording_id: str = "recording-1") -> Recording:
    with store.reading() as unit:
        return unit.recordings.get(recording_id)


def owe(store: Store, **changes: object) -> Delivery:
    values: dict[str, object] = {
        "id": "2.25.1@pacs", "kind": DeliveryKind.DICOM, "destination": "pacs", "order_id": "order-E1001",
        "recording_id": "recording-1", "sop_uid": "2.25.1", "lane": "pacs/order-E1001", "seq": 1,
        "state": DeliveryState.QUEUED,
    }  # fmt: skip
    delivery = Delivery.model_validate(values | changes)
    with store.transaction("test.delivery") as unit:
        if not unit.orders.of_accession("E1001"):
            unit.orders.save(order(), action="schedule", message_id=None, mapping_version=1)
        unit.deliveries.save(delivery)
    return delivery


@pytest.mark.parametrize(
    ("state", "kind"),
    [(RecordingState.READY, "probe"), (RecordingState.PROBED, "match"), (RecordingState.LINKED, "convert")],
)
def test_a_lost_queue_entry_is_rebuilt(
    store: Store, queue: FakeQueue, upkeep: Upkeep, state: RecordingState, kind: str
) -> None:
    put(store, state=state)
    assert upkeep.reconcile() == 1
    assert queue.tasks == [Task(kind, "recording-1", 1)]


def test_a_task_that_is_queued_or_runs_is_left_alone(store: Store, queue: FakeQueue, upkeep: Upkeep) -> None:
    put(store, state=RecordingState.READY)
    queue.live.add("probe:recording-1:0")
    assert upkeep.reconcile() == 0
    assert queue.tasks == []


def test_what_waits_for_a_person_is_left_alone(store: Store, queue: FakeQueue, upkeep: Upkeep) -> None:
    put(store, state=RecordingState.NEEDS_REVIEW)
    assert upkeep.reconcile() == 0
    assert queue.tasks == []


def test_a_step_that_never_ends_with_an_answer_fails_in_words_instead_of_for_ever(store: Store, upkeep: Upkeep) -> None:
    put(store, state=RecordingState.LINKED, attempt=MOST_RUNS)
    upkeep.reconcile()
    failed = now_in(store)
    assert (failed.state, failed.stage) == (RecordingState.FAILED, "convert")
    assert "log of the engine" in failed.reason


def test_a_lost_delivery_is_rebuilt_once_for_its_lane(store: Store, queue: FakeQueue, upkeep: Upkeep) -> None:
    put(store, state=RecordingState.CONVERTED)
    owe(store)
    owe(store, id="2.25.2@pacs", sop_uid="2.25.2", seq=2)
    assert upkeep.reconcile() == 1
    assert [task.item for task in queue.tasks] == ["2.25.1@pacs"]


def test_a_delivery_is_queued_when_its_time_has_come_and_not_before(
    store: Store, queue: FakeQueue, upkeep: Upkeep
) -> None:
    put(store, state=RecordingState.CONVERTED)
    soon = datetime.now(tz=UTC) + timedelta(hours=1)
    waiting = owe(store, state=DeliveryState.WAITING, next_attempt_at=soon, attempts=1)
    upkeep.wake_due()
    assert queue.tasks == []
    with store.transaction("test.due") as unit:
        unit.deliveries.save(waiting.model_copy(update={"next_attempt_at": datetime.now(tz=UTC)}))
    upkeep.wake_due()
    assert [task.id for task in queue.tasks] == ["deliver:2.25.1@pacs:1"]


@pytest.mark.parametrize(
    ("stage", "state"),
    [("probe", RecordingState.READY), ("convert", RecordingState.LINKED), ("deliver", RecordingState.CONVERTED),
     ("notify", RecordingState.PROVEN)],
)  # fmt: skip
def test_a_failed_recording_goes_on_from_the_stage_that_failed(
    store: Store, upkeep: Upkeep, stage: str, state: RecordingState
) -> None:
    put(store, state=RecordingState.FAILED, stage=stage, order_id="order-E1001", reason="broken")
    again = upkeep.retry("recording-1", ANA)
    assert (again.state, again.reason, again.attempt) == (state, "", 1)
    with store.reading() as unit:
        assert unit.journal.audit_rows(limit=1)[0].actor == "Ana"


def test_a_retry_owes_failed_deliveries_again_with_the_same_words(
    store: Store, queue: FakeQueue, upkeep: Upkeep
) -> None:
    put(store, state=RecordingState.FAILED, stage="notify", order_id="order-E1001")
    owe(store, kind=DeliveryKind.HL7, state=DeliveryState.FAILED, attempts=1, payload="MSH|...", control_id="CL1")
    upkeep.retry("recording-1", ANA)
    with store.reading() as unit:
        owed = unit.deliveries.get("2.25.1@pacs")
    assert (owed.state, owed.payload, owed.control_id) == (DeliveryState.QUEUED, "MSH|...", "CL1")
    assert [task.kind for task in queue.tasks] == ["deliver"]


def test_what_did_not_fail_cannot_be_retried(store: Store, upkeep: Upkeep) -> None:
    put(store, state=RecordingState.REPORTED)
    with pytest.raises(NotAllowed, match="only a failed, held or rejected one"):
        upkeep.retry("recording-1", ANA)
