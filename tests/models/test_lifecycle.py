"""Promise 1 and 2: what a message may do to an order, and what it may never do (clinical.md 2 and 6)."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from models.errors import OrderConflict
from models.lifecycle import Effect, apply_request
from models.order import OrderAction, OrderStatus
from tests.samples import NOW, order, patient, request

LATER = NOW + timedelta(minutes=5)


def test_a_new_order_is_scheduled_and_keeps_the_study_uid_that_came_with_it() -> None:
    outcome = apply_request((), request(), OrderAction.SCHEDULE, ())
    assert outcome.order is not None
    assert (outcome.order.status, outcome.order.study_uid_source) == (OrderStatus.SCHEDULED, "order")


def test_the_same_first_message_always_gives_the_same_order_id() -> None:
    first, again = (apply_request((), request(), OrderAction.SCHEDULE, ()).order for _ in range(2))
    assert first == again


def test_a_cancel_for_an_unknown_order_is_kept_so_that_a_late_order_does_not_revive_it() -> None:
    tombstone = apply_request((), request(), OrderAction.CANCEL, ()).order
    assert tombstone is not None
    late = apply_request((tombstone,), request(sent_at=NOW - timedelta(hours=1)), OrderAction.SCHEDULE, ())
    assert late.effect == Effect.STALE
    newer = apply_request((tombstone,), request(sent_at=LATER), OrderAction.SCHEDULE, ())
    assert newer.effect == Effect.STALE
    assert "a person decides" in newer.detail


def test_an_older_message_never_undoes_a_newer_one() -> None:
    current = order(sent_at=LATER, station="ENDO2")
    outcome = apply_request((current,), request(), OrderAction.UPDATE, ())
    assert (outcome.effect, outcome.order) == (Effect.STALE, current)


def test_an_update_keeps_what_was_not_sent_and_never_erases_a_number() -> None:
    said = request(sent_at=LATER, accession="", study_uid=None, station="ENDO2", scheduled_at=None)
    changed = apply_request((order(sent_at=NOW),), said, OrderAction.UPDATE, ()).order
    assert changed is not None
    assert (changed.accession, changed.study_uid, changed.station) == ("E1001", "2.25.42", "ENDO2")
    assert (changed.scheduled_at, changed.version) == (NOW, 2)


def test_an_order_of_another_patient_is_refused() -> None:
    with pytest.raises(OrderConflict, match="another patient"):
        apply_request((order(),), request(patient=patient("MRN9")), OrderAction.UPDATE, ())


def test_numbers_that_name_two_orders_are_refused() -> None:
    with pytest.raises(OrderConflict, match="name 2 orders"):
        apply_request((order(), order("E1002")), request(), OrderAction.UPDATE, ())


def test_another_study_uid_for_a_known_order_is_refused() -> None:
    with pytest.raises(OrderConflict, match="Study Instance UID"):
        apply_request((order(),), request(study_uid="2.25.43"), OrderAction.UPDATE, ())


@pytest.mark.parametrize("other", [patient(birth=date(1971, 1, 2)), patient(family="Andersen")])
def test_a_new_order_for_a_known_patient_id_with_another_identity_is_held(other: object) -> None:
    held = apply_request((), request(patient=other), OrderAction.SCHEDULE, (patient(),)).order
    assert held is not None
    assert held.status == OrderStatus.HELD
    assert "check the record number" in held.status_reason


def test_an_update_that_disagrees_with_the_known_patient_holds_the_order_and_changes_no_demographics() -> None:
    said = request(sent_at=LATER, patient=patient(family="Andersen"))
    held = apply_request((order(sent_at=NOW),), said, OrderAction.UPDATE, ()).order
    assert held is not None
    assert (held.status, held.patient.name.family) == (OrderStatus.HELD, "Muster")


def test_a_hold_for_an_identity_conflict_is_not_lifted_by_sending_the_order_again() -> None:
    """A misused record number stays misused when the same order comes twice; a release, or a cancel, ends it."""
    wrong = patient(family="Andersen")
    held = apply_request((), request(patient=wrong), OrderAction.SCHEDULE, (patient(),)).order
    assert held is not None
    again = request(patient=wrong, sent_at=LATER)
    repeated = apply_request((held,), again, OrderAction.SCHEDULE, (patient(), wrong)).order
    assert repeated is not None
    assert (repeated.status, repeated.status_reason) == (OrderStatus.HELD, held.status_reason)
    released = apply_request((held,), again, OrderAction.RELEASE, ()).order
    cancelled = apply_request((held,), again, OrderAction.CANCEL, ()).order
    assert released is not None
    assert cancelled is not None
    assert (released.status, cancelled.status) == (OrderStatus.SCHEDULED, OrderStatus.CANCELLED)


def test_hold_and_release() -> None:
    held = apply_request((order(sent_at=NOW),), request(sent_at=LATER), OrderAction.HOLD, (), "pair is unknown").order
    assert held is not None
    assert (held.status, held.status_reason) == (OrderStatus.HELD, "pair is unknown")
    again = request(sent_at=LATER + timedelta(minutes=1))
    released = apply_request((held,), again, OrderAction.RELEASE, ()).order
    assert released is not None
    assert (released.status, released.status_reason) == (OrderStatus.SCHEDULED, "")


def test_media_complete_survives_an_update() -> None:
    current = order(sent_at=NOW, media_complete=True)
    changed = apply_request((current,), request(sent_at=LATER, station="OR1"), OrderAction.UPDATE, ()).order
    assert changed is not None
    assert changed.media_complete
