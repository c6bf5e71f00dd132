"""What people and the API may ask and do: the console's Protocol, answered from the store."""

from __future__ import annotations

from collections.abc import Callable

from interfaces.web.desk import DoorHealth, Health
from models.audit import Actor, AuditRow
from models.delivery import Delivery
from models.errors import NotFound
from models.message import InboundMessage
from models.order import Order
from models.recording import Recording
from models.timeline import DeliveryStory, RecordingStory, Timeline
from workflow.matching import Matching
from workflow.proof import chain
from workflow.store.unit_of_work import Store, UnitOfWork

Doors = Callable[[], tuple[DoorHealth, ...]]


class StoreDesk:
    """Implements ``interfaces.web.desk.Desk``."""

    def __init__(self, store: Store, matching: Matching | None = None, doors: Doors | None = None) -> None:
        self._store = store
        self._matching = matching
        self._doors = doors

    # --- who asks ------------------------------------------------------------------------------------------------

    def authenticate(self, token: str) -> Actor | None:
        """Return who a token belongs to."""
        with self._store.reading() as unit:
            return unit.journal.actor_of(token)

    def audit_view(self, actor: Actor, subject: str, what: str) -> None:
        """Add one line to the audit for a view of patient data."""
        with self._store.transaction("audit.view") as unit:
            unit.journal.audit(actor.name, "view", subject, what)

    def audit(self, *, limit: int = 100) -> tuple[AuditRow, ...]:
        """Return the newest lines of the audit."""
        with self._store.reading() as unit:
            return unit.journal.audit_rows(limit=limit)

    # --- lists ---------------------------------------------------------------------------------------------------

    def orders(self, *, text: str = "", limit: int = 100) -> tuple[Order, ...]:
        """Return the newest orders, or those with an identifier that begins with the text."""
        with self._store.reading() as unit:
            return unit.orders.search(text.strip(), limit=limit)

    def recordings(self, *, state: str = "", limit: int = 100) -> tuple[Recording, ...]:
        """Return the newest recordings, of one state when given."""
        with self._store.reading() as unit:
            return unit.recordings.newest(state=state, limit=limit)

    def messages(self, *, limit: int = 100) -> tuple[InboundMessage, ...]:
        """Return the newest messages."""
        with self._store.reading() as unit:
            return unit.messages.newest(limit=limit)

    def deliveries(self, *, state: str = "", limit: int = 100) -> tuple[Delivery, ...]:
        """Return the deliveries that changed last, of one state when given."""
        with self._store.reading() as unit:
            return unit.deliveries.newest(state=state, limit=limit)

    # --- one thing -----------------------------------------------------------------------------------------------

    def recording(self, recording_id: str) -> RecordingStory:
        """Return a recording with everything that was decided and done about it."""
        with self._store.reading() as unit:
            return _story(unit, unit.recordings.get(recording_id))

    def order(self, order_id: str) -> Order:
        """Return one order."""
        with self._store.reading() as unit:
            return unit.orders.get(order_id)

    def candidates(self, story: RecordingStory) -> tuple[Order, ...]:
        """Return the orders that a recording's verdict names, best first."""
        if story.verdict is None:
            return ()
        with self._store.reading() as unit:
            return tuple(unit.orders.get(candidate.order_id) for candidate in story.verdict.candidates)

    def timeline(self, accession: str, actor: Actor) -> tuple[Timeline, ...]:
        """Return everything about every order of an accession number; the view is audited."""
        with self._store.reading() as unit:
            orders = unit.orders.of_accession(accession)
            timelines = tuple(_timeline(unit, order) for order in orders)
        if not timelines:
            raise NotFound(f"no order has the accession number {accession!r}; search with GET /api/v1/orders?text=")
        self.audit_view(actor, f"accession {accession}", "timeline")
        return timelines

    def link(self, recording_id: str, order_id: str, actor: Actor, reason: str) -> Recording:
        """Link a waiting recording to an order that a person chose."""
        if self._matching is None:
            message = "this desk is read-only"
            raise RuntimeError(message)
        return self._matching.link(recording_id, order_id, actor, reason)

    # --- health --------------------------------------------------------------------------------------------------

    def health(self) -> Health:
        """Return the doors, and what waits."""
        with self._store.reading() as unit:
            queues = {f"recordings {state}": count for state, count in unit.recordings.counts().items()}
            queues |= {f"deliveries {state}": count for state, count in unit.deliveries.counts().items()}
            queues |= {f"messages {state}": count for state, count in unit.messages.counts().items()}
            trouble = unit.deliveries.trouble()
        doors = self._doors() if self._doors else ()
        peers = tuple(DoorHealth(name=f"destination {name}", ok=False, sentence=reason) for name, reason in trouble)
        return Health(ready=all(door.ok for door in doors), doors=(*doors, *peers), queues=queues)


def _deliveries(unit: UnitOfWork, owed: tuple[Delivery, ...]) -> tuple[DeliveryStory, ...]:
    return tuple(DeliveryStory(delivery=item, attempts=unit.deliveries.attempts(item.id)) for item in owed)


def _story(unit: UnitOfWork, recording: Recording) -> RecordingStory:
    decision = unit.recordings.decision(recording.id)
    instances = unit.recordings.instances_of(recording.id)
    told = _deliveries(unit, unit.deliveries.of_recording(recording.id))
    events = unit.journal.events(recording.order_id or "-", (recording.id,))
    return RecordingStory(
        recording=recording,
        verdict=decision.verdict,
        plan=decision.plan,
        checks=decision.checks,
        instances=instances,
        proof=chain(recording, instances, [(story.delivery, story.attempts) for story in told], events),
    )


def _timeline(unit: UnitOfWork, order: Order) -> Timeline:
    recordings = unit.recordings.of_order(order.id)
    return Timeline(
        order=order,
        versions=unit.orders.versions(order.id),
        recordings=tuple(_story(unit, recording) for recording in recordings),
        deliveries=_deliveries(unit, unit.deliveries.of_order(order.id)),
        events=unit.journal.events(order.id, tuple(recording.id for recording in recordings)),
    )
