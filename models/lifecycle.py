"""What one request does to one order: pure rules of the order's life (DESIGN 4, clinical.md 2 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from models.errors import OrderConflict
from models.order import (
    STATUS_AFTER,
    TERMINAL,
    Code,
    Order,
    OrderAction,
    OrderRequest,
    OrderStatus,
    order_id,
)
from models.patient import Patient
from models.ranking import plain
from models.value import Value


class Effect(StrEnum):
    """What the request came to."""

    CREATED = "created"
    CHANGED = "changed"
    STALE = "stale"
    IGNORED = "ignored"


class Outcome(Value):
    """The order as it stands after the request, what happened, and one sentence."""

    effect: Effect
    order: Order | None
    detail: str


#: Fields of a request that are taken over as they are; None keeps what we have, "" deletes it.
_TAKEN = (
    "placer",
    "filler",
    "accession",
    "study_uid",
    "requested_procedure_id",
    "scheduled_step_id",
    "procedure",
    "modality",
    "laterality",
    "scheduled_at",
    "station",
    "requester",
    "referrer",
    "performer",
    "reason",
    "visit_number",
)

#: Numbers are merged, never erased.
_NEVER_ERASED = frozenset({"accession", "study_uid", "requested_procedure_id", "scheduled_step_id"})


def person_conflict(known: Patient, said: Patient) -> str:
    """Return why two records of one patient id cannot be the same person, or an empty text (clinical.md 6)."""
    if known.birth_date and said.birth_date and known.birth_date != said.birth_date:
        return "the birth date differs from the one that this patient id has had"
    if known.sex and said.sex and "O" not in (known.sex, said.sex) and known.sex != said.sex:
        return "the sex differs from the one that this patient id has had"
    old, new = plain(known.name.family), plain(said.name.family)
    if old and new and old != new:
        return "the surname differs from the one that this patient id has had"
    return ""


def _status_after(action: OrderAction, current: OrderStatus) -> OrderStatus:
    return STATUS_AFTER.get(action, current)


def _create(request: OrderRequest, action: OrderAction, namesakes: Sequence[Patient], why: str) -> Outcome:
    fields = {name: getattr(request, name) for name in _TAKEN if getattr(request, name) is not None}
    status = _status_after(action, OrderStatus.SCHEDULED)
    reason = why
    conflict = next((text for known in namesakes if (text := person_conflict(known, request.patient))), "")
    if conflict and status not in TERMINAL:
        status, reason = OrderStatus.HELD, f"held: {conflict}; check the record number"
    order = Order(
        id=order_id(request),
        version=1,
        status=status,
        status_reason=reason,
        held_by_us=bool(conflict) and status == OrderStatus.HELD,
        sender=request.sender,
        sent_at=request.sent_at,
        patient=request.patient,
        accession_authority=request.accession_authority,
        study_uid_source="order" if request.study_uid else "",
        **fields,
    )
    known_as = "a cancel that came first is kept" if status in TERMINAL else f"order is {status}"
    return Outcome(effect=Effect.CREATED, order=order, detail=reason or known_as)


def _merged(current: Order, request: OrderRequest) -> dict[str, object]:
    changed: dict[str, object] = {}
    for name in _TAKEN:
        said = getattr(request, name)
        if said is None or (said == "" and name in _NEVER_ERASED):
            continue
        if name == "procedure" and said == Code():
            continue
        if said != getattr(current, name):
            changed[name] = said
    if "study_uid" in changed:
        changed["study_uid_source"] = "order"
    return changed


def _require_same_identity(current: Order, request: OrderRequest) -> None:
    said, known = request.patient.identifier, current.patient.identifier
    if said.value != known.value or (
        said.authority.key and known.authority.key and said.authority.key != known.authority.key
    ):
        raise OrderConflict(
            "this order number belongs to an order of another patient: correct the number or the patient id in PID-3",
            location="PID^1^3",
            code="204",
        )
    if request.study_uid and current.study_uid_source == "order" and request.study_uid != current.study_uid:
        raise OrderConflict(
            "the Study Instance UID differs from the one that this order was scheduled with; it never changes (RAD-13)",
            location="ZDS^1^1",
            code="207",
        )


def _change(current: Order, request: OrderRequest, action: OrderAction, why: str) -> Outcome:
    if request.sent_at and current.sent_at and request.sent_at < current.sent_at:
        return Outcome(
            effect=Effect.STALE, order=current, detail="older than what is known of this order; kept, not applied"
        )
    if current.status in TERMINAL:
        wanted = _status_after(action, current.status)
        if wanted != current.status:
            return Outcome(
                effect=Effect.STALE,
                order=current,
                detail=f"the order is {current.status}; a message does not reopen it: a person decides",
            )
    changes = _merged(current, request)
    changes["status"] = _status_after(action, current.status)
    changes["status_reason"] = current.status_reason if action == OrderAction.UPDATE else why
    if conflict := person_conflict(current.patient, request.patient):
        changes["status"] = OrderStatus.HELD
        changes["status_reason"] = f"held: {conflict}; only ADT changes a known patient"
        changes["held_by_us"] = True
    elif current.held_by_us and action != OrderAction.RELEASE and changes["status"] not in TERMINAL:
        changes["status"], changes["status_reason"] = OrderStatus.HELD, current.status_reason
    else:
        changes["held_by_us"] = False
    changes["sent_at"] = request.sent_at or current.sent_at
    order = current.model_copy(update={**changes, "version": current.version + 1})
    return Outcome(effect=Effect.CHANGED, order=order, detail=order.status_reason or f"order is {order.status}")


def apply_request(
    current: Sequence[Order],
    request: OrderRequest,
    action: OrderAction,
    namesakes: Sequence[Patient],
    why: str = "",
) -> Outcome:
    """Return what a request does.

    Args:
        current: Every order that the request's numbers name.
        request: What one ORC/OBR group says.
        action: From the ``order_control`` table.
        namesakes: The patient as other orders of the same patient id know them.
        why: The reason of a hold, in words.

    Raises:
        OrderConflict: The numbers name two orders, an order of another patient, or another study.
    """
    if len(current) > 1:
        raise OrderConflict(
            f"the numbers name {len(current)} orders (placer and filler do not belong together): send matching numbers",
            location="ORC^1^2",
            code="205",
        )
    if action == OrderAction.IGNORE:
        return Outcome(effect=Effect.IGNORED, order=current[0] if current else None, detail="asks for nothing")
    if not current:
        return _create(request, action, namesakes, why)
    _require_same_identity(current[0], request)
    return _change(current[0], request, action, why)
