"""Promise 1, never the wrong patient: what links by itself, and what always goes to a person (clinical.md 3)."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.mapping import StationRow
from models.match import MatchRule, Verdict, VerdictKind
from models.order import Order, OrderStatus
from models.ranking import edit_distance, rank
from models.recording import Claim, Recording
from tests.samples import NOW, STATION, claim, evidence_rows, facts, order, patient, recording


def judge(recorded: Recording, *orders: Order, station: StationRow | None = STATION) -> Verdict:
    return rank(recorded, orders, station=station, evidence_rows=evidence_rows(), rule=MatchRule(), mapping_version=7)


def reasons(verdict: Verdict) -> str:
    return "; ".join(verdict.reasons)


def test_accession_in_the_file_name_and_the_moment_of_arrival_link() -> None:
    verdict = judge(recording(claim("accession", "E1001")), order())
    assert (verdict.kind, verdict.order_id, verdict.mapping_version) == (VerdictKind.LINK, "order-E1001", 7)
    assert verdict.probability > 0.999
    assert "the file name carries the order's accession" in reasons(verdict)


def test_accession_alone_asks_a_person() -> None:
    verdict = judge(recording(claim("accession", "E1001")), order(scheduled_at=None))
    assert verdict.kind == VerdictKind.REVIEW
    assert "no second, independent source" in reasons(verdict)


def test_name_and_birth_date_written_by_the_same_login_are_no_second_source() -> None:
    claims = (claim("accession", "E1001"), claim("family", "Muster"), claim("birth_date", "19700102"))
    assert judge(recording(*claims), order(scheduled_at=None)).kind == VerdictKind.REVIEW


def test_name_and_birth_date_from_another_source_support_the_identifier() -> None:
    claims = (
        claim("accession", "E1001"),
        claim("family", "MUSTER", source="sidecar", group="sidecar"),
        claim("birth_date", "1970-01-02", source="sidecar", group="sidecar"),
    )
    assert judge(recording(*claims), order(scheduled_at=None)).kind == VerdictKind.LINK


def test_patient_id_and_time_never_pick_an_order() -> None:
    verdict = judge(recording(claim("patient_id", "MRN0042")), order())
    assert verdict.kind == VerdictKind.REVIEW
    assert "no order-grade identifier" in reasons(verdict)


def test_station_and_time_alone_ask_a_person() -> None:
    assert judge(recording(), order()).kind == VerdictKind.REVIEW


def test_station_and_time_link_only_where_opted_in_and_after_a_start_event() -> None:
    opted = STATION.model_copy(update={"station_and_time_link": True})
    assert judge(recording(), order(), station=opted).kind == VerdictKind.REVIEW
    started = order(status=OrderStatus.IN_PROGRESS)
    assert "no order-grade identifier" not in reasons(judge(recording(), started, station=opted))


@pytest.mark.parametrize(
    "other",
    [
        claim("accession", "E9999", source="sidecar"),
        claim("patient_id", "MRN9999", source="sidecar"),
        claim("birth_date", "19800101", source="sidecar"),
        claim("family", "Andersen", source="sidecar"),
        claim("study_uid", "2.25.43", source="sidecar"),
    ],
)
def test_an_identifier_that_disagrees_in_any_source_asks_a_person(other: Claim) -> None:
    verdict = judge(recording(claim("accession", "E1001"), other), order())
    assert verdict.kind == VerdictKind.REVIEW


@pytest.mark.parametrize("status", [OrderStatus.HELD, OrderStatus.CANCELLED, OrderStatus.DISCONTINUED])
def test_a_held_or_cancelled_order_asks_a_person(status: OrderStatus) -> None:
    verdict = judge(recording(claim("accession", "E1001")), order(status=status))
    assert verdict.kind == VerdictKind.REVIEW
    assert str(status) in reasons(verdict)


def test_a_completed_order_is_a_normal_candidate() -> None:
    assert judge(recording(claim("accession", "E1001")), order(status=OrderStatus.COMPLETED)).kind == VerdictKind.LINK


def test_two_orders_of_one_accession_ask_a_person() -> None:
    twins = (order(), order(id="order-2", requested_procedure_id="RP2"))
    verdict = judge(recording(claim("accession", "E1001")), *twins)
    assert verdict.kind == VerdictKind.REVIEW
    assert "too close" in reasons(verdict)


def test_an_identifier_decides_between_two_orders_in_one_slot() -> None:
    other = order("E1002", patient=patient("MRN7", "Muster", date(1980, 1, 1)))
    verdict = judge(recording(claim("accession", "E1001")), order(), other)
    assert (verdict.kind, verdict.order_id) == (VerdictKind.LINK, "order-E1001")


def test_a_recording_from_another_room_asks_a_person() -> None:
    verdict = judge(recording(claim("accession", "E1001"), station="OR1"), order())
    assert verdict.kind == VerdictKind.REVIEW


def test_a_clock_that_disagrees_with_the_arrival_is_no_second_source() -> None:
    odd = facts(created_at=NOW - timedelta(days=400))
    assert judge(recording(claim("accession", "E1001"), facts=odd), order()).kind == VerdictKind.REVIEW


def test_a_recorder_left_on_the_previous_patient_asks_a_person() -> None:
    """The file names the order of 10:00, it comes at 12:20, and at 12:00 another patient was due in this room."""
    previous = order("E1001", scheduled_at=NOW)
    present = order("E1002", patient=patient("MRN7", "Andersen"), scheduled_at=NOW + timedelta(hours=2))
    late = recording(claim("accession", "E1001"), seen_at=NOW + timedelta(hours=2, minutes=20))
    verdict = judge(late, previous, present)
    assert verdict.kind == VerdictKind.REVIEW
    assert "was the recorder switched over?" in reasons(verdict)
    assert judge(late, previous).kind == VerdictKind.LINK


def test_an_unreadable_sidecar_is_a_doubt_because_it_might_contradict() -> None:
    odd = recording(claim("accession", "E1001"), doubts=("the sidecar is no JSON",))
    assert judge(odd, order()).kind == VerdictKind.REVIEW


def test_no_candidate_asks_a_person_in_words() -> None:
    verdict = judge(recording(claim("accession", "E1001")))
    assert (verdict.kind, verdict.none_probability) == (VerdictKind.REVIEW, 1.0)
    assert "no order fits" in reasons(verdict)


def test_probabilities_of_all_candidates_and_of_none_sum_to_one() -> None:
    verdict = judge(recording(claim("patient_id", "MRN0042")), order(), order("E1002"), order("E1003"))
    total = verdict.none_probability + sum(candidate.probability for candidate in verdict.candidates)
    assert total == pytest.approx(1)


_KEYS = st.sampled_from(["accession", "placer", "filler", "study_uid", "patient_id", "family", "birth_date"])
_VALUES = st.sampled_from(["E1001", "PE1001", "FE1001", "2.25.42", "MRN0042", "Muster", "19700102", "other"])


@given(st.lists(st.tuples(_KEYS, _VALUES), max_size=5))
def test_nothing_links_without_an_order_grade_identifier_and_never_against_a_contradiction(
    pairs: list[tuple[str, str]],
) -> None:
    verdict = judge(recording(*(claim(key, value) for key, value in pairs)), order(), order("E1002"))
    if verdict.kind == VerdictKind.LINK:
        best = verdict.candidates[0]
        grade = {"accession", "placer", "filler", "study_uid"}
        assert any(piece.signal in grade and piece.outcome == "agrees" for piece in best.evidence)
        assert not any(piece.contradiction for piece in best.evidence)


def test_edit_distance_counts_single_letters() -> None:
    assert (edit_distance("muster", "mustre"), edit_distance("muster", "muster"), edit_distance("", "ab")) == (2, 0, 2)
