from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class

from interfaces.fhir.resources import build_resources
from models.errors import Declined, MappingMiss
from models.order import Code, OrderStatus
from models.patient import Authority, Identifier, Patient
from tests.interfaces.fhir.notices import STARTED, clip, notice, order, study_uid


def study_of(**changes: Any) -> dict[str, Any]:
    return build_resources(notice("1", **changes))[0]


def procedure_of(**changes: Any) -> dict[str, Any]:
    return build_resources(notice("1", with_procedure=True, **changes))[1]


def test_the_study_says_what_was_proven() -> None:
    study = study_of(clips=2)
    assert (study["status"], study["numberOfSeries"], study["numberOfInstances"]) == ("available", 2, 2)
    assert study["started"] == "2026-03-01T09:10:00+01:00"
    assert study["identifier"][0]["value"] == f"urn:oid:{study_uid('1')}"
    assert [series["uid"] for series in study["series"]] == [clip("1", 1).series_uid, clip("1", 2).series_uid]
    assert study["series"][0]["instance"] == [
        {
            "uid": clip("1", 1).sop_uid,
            "sopClass": {
                "system": "urn:ietf:rfc:3986",
                "code": "urn:oid:1.2.840.10008.5.1.4.1.1.77.1.1.1",
                "display": "Video Endoscopic Image Storage",
            },
            "number": 1,
        }
    ]


def test_the_accession_has_one_coding_and_its_system() -> None:
    study = study_of()
    for number in (study["identifier"][1], study["basedOn"][0]["identifier"]):
        assert [coding["code"] for coding in number["type"]["coding"]] == ["ACSN"]
        assert (number["system"], number["value"]) == ("urn:oid:2.999.1.4", "E1")


def test_without_an_accession_the_study_is_based_on_the_filler_number() -> None:
    study = study_of(order=order("1", accession=""))
    assert len(study["identifier"]) == 1
    assert [one["identifier"]["value"] for one in study["basedOn"]] == ["F1"]


def test_no_demographics_leave() -> None:
    resources = build_resources(notice("1", with_procedure=True))
    assert {one["resourceType"] for one in resources} == {"ImagingStudy", "Procedure"}
    assert "Muster" not in json.dumps(resources)


def test_the_same_notice_gives_the_same_resources() -> None:
    assert build_resources(notice("1", with_procedure=True)) == build_resources(notice("1", with_procedure=True))


def test_the_resources_are_r4_and_survive_json() -> None:
    for resource in build_resources(notice("1", clips=3, with_procedure=True)):
        get_fhir_model_class(resource["resourceType"]).model_validate_json(json.dumps(resource))


def test_what_is_not_known_is_left_out() -> None:
    bare = order("1", procedure=Code(), filler=None, placer=None)
    instance = clip("1", 1, series_description=" ", body_part_code="", body_part_scheme="", body_part_meaning="")
    study = study_of(order=bare, instances=(instance,), started_at=None, fhir_code=Code())
    assert not {"started", "description", "procedureCode"} & set(study)
    assert not {"description", "bodySite", "laterality"} & set(study["series"][0])


def test_a_body_part_of_an_unknown_scheme_goes_out_as_words() -> None:
    (series,) = study_of(instances=(clip("1", 1, body_part_scheme="99LOCAL"),))["series"]
    assert series["bodySite"] == {"display": "Esophagus"}


def test_the_laterality_of_the_order_is_said() -> None:
    (series,) = study_of(order=order("1", laterality="L"))["series"]
    assert series["laterality"]["display"] == "Unilateral left"


def test_the_same_instance_twice_counts_once() -> None:
    assert study_of(instances=(clip("1", 1), clip("1", 1)))["numberOfInstances"] == 1


def test_parts_of_one_recording_share_a_series() -> None:
    first = clip("1", 1)
    second = clip("1", 2, series_uid=first.series_uid, series_number=1, instance_number=2)
    (series,) = study_of(instances=(first, second))["series"]
    assert (series["numberOfInstances"], [one["number"] for one in series["instance"]]) == (2, [1, 2])


def test_instances_of_two_studies_make_two_resources() -> None:
    adopted = clip("1", 2, study_uid="2.25.77")
    studies = build_resources(notice("1", instances=(clip("1", 1), adopted)))
    assert [one["numberOfInstances"] for one in studies] == [1, 1]


def test_nothing_proven_nothing_said() -> None:
    assert build_resources(notice("1", instances=(), with_procedure=True)) == ()


def test_an_instance_of_another_order_stops_the_notice() -> None:
    with pytest.raises(Declined, match="instances of another order"):
        study_of(instances=(clip("1", 1), clip("2", 1)))


def test_a_patient_number_without_a_system_is_not_sent() -> None:
    with pytest.raises(MappingMiss, match="'DEMO' has no FHIR system: add it to the authorities table"):
        study_of(patient_system="")


def test_the_authoritys_own_oid_serves_where_no_system_is_mapped() -> None:
    authority = Authority(namespace="DEMO", universal_id="2.999.1.1", universal_id_type="ISO")
    who = Patient(identifier=Identifier(value="M1", authority=authority))
    study = study_of(patient_system="", order=order("1", patient=who))
    assert study["subject"]["identifier"] == {"system": "urn:oid:2.999.1.1", "value": "M1"}


def test_a_time_without_a_zone_is_not_sent() -> None:
    with pytest.raises(Declined, match="not be valid FHIR R4"):
        study_of(started_at=STARTED.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (OrderStatus.COMPLETED, "completed"),
        (OrderStatus.SCHEDULED, "unknown"),
        (OrderStatus.IN_PROGRESS, "unknown"),
        (OrderStatus.CANCELLED, "unknown"),
    ],
)
def test_a_video_completes_no_procedure(status: OrderStatus, said: str) -> None:
    assert procedure_of(order=order("1", status=status))["status"] == said


def test_the_procedure_carries_the_orders_numbers_in_based_on_only() -> None:
    procedure = procedure_of()
    numbers = [one["identifier"]["value"] for one in procedure["basedOn"]]
    assert numbers == ["F1", "P1"]
    assert all(one["value"] not in numbers for one in procedure["identifier"])


def test_a_procedure_without_a_number_in_a_system_is_not_made() -> None:
    with pytest.raises(MappingMiss, match="or switch Procedure off"):
        procedure_of(filler_system="", placer_system="")


@pytest.mark.parametrize(
    ("minutes", "period"),
    [
        (20, {"start": "2026-03-01T09:10:00+01:00", "end": "2026-03-01T09:30:00+01:00"}),
        (-20, {"start": "2026-03-01T09:10:00+01:00"}),
        (None, {"start": "2026-03-01T09:10:00+01:00"}),
    ],
)
def test_the_period_has_an_end_only_where_one_is_known(minutes: int | None, period: dict[str, str]) -> None:
    ended = STARTED + timedelta(minutes=minutes) if minutes is not None else None
    assert procedure_of(ended_at=ended)["performedPeriod"] == period
