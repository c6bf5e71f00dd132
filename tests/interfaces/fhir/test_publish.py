"""What a hospital relies on, on two foreign servers and our sandbox."""

from __future__ import annotations

import re
from typing import Any

import pytest

from interfaces.fhir.client import FhirClient
from interfaces.fhir.publication import Publication
from interfaces.fhir.resources import build_resources
from models.errors import Declined, OutcomeUnknown, Unreachable
from models.order import OrderStatus
from models.patient import Identifier
from tests.interfaces.fhir.conftest import TOKEN
from tests.interfaces.fhir.notices import FILLERS, PATIENTS, clip, notice, order, study_identifier
from tests.peers.fhir import Fault, FhirPeer


def studies(peer: FhirPeer, key: str) -> list[dict[str, Any]]:
    identifier = study_identifier(key)
    return peer.search("ImagingStudy", identifier=f"{identifier['system']}|{identifier['value']}")


def sop_uids(study: dict[str, Any]) -> set[str]:
    return {instance["uid"] for series in study["series"] for instance in series["instance"]}


def patient(number: str) -> dict[str, Any]:
    return {"resourceType": "Patient", "identifier": [{"system": PATIENTS, "value": number}]}


def service_request(key: str, patient_id: str) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "status": "active",
        "intent": "order",
        "identifier": [{"system": FILLERS, "value": f"F{key}"}],
        "subject": {"reference": f"Patient/{patient_id}"},
    }


def test_the_capability_statement_decides_the_strategy(client: FhirClient) -> None:
    able = client.capabilities()
    assert able.fhir_version == "4.0.1"
    assert able.can("ImagingStudy", "update")
    assert able.strategy("ImagingStudy") == "conditional create"


def test_the_first_publication_creates_the_study(peer: FhirPeer, client: FhirClient, key: str) -> None:
    (published,) = client.publish(build_resources(notice(key)))
    (held,) = studies(peer, key)
    assert published.created
    assert (published.id, published.version_id) == (held["id"], held["meta"]["versionId"])
    assert held["status"] == "available"
    assert sop_uids(held) == {clip(key, 1).sop_uid}


def test_a_replay_writes_nothing(peer: FhirPeer, client: FhirClient, key: str) -> None:
    (first,) = client.publish(build_resources(notice(key)))
    peer.requests.clear()
    (again,) = client.publish(build_resources(notice(key)))
    assert (again.id, again.version_id, again.created) == (first.id, first.version_id, False)
    assert len(studies(peer, key)) == 1
    assert not [one for one in peer.requests if re.match(r"(PUT|POST (?!\w+/_search))", one)]


def test_a_second_clip_is_added_to_the_same_study(peer: FhirPeer, client: FhirClient, key: str) -> None:
    (first,) = client.publish(build_resources(notice(key)))
    (second,) = client.publish(build_resources(notice(key, clips=2)))
    (held,) = studies(peer, key)
    assert second.id == first.id
    assert second.version_id not in ("", first.version_id)
    assert sop_uids(held) == {clip(key, 1).sop_uid, clip(key, 2).sop_uid}
    assert (held["numberOfSeries"], held["numberOfInstances"]) == (2, 2)


def test_a_notice_with_fewer_clips_takes_nothing_away(peer: FhirPeer, client: FhirClient, key: str) -> None:
    client.publish(build_resources(notice(key, clips=2)))
    client.publish(build_resources(notice(key, clips=1)))
    (held,) = studies(peer, key)
    assert len(sop_uids(held)) == 2


def test_what_the_ehr_wrote_into_the_study_stays(peer: FhirPeer, client: FhirClient, key: str) -> None:
    client.publish(build_resources(notice(key)))
    (held,) = studies(peer, key)
    peer.update({**held, "description": "Read by the ward", "note": [{"text": "Seen"}]})
    client.publish(build_resources(notice(key, clips=2)))
    (after,) = studies(peer, key)
    assert (after["description"], after["note"]) == ("Read by the ward", [{"text": "Seen"}])
    assert len(sop_uids(after)) == 2


def test_a_lost_answer_to_a_create_leaves_one_study(peer: FhirPeer, client: FhirClient, key: str) -> None:
    peer.set_faults(Fault(r"^POST ImagingStudy$", mode="commit-then-drop"))
    with pytest.raises(OutcomeUnknown, match="searched before it is repeated"):
        client.publish(build_resources(notice(key)))
    (published,) = client.publish(build_resources(notice(key)))
    (held,) = studies(peer, key)
    assert (published.id, published.created) == (held["id"], False)


def test_a_lost_answer_to_an_update_leaves_one_study_with_both_clips(
    peer: FhirPeer, client: FhirClient, key: str
) -> None:
    client.publish(build_resources(notice(key)))
    peer.set_faults(Fault(r"^PUT ImagingStudy", mode="commit-then-drop"))
    with pytest.raises(OutcomeUnknown):
        client.publish(build_resources(notice(key, clips=2)))
    client.publish(build_resources(notice(key, clips=2)))
    (held,) = studies(peer, key)
    assert len(sop_uids(held)) == 2


def test_a_create_that_never_arrived_is_made_by_the_repeat(peer: FhirPeer, client: FhirClient, key: str) -> None:
    peer.set_faults(Fault(r"^POST ImagingStudy$", mode="drop"))
    with pytest.raises(OutcomeUnknown):
        client.publish(build_resources(notice(key)))
    assert not studies(peer, key)
    assert client.publish(build_resources(notice(key)))[0].created


def test_a_search_without_an_answer_is_no_unknown_outcome(peer: FhirPeer, client: FhirClient, key: str) -> None:
    peer.set_faults(Fault(r"^POST ImagingStudy/_search", mode="drop"))
    with pytest.raises(Unreachable, match="nothing was written"):
        client.publish(build_resources(notice(key)))


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_busy_server_is_tried_again_later(peer: FhirPeer, client: FhirClient, key: str, status: int) -> None:
    peer.set_faults(Fault(r"^POST ImagingStudy$", status=status, retry_after="120"))
    with pytest.raises(Unreachable, match=rf"answered {status} .*Retry-After 120.*come back later"):
        client.publish(build_resources(notice(key)))
    assert client.publish(build_resources(notice(key)))[0].created


@pytest.mark.parametrize("status", [200, 404, 502])
def test_a_gateways_web_page_is_not_taken_for_an_answer(
    peer: FhirPeer, client: FhirClient, key: str, status: int
) -> None:
    for request in (r"^GET metadata", r"^POST ImagingStudy/_search", r"^POST ImagingStudy$"):
        peer.set_faults(Fault(request, mode="html", status=status))
        with pytest.raises(Unreachable, match="web page, not FHIR"):
            FhirClient(peer.base_url, token=TOKEN, timeout=20).publish(build_resources(notice(key)))
    assert client.publish(build_resources(notice(key)))[0].created


def test_a_wrong_token_is_declined_and_not_repeated_in_the_sentence(peer: FhirPeer, key: str) -> None:
    client = FhirClient(peer.base_url, token="wrong-secret", timeout=20)
    with pytest.raises(Declined, match=r"answered 401 .*token of this destination") as caught:
        client.publish(build_resources(notice(key)))
    assert "wrong-secret" not in str(caught.value)


def test_two_studies_of_one_uid_go_to_a_person(peer: FhirPeer, client: FhirClient, key: str) -> None:
    (study,) = build_resources(notice(key))
    ids = {peer.create(study), peer.create(study)}
    with pytest.raises(Declined, match=r"holds 2 ImagingStudy resources .* a person must mend") as caught:
        client.publish((study,))
    assert all(one in str(caught.value) for one in ids)
    assert len(studies(peer, key)) == 2


@pytest.mark.parametrize("mark", [",X", "|X", "$X", "\\X", "&X", " X", "+X", "%X"])
def test_a_number_with_special_characters_never_finds_another_patient(
    peer: FhirPeer, client: FhirClient, key: str, mark: str
) -> None:
    somebody_else = peer.create(patient(f"M{key}"))
    who = order(key).patient.model_copy(update={"identifier": Identifier(value=f"M{key}{mark}", type_code="MR")})
    client.publish(build_resources(notice(key, order=order(key, patient=who))))
    (held,) = studies(peer, key)
    assert held["subject"].get("reference") != f"Patient/{somebody_else}"
    assert held["subject"]["identifier"]["value"] == f"M{key}{mark}"


def test_the_study_points_to_the_patient_and_order_that_the_server_holds(
    peer: FhirPeer, client: FhirClient, key: str
) -> None:
    patient_id = peer.create(patient(f"M{key}"))
    request_id = peer.create(service_request(key, patient_id))
    client.publish(build_resources(notice(key, order=order(key, accession=""))))
    (held,) = studies(peer, key)
    assert held["subject"]["reference"] == f"Patient/{patient_id}"
    assert [one["reference"] for one in held["basedOn"]] == [f"ServiceRequest/{request_id}"]


def test_an_order_number_used_for_another_patient_is_not_linked(peer: FhirPeer, client: FhirClient, key: str) -> None:
    peer.create(patient(f"M{key}"))
    peer.create(service_request(key, peer.create(patient(f"OTHER{key}"))))
    client.publish(build_resources(notice(key, order=order(key, accession=""))))
    (held,) = studies(peer, key)
    assert "reference" not in held["basedOn"][0]


def test_of_two_patients_with_one_number_none_is_picked(peer: FhirPeer, client: FhirClient, key: str) -> None:
    for _ in range(2):
        peer.create(patient(f"M{key}"))
    client.publish(build_resources(notice(key)))
    (held,) = studies(peer, key)
    assert "reference" not in held["subject"]


def test_a_study_held_under_another_patient_is_left_alone(peer: FhirPeer, client: FhirClient, key: str) -> None:
    (study,) = build_resources(notice(key))
    elsewhere = {"type": "Patient", "identifier": {"system": PATIENTS, "value": "SOMEBODY-ELSE"}}
    peer.create({**study, "subject": elsewhere})
    with pytest.raises(Declined, match="patient who cannot be shown to be the order's patient"):
        client.publish(build_resources(notice(key, clips=2)))
    (held,) = studies(peer, key)
    assert len(sop_uids(held)) == 1


def test_a_study_that_was_withdrawn_is_not_brought_back(peer: FhirPeer, client: FhirClient, key: str) -> None:
    (study,) = build_resources(notice(key))
    peer.create({**study, "status": "entered-in-error"})
    with pytest.raises(Declined, match="marked entered-in-error"):
        client.publish((study,))


def test_a_study_registered_at_order_time_becomes_available(peer: FhirPeer, client: FhirClient, key: str) -> None:
    (study,) = build_resources(notice(key))
    registered = {name: value for name, value in study.items() if name in ("resourceType", "identifier", "subject")}
    peer.create({**registered, "status": "registered"})
    (published,) = client.publish((study,))
    (held,) = studies(peer, key)
    assert (held["id"], held["status"], held["numberOfInstances"]) == (published.id, "available", 1)


def test_an_edit_between_our_read_and_our_write_is_not_lost(
    peer: FhirPeer, client: FhirClient, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.publish(build_resources(notice(key)))
    update, edits = Publication._update, iter(["Read by the ward"])

    def edited_first(*arguments: Any) -> Any:
        for text in edits:
            (held,) = studies(peer, key)
            peer.update({**held, "note": [{"text": text}]})
        return update(*arguments)

    monkeypatch.setattr(Publication, "_update", edited_first)
    client.publish(build_resources(notice(key, clips=2)))
    (held,) = studies(peer, key)
    assert (held["note"], len(sop_uids(held))) == ([{"text": "Read by the ward"}], 2)


def test_a_study_that_somebody_creates_meanwhile_is_completed_not_doubled(
    peer: FhirPeer, client: FhirClient, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, rivals = Publication._create, iter(build_resources(notice(key)))

    def overtaken(*arguments: Any) -> Any:
        for rival in rivals:
            peer.create(rival)
        return create(*arguments)

    monkeypatch.setattr(Publication, "_create", overtaken)
    (published,) = client.publish(build_resources(notice(key, clips=2)))
    (held,) = studies(peer, key)
    assert (published.id, published.created, len(sop_uids(held))) == (held["id"], False, 2)


# --- Procedure -------------------------------------------------------------------------------------------------------


def procedures(peer: FhirPeer, key: str) -> list[dict[str, Any]]:
    (_, procedure) = build_resources(notice(key, with_procedure=True))
    identifier = procedure["identifier"][0]
    return peer.search("Procedure", identifier=f"{identifier['system']}|{identifier['value']}")


def test_no_procedure_unless_it_is_switched_on(peer: FhirPeer, client: FhirClient, key: str) -> None:
    client.publish(build_resources(notice(key)))
    assert not procedures(peer, key)
    assert not [one for one in peer.requests if "Procedure" in one]


def test_a_procedure_where_switched_on_and_none_exists(peer: FhirPeer, client: FhirClient, key: str) -> None:
    published = client.publish(build_resources(notice(key, with_procedure=True)))
    (held,) = procedures(peer, key)
    assert [(one.resource_type, one.created) for one in published] == [("ImagingStudy", True), ("Procedure", True)]
    assert held["basedOn"][0]["identifier"]["value"] == f"F{key}"


def test_our_own_procedure_is_never_touched_again(peer: FhirPeer, client: FhirClient, key: str) -> None:
    client.publish(build_resources(notice(key, with_procedure=True)))
    completed = order(key, status=OrderStatus.COMPLETED)
    _, again = client.publish(build_resources(notice(key, clips=2, order=completed, with_procedure=True)))
    (held,) = procedures(peer, key)
    assert (again.id, again.version_id, again.created) == (held["id"], held["meta"]["versionId"], False)
    assert held["status"] == "unknown"
    assert not [one for one in peer.requests if one.startswith("PUT Procedure")]


def test_the_ehrs_own_procedure_of_the_order_is_left_alone(peer: FhirPeer, client: FhirClient, key: str) -> None:
    patient_id = peer.create(patient(f"M{key}"))
    request_id = peer.create(service_request(key, patient_id))
    theirs = peer.create(
        {
            "resourceType": "Procedure",
            "status": "completed",
            "subject": {"reference": f"Patient/{patient_id}"},
            "basedOn": [{"reference": f"ServiceRequest/{request_id}"}],
        }
    )
    _, published = client.publish(build_resources(notice(key, with_procedure=True)))
    assert (published.id, published.created) == (theirs, False)
    assert not procedures(peer, key)


def test_a_lost_answer_leaves_one_procedure(peer: FhirPeer, client: FhirClient, key: str) -> None:
    peer.set_faults(Fault(r"^POST Procedure$", mode="commit-then-drop"))
    with pytest.raises(OutcomeUnknown):
        client.publish(build_resources(notice(key, with_procedure=True)))
    client.publish(build_resources(notice(key, with_procedure=True)))
    assert len(procedures(peer, key)) == 1
    assert len(studies(peer, key)) == 1


def test_a_procedure_known_by_reference_names_its_order_once(peer: FhirPeer, client: FhirClient, key: str) -> None:
    patient_id = peer.create(patient(f"M{key}"))
    request_id = peer.create(service_request(key, patient_id))
    client.publish(build_resources(notice(key, with_procedure=True)))
    (held,) = procedures(peer, key)
    assert [one.get("reference") for one in held["basedOn"]] == [f"ServiceRequest/{request_id}", None]
