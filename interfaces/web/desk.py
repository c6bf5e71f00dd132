"""What pages and API may ask and do. The edge declares it; the workflow room implements it over the store."""

from __future__ import annotations

from typing import Protocol

from models.audit import Actor, AuditRow
from models.delivery import Delivery
from models.message import InboundMessage
from models.order import Order
from models.recording import Recording
from models.timeline import RecordingStory, Timeline
from models.value import Value


class DoorHealth(Value):
    """One door, peer or store: whether it works, and one sentence for people."""

    name: str
    ok: bool
    sentence: str


class Health(Value):
    """Whether the engine can take work, door by door, and how much waits.

    Attributes:
        ready: What ``/readyz`` says. A destination that is down does not make the engine unready.
        queues: A count for each kind of waiting thing, named ``<noun> <state>``: ``recordings needs_review``.
    """

    ready: bool
    doors: tuple[DoorHealth, ...] = ()
    queues: dict[str, int] = {}  # noqa: RUF012 - pydantic copies a mutable default for each instance

    def waiting(self, kind: str) -> int:
        """Return the count of one kind; 0 when there is none."""
        return self.queues.get(kind, 0)


class Desk(Protocol):
    """The one thing that the web edge is given. Every method may be called from several threads at once."""

    def authenticate(self, token: str) -> Actor | None:
        """Return who a token belongs to; None for an unknown or revoked one."""

    def orders(self, *, text: str = "", limit: int = 100) -> tuple[Order, ...]:
        """Return the newest orders, or those that a search text names."""

    def order(self, order_id: str) -> Order:
        """Return one order.

        Raises:
            NotFound: No such order.
        """

    def recordings(self, *, state: str = "", limit: int = 100) -> tuple[Recording, ...]:
        """Return the newest recordings, of one state when given."""

    def recording(self, recording_id: str) -> RecordingStory:
        """Return a recording with everything that was decided and done about it.

        Raises:
            NotFound: No such recording.
        """

    def candidates(self, story: RecordingStory) -> tuple[Order, ...]:
        """Return the orders that a recording's verdict names, best first."""

    def timeline(self, accession: str, actor: Actor) -> tuple[Timeline, ...]:
        """Return everything about every order of an accession number, and write the audit row of this view.

        Raises:
            NotFound: No order has this accession number.
        """

    def link(self, recording_id: str, order_id: str, actor: Actor, reason: str) -> Recording:
        """Link a waiting recording to the order that a person chose; writes the audit row.

        Raises:
            NotFound: No such recording or order.
            NotAllowed: The recording does not wait for a person, or the order cannot take it.
        """

    def messages(self, *, limit: int = 100) -> tuple[InboundMessage, ...]:
        """Return the newest inbound messages."""

    def deliveries(self, *, state: str = "", limit: int = 100) -> tuple[Delivery, ...]:
        """Return the deliveries that changed last, of one state when given."""

    def audit(self, *, limit: int = 100) -> tuple[AuditRow, ...]:
        """Return the newest rows of the audit."""

    def audit_view(self, actor: Actor, subject: str, what: str) -> None:
        """Add one row to the audit: who looked at what."""

    def health(self) -> Health:
        """Return the doors and the queues, without patient data."""
