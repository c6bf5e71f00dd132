"""Orders: one id whatever happens to the message, numbers that are equal only within one authority, states that end."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.order import NOT_LINKABLE, STATUS_AFTER, TERMINAL, Order, OrderAction, OrderStatus, order_id
from models.patient import Authority, Identifier, PersonName
from tests.samples import EHR, RIS, order, patient, request


def test_an_order_keeps_its_id_when_everything_but_its_number_changes() -> None:
    changed = request(
        control="XO", patient=patient("MRN9", "Other"), accession="E2", study_uid="2.25.43", station="ENDO2",
        placer=Identifier(value="P9", authority=EHR), filler=Identifier(value="FE1001", authority=RIS),
    )  # fmt: skip
    assert order_id(changed) == order_id(request())


def test_the_id_stays_what_it_was_in_earlier_versions() -> None:
    """A changed derivation would make a second order of every message that is replayed after an upgrade."""
    assert order_id(request()) == "b658a645-092f-52da-b65e-cc12aeffe4b2"


def test_the_filler_number_names_an_order_before_the_placer_number_and_that_before_the_accession() -> None:
    both, placer, neither = request(), request(filler=None), request(filler=None, placer=None)
    assert len({order_id(both), order_id(placer), order_id(neither)}) == 3
    assert order_id(both) == order_id(both.model_copy(update={"placer": None, "accession": None}))
    assert order_id(placer) == order_id(placer.model_copy(update={"accession": None}))


@pytest.mark.parametrize(
    "change",
    [
        {"filler": Identifier(value="F2", authority=RIS)},
        {"filler": Identifier(value="FE1001", authority=EHR)},
        {"requested_procedure_id": "RP2"},
    ],
    ids=["another number", "the same number of another authority", "another procedure of the same number"],
)
def test_what_makes_another_order_has_another_id(change: dict[str, object]) -> None:
    assert order_id(request(**change)) != order_id(request())


def test_without_order_numbers_the_same_accession_of_two_senders_is_two_orders() -> None:
    bare = {"filler": None, "placer": None}
    assert order_id(request(sender=RIS, **bare)) != order_id(request(sender=EHR, **bare))


@given(st.text(max_size=30), st.text(max_size=30))
def test_the_id_is_a_uuid_whatever_the_numbers_hold(filler: str, procedure: str) -> None:
    named = request(filler=Identifier(value=filler), requested_procedure_id=procedure)
    assert str(UUID(order_id(named))) == order_id(named)


def test_every_action_that_is_not_about_content_leads_to_one_state() -> None:
    assert set(OrderAction) - set(STATUS_AFTER) == {OrderAction.UPDATE, OrderAction.IGNORE}
    assert set(STATUS_AFTER.values()) == set(OrderStatus)


def test_no_automatic_link_to_what_is_held_or_will_not_happen_but_to_what_is_done() -> None:
    assert {OrderStatus.HELD, OrderStatus.CANCELLED, OrderStatus.DISCONTINUED} == NOT_LINKABLE
    assert OrderStatus.COMPLETED in TERMINAL - NOT_LINKABLE


def test_an_order_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        order().accession = "E2"  # type: ignore[misc]


def test_an_order_comes_back_from_its_text_as_it_was() -> None:
    assert Order.model_validate_json(order().json_text()) == order()


def test_a_field_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError, match="extra"):
        order(acession="E1")


def test_numbers_are_equal_only_within_one_authority() -> None:
    keys = {Identifier(value="1", authority=Authority(namespace=name)).key for name in ("A", "B", "")}
    assert keys == {"A|1", "B|1", "|1"}


def test_an_authority_is_known_by_its_namespace_else_by_its_universal_id() -> None:
    assert Authority(namespace="A", universal_id="2.999").key == "A"
    assert Authority(universal_id="2.999").key == "2.999"


@pytest.mark.parametrize(
    ("name", "dicom"),
    [
        (PersonName(family="Muster", given="Ana"), "Muster^Ana"),
        (PersonName(family="Muster", suffix="III"), "Muster^^^^III"),
        (PersonName(), ""),
        (PersonName(family="A^B=C\\D"), "A B C D"),
    ],
)
def test_a_name_is_five_components_and_nothing_in_it_parts_them(name: PersonName, dicom: str) -> None:
    assert name.dicom() == dicom


def test_a_name_reads_as_people_say_it() -> None:
    assert PersonName(family="Muster", given="Ana", prefix="Dr").readable() == "Dr Ana Muster"


def test_a_filler_and_a_placer_of_the_same_number_are_two_orders() -> None:
    placer = request(filler=None, placer=Identifier(value="1001"), accession=None)
    filler = request(filler=Identifier(value="1001"), placer=None, accession=None)
    assert order_id(placer) != order_id(filler)


def test_the_same_bare_number_of_two_senders_is_two_orders() -> None:
    bare = {"filler": Identifier(value="1001"), "placer": None}
    assert order_id(request(**bare)) != order_id(request(**bare, sender=Authority(namespace="OTHER")))
