"""Orders come in: bytes committed before the answer, then applied in order for each sender."""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid4

from interfaces.hl7.acks import build_ack
from interfaces.hl7.header import read_header
from interfaces.hl7.mllp import Frame
from interfaces.hl7.orders import read_orders
from models.errors import MappingMiss, MessageRefused
from models.lifecycle import Effect, Outcome, apply_request
from models.mapping import MappingSet
from models.message import Acknowledged, Applied, Header, InboundMessage
from models.order import Order, OrderAction, OrderRequest
from models.recording import ORDER_GRADE, Recording, RecordingState
from workflow.engine import Wake
from workflow.store.unit_of_work import Store, Task, UnitOfWork
from workflow.tables import PublishedTables

log = logging.getLogger("cinelink.intake")

#: Messages that carry orders; every other kind is answered AR, so that its sender routes it elsewhere.
ORDER_KINDS = frozenset({"ORM^O01", "OMG^O19", "OMI^O23"})


#: A message that ends the drain so often is set aside.
MOST_TRIES = 3


class Intake:
    """Takes HL7 messages in and applies them."""

    def __init__(self, store: Store, tables: PublishedTables) -> None:
        self._store = store
        self._tables = tables
        self._wake = Wake()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="message-drain", daemon=True)
        self._tries: Counter[int] = Counter()
        self._owed: dict[int, int] = {}
        self._answers: queue.SimpleQueue[tuple[int, Acknowledged]] = queue.SimpleQueue()

    def start(self) -> None:
        """Begin to apply what is waiting, also from before a crash."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the message at hand."""
        self._stopping.set()
        self._wake.ring()
        self._thread.join(timeout=10)

    # --- receipt: called from the listener's one writer thread -------------------------------------------------

    def receive(self, batch: Sequence[Frame]) -> Sequence[bytes | None]:
        """Commit a batch of messages and return their answers in order (group commit before any ACK)."""
        tables = self._tables.current()
        with self._store.transaction("message.received") as unit:
            kept = [self._keep(unit, frame, tables) for frame in batch]
        self._owed.update(zip(map(id, batch), (message_id for message_id, _ in kept), strict=True))
        self._wake.ring()
        return [answer for _, answer in kept]

    def _keep(self, unit: UnitOfWork, frame: Frame, tables: MappingSet) -> tuple[int, bytes]:
        digest = hashlib.sha256(frame.payload).hexdigest()
        header, refusal = _examine(frame.payload, tables)
        if known := unit.messages.duplicate(header, digest):
            return known.id, known.answer
        if refusal is None:
            answer = build_ack(frame.payload, "AA", control_id=_new_control_id(), at=datetime.now(tz=UTC))
        else:
            answer = build_ack(
                frame.payload,
                "AR" if refusal.rejected else "AE",
                text=str(refusal),
                error_location=refusal.location,
                error_code=refusal.code,
                control_id=_new_control_id(),
                at=datetime.now(tz=UTC),
            )
        message_id = unit.messages.add(
            received_at=datetime.now(tz=UTC),
            peer=frame.peer,
            header=header,
            sha256=digest,
            raw=frame.payload,
            answer=answer,
            applied=Applied.RECEIVED if refusal is None else Applied.REFUSED,
            reason=str(refusal or ""),
        )
        return message_id, answer

    def answered(self, frame: Frame, delivered: bool) -> None:  # noqa: FBT001 - the listener's own signature
        """Note what became of an answer."""
        if message_id := self._owed.pop(id(frame), 0):
            self._answers.put((message_id, Acknowledged.DELIVERED if delivered else Acknowledged.UNDELIVERED))

    def _note_answers(self) -> None:
        """Write down what became of the answers so far, in one commit."""
        noted: dict[Acknowledged, list[int]] = {}
        with suppress(queue.Empty):
            while True:
                message_id, state = self._answers.get_nowait()
                noted.setdefault(state, []).append(message_id)
        if noted:
            with self._store.transaction("message.acknowledged") as unit:
                for state, ids in noted.items():
                    unit.messages.acknowledge(tuple(ids), state)

    def quarantine(self, payload: bytes, peer: str, why: str) -> None:
        """Keep bytes that never became a message, for inspection; nothing is answered."""
        with self._store.transaction("message.quarantined") as unit:
            unit.messages.add(
                received_at=datetime.now(tz=UTC),
                peer=peer,
                header=Header(),
                sha256=hashlib.sha256(payload).hexdigest(),
                raw=payload,
                answer=b"",
                applied=Applied.REFUSED,
                reason=why,
            )

    # --- applying: one thread, in order of arrival ---------------------------------------------------------------

    def _supervise(self) -> None:
        """Keep a drain running: one that ends by an error that nobody foresaw is logged and replaced."""
        while not self._stopping.is_set():
            drain = threading.Thread(target=self._drain_forever, name="message-drain-run", daemon=True)
            drain.start()
            drain.join()

    def _drain_forever(self) -> None:
        while not self._stopping.is_set():
            if not self.drain():
                self._wake.wait(1.0)

    def drain(self) -> int:
        """Apply what is waiting, in order of arrival; return how many messages were looked at."""
        self._note_answers()
        with self._store.reading() as unit:
            waiting = unit.messages.waiting()
        for message in waiting:
            self._tries[message.id] += 1
            if self._tries[message.id] > MOST_TRIES:
                self._give_up(message)
            else:
                self.apply(message)
                del self._tries[message.id]
        return len(waiting)

    def _give_up(self, message: InboundMessage) -> None:
        """Set a message aside that breaks us each time, so that the ones behind it are applied."""
        with self._store.transaction("message.failed") as unit:
            reason = "it could not be applied, for a fault of ours; the log of the engine says why. Reprocess it later"
            unit.messages.settle(message.id, Applied.FAILED, reason=reason)
        log.error("message set aside", extra={"action": "message.failed", "message_id": message.id})

    def apply(self, message: InboundMessage) -> None:
        """Apply one message: its orders, their history and its own state are one commit."""
        tables = self._tables.current()
        try:
            sender = tables.sender(message.header.sending_application, message.header.sending_facility)
            requests = read_orders(message.raw, sender)
            with self._store.transaction("message.applied") as unit:
                changed = [self._apply_request(unit, request, tables, message.id) for request in requests]
                ids = tuple(dict.fromkeys(order.id for order in changed if order))
                unit.messages.settle(message.id, Applied.APPLIED, order_ids=ids)
        except MessageRefused as refusal:
            with self._store.transaction("message.refused") as unit:
                unit.messages.settle(message.id, Applied.REFUSED, reason=str(refusal))
            log.warning("message refused", extra={"action": "message.refused", "message_id": message.id})

    def _apply_request(
        self, unit: UnitOfWork, request: OrderRequest, tables: MappingSet, message_id: int
    ) -> Order | None:
        current = unit.orders.named_by(request)
        namesakes = [order.patient for order in unit.orders.of_patient(request.patient.identifier.key)]
        action, why = _action(tables, request)
        outcome = apply_request(current, request, action, namesakes, why)
        if outcome.order is None:
            return None
        if outcome.effect in {Effect.CREATED, Effect.CHANGED}:
            unit.orders.save(outcome.order, action=action.value, message_id=message_id, mapping_version=tables.version)
            self._wake_recordings(unit, outcome.order)
        _record(unit, outcome, message_id)
        return outcome.order

    @staticmethod
    def _wake_recordings(unit: UnitOfWork, order: Order) -> None:
        """A late or released order finds the recordings that wait for it."""
        for recording in unit.recordings.in_states(frozenset({RecordingState.NEEDS_REVIEW})):
            if not recording.order_id and _names(recording, order):
                again = recording.model_copy(update={"attempt": recording.attempt + 1})
                unit.recordings.move(recording, again)
                unit.enqueue(Task("match", recording.id, again.attempt))


def _new_control_id() -> str:
    return f"CL{uuid4().hex[:18].upper()}"


def _examine(payload: bytes, tables: MappingSet) -> tuple[Header, MessageRefused | None]:
    """Read a message far enough to answer it: is it HL7, is it for us, can its orders be read?"""
    header = Header()
    try:
        header = read_header(payload)
        sender = tables.sender(header.sending_application, header.sending_facility)
        _require_wanted(header, sender.processing_ids.split("|"))
        read_orders(payload, sender)
    except MessageRefused as refusal:
        return header, refusal
    return header, None


def _require_wanted(header: Header, processing_ids: list[str]) -> None:
    if header.kind not in ORDER_KINDS:
        raise MessageRefused(
            f"message type {header.kind or '(empty)'} carries no imaging order: send ORM^O01, OMG^O19 or OMI^O23",
            location="MSH^1^9",
            code="200",
            rejected=True,
        )
    if header.processing_id and header.processing_id not in processing_ids:
        raise MessageRefused(
            f"processing id {header.processing_id!r} is not taken from this sender (senders table, processing_ids)",
            location="MSH^1^11",
            code="202",
            rejected=True,
        )


def _action(tables: MappingSet, request: OrderRequest) -> tuple[OrderAction, str]:
    try:
        return tables.action(request.control, request.order_status), ""
    except MappingMiss as miss:
        return OrderAction.HOLD, str(miss)


def _names(recording: Recording, order: Order) -> bool:
    numbers = {
        order.accession,
        order.study_uid,
        order.scheduled_step_id,
        order.placer.value if order.placer else "",
        order.filler.value if order.filler else "",
    } - {""}
    return any(claim.key in ORDER_GRADE and claim.value.strip() in numbers for claim in recording.claims)


def _record(unit: UnitOfWork, outcome: Outcome, message_id: int) -> None:
    if outcome.order is None:
        return
    unit.record(
        f"order.{outcome.effect}",
        f"{outcome.detail} (version {outcome.order.version})",
        order_id=outcome.order.id,
        data={"message": str(message_id), "status": outcome.order.status},
    )
