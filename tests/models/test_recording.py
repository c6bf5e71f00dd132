"""Recordings: what may follow what, so that none is lost on a state that nothing leads out of."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest

from models.errors import NotAllowed
from models.recording import LEGAL, ORDER_GRADE, Recording, RecordingState, require_transition
from tests.samples import claim, facts, recording

S = RecordingState


def test_the_main_job_is_legal_from_arrival_to_report() -> None:
    journey = [S.ARRIVING, S.READY, S.PROBED, S.LINKED, S.CONVERTED, S.STORED, S.PROVEN, S.REPORTED]
    for old, new in pairwise(journey):
        require_transition(old, new)


@pytest.mark.parametrize("old", RecordingState)
@pytest.mark.parametrize("new", RecordingState)
def test_a_step_is_taken_when_it_is_legal_and_refused_in_words_when_it_is_not(old: S, new: S) -> None:
    if new in LEGAL[old]:
        require_transition(old, new)
        return
    with pytest.raises(NotAllowed, match=f"is {old} cannot become {new}; look at its timeline"):
        require_transition(old, new)


def test_every_state_has_its_rules_and_can_be_reached() -> None:
    assert set(LEGAL) == set(S)
    assert set().union(*LEGAL.values()) == set(S) - {S.ARRIVING}


def test_nothing_ends_but_what_is_reported_or_was_there_before() -> None:
    assert {state for state, after in LEGAL.items() if not after} == {S.REPORTED, S.DUPLICATE}


def test_nothing_is_reported_that_was_not_proven() -> None:
    assert {state for state, after in LEGAL.items() if S.REPORTED in after} == {S.PROVEN}


def test_nothing_is_proven_that_was_not_stored_before() -> None:
    """A failed one may be tried again at the stage that failed, never further on."""
    assert {state for state, after in LEGAL.items() if S.PROVEN in after} == {S.STORED, S.FAILED}


def test_nothing_is_converted_without_a_link() -> None:
    assert {state for state, after in LEGAL.items() if S.CONVERTED in after} == {S.LINKED, S.FAILED}


def test_nothing_is_linked_without_a_probe_or_a_person() -> None:
    assert {state for state, after in LEGAL.items() if S.LINKED in after} == {
        S.PROBED, S.NEEDS_REVIEW, S.HELD, S.FAILED,
    }  # fmt: skip


def test_a_recording_that_waits_for_a_person_never_goes_on_by_itself() -> None:
    assert LEGAL[S.NEEDS_REVIEW] == {S.LINKED, S.REJECTED}


def test_once_it_is_proven_a_recording_does_not_go_back() -> None:
    assert LEGAL[S.PROVEN] == {S.REPORTED, S.FAILED}


def test_no_state_follows_itself() -> None:
    assert [state for state, after in LEGAL.items() if state in after] == []


@pytest.mark.parametrize(("fps", "rate"), [("30000/1001", Fraction(30000, 1001)), ("25/1", 25), ("25", 25)])
def test_the_rate_is_exact(fps: str, rate: Fraction) -> None:
    assert facts(fps=fps).rate == rate


def test_a_patient_id_alone_never_names_an_order() -> None:
    assert {"accession", "placer", "filler", "study_uid", "scheduled_step_id"} == ORDER_GRADE


def test_a_recording_comes_back_from_its_text_as_it_was() -> None:
    whole = recording(claim("accession", "E1001"), doubts=("the sidecar names another file",))
    assert Recording.model_validate_json(whole.json_text()) == whole
