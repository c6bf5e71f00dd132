"""The one place that commits: a state change, its history row and the next step's queue entry are one transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from sqlmodel import Session

from models.timeline import Event
from workflow.store.database import Database
from workflow.store.deliveries import Deliveries
from workflow.store.journal import Journal
from workflow.store.mappings import Mappings
from workflow.store.messages import Messages
from workflow.store.nodes import Nodes
from workflow.store.orders import Orders
from workflow.store.recordings import Recordings


@dataclass(frozen=True)
class Task:
    """The next step of something: which handler, for which row, and which run of it.

    Attributes:
        kind: ``probe``, ``match``, ``convert`` or ``deliver``.
        item: Id of the row.
        run: Grows with every deliberate repeat, so that a task is enqueued once and only once.
        lane: Deliveries of one lane never run side by side.
        place: Place in the lane.
    """

    kind: str
    item: str
    run: int
    lane: str = ""
    place: int = 0

    @property
    def id(self) -> str:
        """The execution library's workflow id."""
        return f"{self.kind}:{self.item}:{self.run}"


class Outbox(Protocol):
    """Puts a task into the queue within the caller's transaction."""

    def __call__(self, session: Session, task: Task) -> None:
        """Enqueue; commits or rolls back with the session."""


class CommitHook(Protocol):
    """Is told of every commit by its name; tests use it to die there, metrics to count."""

    def __call__(self, moment: str, name: str) -> None:
        """``moment`` is ``before`` or ``after``."""


def no_hook(moment: str, name: str) -> None:
    """Do nothing."""
    del moment, name


class UnitOfWork:
    """Everything that one transaction can read and write; frozen values go in and come out."""

    def __init__(self, session: Session, outbox: Outbox | None) -> None:
        self._session = session
        self._outbox = outbox
        self.orders = Orders(session)
        self.recordings = Recordings(session)
        self.deliveries = Deliveries(session)
        self.messages = Messages(session)
        self.mappings = Mappings(session)
        self.journal = Journal(session)
        self.nodes = Nodes(session)

    def enqueue(self, task: Task) -> None:
        """Queue the next step; it exists if and only if this transaction commits."""
        if self._outbox is None:
            message = "this store has no queue: open it through the engine"
            raise RuntimeError(message)
        self._session.flush()
        self._outbox(self._session, task)

    def record(
        self,
        action: str,
        detail: str,
        *,
        order_id: str = "",
        recording_id: str = "",
        delivery_id: str = "",
        actor: str = "cinelink",
        data: dict[str, str] | None = None,
    ) -> None:
        """Add one line to the history."""
        self.journal.add_event(
            Event(
                at=datetime.now(tz=UTC),
                action=action,
                detail=detail,
                order_id=order_id,
                recording_id=recording_id,
                delivery_id=delivery_id,
                actor=actor,
                data=data or {},
            )
        )


class Store:
    """Opens transactions on one database."""

    def __init__(self, database: Database, *, outbox: Outbox | None = None, hook: CommitHook = no_hook) -> None:
        self.database = database
        self._outbox = outbox
        self._hook = hook
        # SQLite's busy handler is unfair; one lock in the process keeps the tail short (engine.md, SQLite).
        self._writing = threading.Lock() if database.embedded else None

    def connect_queue(self, outbox: Outbox) -> None:
        """Give the store its queue, once the execution library runs."""
        self._outbox = outbox

    @contextmanager
    def transaction(self, name: str) -> Iterator[UnitOfWork]:
        """Open a write transaction; it commits when the block ends, and rolls back when the block raises.

        Args:
            name: What this commit means, e.g. ``recording.converted``; failure tests and metrics know it by this.
        """
        with self._writing or nullcontext(), Session(self.database.engine) as session:
            yield UnitOfWork(session, self._outbox)
            session.flush()
            self._hook("before", name)
            session.commit()
        self._hook("after", name)

    @contextmanager
    def reading(self) -> Iterator[UnitOfWork]:
        """Open a read-only transaction: one consistent view, and no lock against writers."""
        connection = self.database.engine.connect().execution_options(reading=True)
        with connection, Session(connection) as session:
            yield UnitOfWork(session, None)


Clock = Callable[[], datetime]
