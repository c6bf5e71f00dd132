"""Execution: the only module that knows the execution library (DBOS 3.4; `reference/engine.md` holds its traps).

State is ours. A task is a durable queue row that says "look at this row again"; its handler reads our state, does one
step and commits state, history and next task together. A task that runs twice finds the state moved on and does
nothing.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import IO

from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer, EnqueueOptions
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from models.errors import SettingsError
from workflow.store.database import Database
from workflow.store.unit_of_work import Store, Task

log = logging.getLogger("cinelink.engine")

Handler = Callable[[str], None]

#: Every task kind runs in the queue of its weight: converting is bound by cores, the rest by waiting.
QUEUES = {"probe": "convert", "match": "tick", "convert": "convert", "deliver": "deliver"}

#: Seconds between heart beats, and of silence after which a process counts as dead.
BEAT_SECONDS = 2
DEAD_SECONDS = 10

#: Pinned, because the default is a hash of the source, and an upgrade would strand waiting work.
APPLICATION_VERSION = "1"


def _retry_database_trouble(error: BaseException) -> bool:
    return isinstance(error, DBAPIError)


class Queue:
    """The durable queues: put a task in, within the caller's transaction, from any process."""

    def __init__(self, database: Database) -> None:
        self._client = DBOSClient(
            system_database_engine=database.execution_engine, serializer=DBOSPortableJSONSerializer()
        )

    def enqueue(self, session: Session, task: Task) -> None:
        """Queue a task within the caller's transaction; a task of the same id is queued once only."""
        options: EnqueueOptions = {
            "workflow_name": "task",
            "queue_name": QUEUES[task.kind],
            "workflow_id": task.id,
        }
        if task.lane:
            options["queue_partition_key"] = task.lane
            options["priority"] = max(1, task.place)
        self._client.enqueue_in_transaction(session, options, task.kind, task.item)

    def is_live(self, task: Task) -> bool:
        """Say whether a task is queued or running."""
        found = self._client.list_workflows(workflow_ids=[task.id], load_input=False, load_output=False)
        return any(workflow.status in {"ENQUEUED", "PENDING"} for workflow in found)

    def forget_finished(self, *, before: datetime) -> None:
        """Delete finished queue rows of the past; our own history stays."""
        finished = self._client.list_workflows(
            status=["SUCCESS", "ERROR", "CANCELLED"],
            completed_before=before.isoformat(),
            limit=5000,
            load_input=False,
            load_output=False,
        )
        if finished:
            self._client.delete_workflows([workflow.workflow_id for workflow in finished])


class Engine:
    """Runs tasks, survives kill -9 at any instruction, and takes over the work of processes that died."""

    def __init__(self, database: Database, store: Store, *, workers: int) -> None:
        self._database = database
        self._store = store
        self._workers = workers
        self._lock: IO[str] | None = None
        self._healthy_since: datetime | None = None
        #: Never used again, so that a late process can never be mistaken for this one.
        self.node_id = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"

    def start(self, handlers: Mapping[str, Handler]) -> None:
        """Launch: join the living, take over the work of the dead, and begin to take tasks."""
        self._take_lock()
        self._register(handlers)
        DBOS(
            config=DBOSConfig(
                name="cinelink",
                system_database_engine=self._database.execution_engine,
                serializer=DBOSPortableJSONSerializer(),
                application_version=APPLICATION_VERSION,
                executor_id=self.node_id,
                log_level="ERROR",
            )
        )
        DBOS.listen_queues(sorted(set(QUEUES.values())))
        with self._store.transaction("node.joined") as unit:
            unit.nodes.join(self.node_id, datetime.now(tz=UTC))
        DBOS.launch()
        DBOS.register_queue("convert", worker_concurrency=self._workers, polling_interval_sec=0.2)
        DBOS.register_queue("deliver", partition_concurrency=1, polling_interval_sec=0.2)
        DBOS.register_queue("tick", worker_concurrency=4, polling_interval_sec=0.2)
        self._store.connect_queue(Queue(self._database).enqueue)
        self.reap()

    def stop(self) -> None:
        """Stop taking tasks; what runs is taken over at the next start."""
        DBOS.destroy(workflow_completion_timeout_sec=2)
        if self._lock:
            self._lock.close()

    def _take_lock(self) -> None:
        """Refuse a second process on one SQLite file: it is one process by design (DESIGN 5)."""
        if self._database.file is None:
            return
        self._lock = self._database.file.with_suffix(".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SettingsError(
                f"another Cinelink already runs on {self._database.file}: stop it, or use PostgreSQL"
            ) from error

    def _register(self, handlers: Mapping[str, Handler]) -> None:
        @DBOS.step(
            name="handle",
            retries_allowed=True,
            max_attempts=40,
            interval_seconds=0.2,
            backoff_rate=1.3,
            should_retry=_retry_database_trouble,
        )
        def handle(kind: str, item: str) -> None:
            handlers[kind](item)

        @DBOS.workflow(name="task")
        def task(kind: str, item: str) -> None:
            handle(kind, item)

    def beat(self) -> None:
        """Note that this process lives; when others declared it dead, end at once: its work is theirs now."""
        now = datetime.now(tz=UTC)
        try:
            with self._store.transaction("node.beat") as unit:
                alive = unit.nodes.beat(self.node_id, now)
        except DBAPIError:
            self._healthy_since = None
            return
        if not alive:
            log.error("declared dead by another process: stopping", extra={"action": "node.fenced"})
            os._exit(70)
        self._healthy_since = self._healthy_since or now

    def reap(self) -> None:
        """Take over the work of processes that are dead. A database outage must not look like everybody's death."""
        now = datetime.now(tz=UTC)
        silence = timedelta(seconds=DEAD_SECONDS)
        if self._database.embedded:
            before = now + silence
        elif self._healthy_since is None or now - self._healthy_since < silence:
            return
        else:
            before = now - silence
        with self._store.transaction("node.reaped") as unit:
            dead = unit.nodes.declare_dead(but=self.node_id, before=before)
        if dead:
            # Private but the only atomic take-over (engine.md); contract tests guard it against an upgrade.
            DBOS._recover_pending_workflows(list(dead))  # noqa: SLF001 - as said


class Wake:
    """A bell between threads: ring it, and whoever waits goes on."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ring(self) -> None:
        """Wake the waiter."""
        self._event.set()

    def wait(self, seconds: float) -> None:
        """Wait for the bell, or at the most so long."""
        with suppress(RuntimeError):
            self._event.wait(seconds)
        self._event.clear()
