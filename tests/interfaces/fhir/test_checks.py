from __future__ import annotations

from typing import Any

import pytest

from interfaces.fhir.checks import faults
from interfaces.fhir.identifiers import condition, search_token
from interfaces.fhir.merge import merged
from interfaces.fhir.resources import build_resources
from tests.interfaces.fhir.notices import notice

STUDY, PROCEDURE = build_resources(notice("1", with_procedure=True))


def test_what_we_build_is_sound() -> None:
    assert not faults(STUDY)
    assert not faults(PROCEDURE)


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ({**STUDY, "status": "banana"}, "required value set"),
        ({**STUDY, "subject": None}, "empty"),
        ({**STUDY, "description": "  "}, "empty"),
        ({**STUDY, "basedOn": []}, "empty"),
        ({**STUDY, "endpoint": [{}]}, "empty"),
        ({**STUDY, "studyInstanceUID": "2.25.1"}, "studyInstanceUID"),
        ({**STUDY, "modality": [{"coding": [{"code": "ES"}]}]}, "coding"),
        ({name: value for name, value in STUDY.items() if name != "subject"}, "subject"),
        ({**STUDY, "started": "2026-03-01T09:10:00"}, "started"),
        (
            {**PROCEDURE, "performedPeriod": {"start": "2026-03-01T09:10:00Z", "end": "2026-03-01T09:00:00Z"}},
            "ends before it starts",
        ),
        ({"resourceType": "Banana"}, "no FHIR R4 resource"),
        ({}, "no FHIR R4 resource"),
    ],
)
def test_what_fhir_does_not_allow_is_found(resource: dict[str, Any], said: str) -> None:
    assert any(said in fault for fault in faults(resource))


def test_search_values_are_escaped_and_then_encoded() -> None:
    identifier = {"system": "urn:s", "value": "A,1|2$3\\4"}
    assert search_token(identifier) == r"urn:s|A\,1\|2\$3\\4"
    assert condition(identifier) == "identifier=urn%3As%7CA%5C%2C1%5C%7C2%5C%243%5C%5C4"


def test_merging_what_is_there_changes_nothing() -> None:
    assert merged(STUDY, STUDY) == STUDY


def test_counts_of_unlisted_stills_never_fall() -> None:
    held = {**STUDY, "numberOfSeries": 4, "numberOfInstances": 60, "series": []}
    study = merged(held, STUDY)
    assert (study["numberOfSeries"], study["numberOfInstances"], len(study["series"])) == (4, 60, 1)


def test_another_orders_clip_joins_the_study_with_its_own_number() -> None:
    other = build_resources(notice("2"))[0]
    study = merged(STUDY, {**other, "subject": STUDY["subject"]})
    assert [one["identifier"]["value"] for one in study["basedOn"]] == ["E1", "E2"]
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (2, 2)
    assert [one["code"] for one in study["modality"]] == ["ES"]


def test_a_reference_that_became_known_is_added_to_what_is_held() -> None:
    wanted = {**STUDY, "subject": {"reference": "Patient/1", **STUDY["subject"]}}
    assert merged(STUDY, wanted)["subject"]["reference"] == "Patient/1"


def test_merging_leaves_the_held_study_as_it_was() -> None:
    held = build_resources(notice("1"))[0]
    merged(held, build_resources(notice("1", clips=2))[0])
    assert held == build_resources(notice("1"))[0]
