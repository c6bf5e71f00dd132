from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fhir.resources.R4B import get_fhir_model_class

from interfaces.fhir.resources import build_resources
from interfaces.fhir.sandbox import SandboxFhir
from tests.interfaces.fhir.notices import PATIENTS, notice


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxFhir]:
    one = SandboxFhir("127.0.0.1", 0, tmp_path / "ehr")
    one.start()
    yield one
    one.stop()


@pytest.fixture
def http(sandbox: SandboxFhir) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{sandbox.base_url}/", timeout=20) as one:
        yield one


def patient(number: str = "M1", **changes: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "identifier": [{"system": PATIENTS, "value": number}], **changes}


def found(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [entry["resource"]["id"] for entry in answer.json().get("entry", [])]


def reason(answer: httpx.Response) -> str:
    assert answer.json()["resourceType"] == "OperationOutcome"
    return " ".join(issue["details"]["text"] for issue in answer.json()["issue"])


def test_what_was_answered_is_there_after_a_restart(sandbox: SandboxFhir, http: httpx.Client) -> None:
    created = http.post("Patient", json=patient())
    sandbox.stop()
    sandbox.start()
    with httpx.Client(base_url=f"{sandbox.base_url}/") as again:
        assert again.get(f"Patient/{created.json()['id']}").json() == created.json()


def test_a_create_names_place_and_version(sandbox: SandboxFhir, http: httpx.Client) -> None:
    answer = http.post("Patient", json=patient())
    assert (answer.status_code, answer.headers["etag"]) == (201, 'W/"1"')
    assert answer.headers["location"] == f"{sandbox.base_url}/Patient/{answer.json()['id']}/_history/1"


def test_every_version_is_kept(http: httpx.Client) -> None:
    held = http.post("Patient", json=patient()).json()
    http.put(f"Patient/{held['id']}", json={**held, "gender": "female"})
    history = http.get(f"Patient/{held['id']}/_history").json()
    assert [entry["resource"]["meta"]["versionId"] for entry in history["entry"]] == ["2", "1"]
    assert "gender" not in http.get(f"Patient/{held['id']}/_history/1").json()


@pytest.mark.parametrize("address", ["Patient/{id}", "Patient?identifier=urn:oid:2.999.1.1|M1"])
def test_a_stale_version_is_not_written_over(http: httpx.Client, address: str) -> None:
    held = http.post("Patient", json=patient()).json()
    place = address.format(id=held["id"])
    assert http.put(place, json={**held, "gender": "female"}, headers={"If-Match": 'W/"1"'}).status_code == 200
    stale = http.put(place, json={**held, "gender": "male"}, headers={"If-Match": 'W/"1"'})
    assert stale.status_code == 412
    assert http.get(f"Patient/{held['id']}").json()["gender"] == "female"


def test_a_conditional_create_makes_one(http: httpx.Client) -> None:
    only = {"If-None-Exist": f"identifier={PATIENTS}|M1"}
    answers = [http.post("Patient", json=patient(), headers=only) for _ in range(2)]
    assert [one.status_code for one in answers] == [201, 200]
    assert len({one.json()["id"] for one in answers}) == 1


def test_conditional_creates_at_the_same_time_make_one(sandbox: SandboxFhir, http: httpx.Client) -> None:
    def create() -> None:
        only = {"If-None-Exist": f"identifier={PATIENTS}|M1"}
        codes.append(httpx.post(f"{sandbox.base_url}/Patient", json=patient(), headers=only, timeout=20).status_code)

    codes: list[int] = []
    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200] * 7 + [201]
    assert len(found(http.get("Patient"))) == 1


def test_a_conditional_update_creates_updates_or_refuses(http: httpx.Client) -> None:
    address = f"Patient?identifier={PATIENTS}|M1"
    assert [http.put(address, json=patient()).status_code for _ in range(2)] == [201, 200]
    http.post("Patient", json=patient())
    assert http.put(address, json=patient()).status_code == 412
    assert http.post("Patient", json=patient(), headers={"If-None-Exist": "identifier=M1"}).status_code == 412


def test_an_update_may_bring_its_own_id(http: httpx.Client) -> None:
    assert http.put("Patient/p-1", json=patient(id="p-1")).status_code == 201
    assert http.put("Patient/p-2", json=patient(id="p-1")).status_code == 400


def test_it_is_searched_by_identifier(http: httpx.Client) -> None:
    ours = http.post("Patient", json=patient("A,1|x")).json()["id"]
    http.post("Patient", json=patient("A"))
    bare = http.post("Patient", json={"resourceType": "Patient", "identifier": [{"value": "B"}]}).json()["id"]
    assert found(http.get("Patient", params={"identifier": rf"{PATIENTS}|A\,1\|x"})) == [ours]
    assert found(http.post("Patient/_search", data={"identifier": r"A\,1\|x,nobody"})) == [ours]
    assert found(http.get("Patient", params={"identifier": "|B"})) == [bare]
    assert not found(http.get("Patient", params={"identifier": f"{PATIENTS}|B"}))
    assert found(http.get("Patient", params={"_id": bare, "_count": "5"})) == [bare]


def test_studies_are_searched_by_patient_and_order(http: httpx.Client) -> None:
    (study,) = build_resources(notice("1"))
    by_number = http.post("ImagingStudy", json=study).json()["id"]
    who = http.post("Patient", json=patient()).json()["id"]
    other = {**study, "subject": {"reference": f"Patient/{who}"}, "basedOn": [{"reference": "ServiceRequest/r1"}]}
    by_reference = http.post("ImagingStudy", json=other).json()["id"]
    for query, expected in (
        ({"patient": who}, [by_reference]),
        ({"subject": f"Patient/{who}"}, [by_reference]),
        ({"subject:identifier": f"{PATIENTS}|M1"}, [by_number]),
        ({"patient.identifier": f"{PATIENTS}|M1"}, sorted([by_number, by_reference])),
        ({"based-on:identifier": "urn:oid:2.999.1.4|E1"}, [by_number]),
        ({"based-on": "ServiceRequest/r1", "patient": who}, [by_reference]),
        ({"based-on": "ServiceRequest/r2"}, []),
    ):
        assert found(http.get("ImagingStudy", params=query)) == expected


def test_a_changed_identifier_is_no_longer_found(http: httpx.Client) -> None:
    held = http.post("Patient", json=patient()).json()
    http.put(f"Patient/{held['id']}", json={**held, "identifier": [{"system": PATIENTS, "value": "M2"}]})
    assert not found(http.get("Patient", params={"identifier": f"{PATIENTS}|M1"}))


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        (patient(gender="banana"), "required value set"),
        (patient(shoeSize=42), "shoeSize"),
        (patient(name=[]), "empty"),
        ({"resourceType": "ImagingStudy"}, "no Patient"),
    ],
)
def test_what_is_not_fhir_is_refused_with_the_reason(http: httpx.Client, resource: dict[str, Any], said: str) -> None:
    answer = http.post("Patient", json=resource)
    assert answer.status_code in (400, 422)
    assert said in reason(answer)
    assert not found(http.get("Patient"))


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("GET", "Patient?shoe-size=42", 400),
        ("GET", "Patient/nobody", 404),
        ("GET", "Banana", 404),
        ("GET", "Patient/p/_history/9", 404),
        ("POST", "Patient/p", 404),
        ("PUT", "Patient", 404),
        ("PUT", "Patient?_count=1", 412),
    ],
)
def test_what_it_does_not_know_is_refused(http: httpx.Client, method: str, address: str, status: int) -> None:
    answer = http.request(method, address, json=patient() if method != "GET" else None)
    assert answer.status_code == status
    assert reason(answer)


def test_a_broken_body_is_refused(http: httpx.Client) -> None:
    answer = http.post("Patient", content=b"{not json")
    assert (answer.status_code, "no JSON" in reason(answer)) == (400, True)


def test_the_token_is_asked_for(tmp_path: Path) -> None:
    sandbox = SandboxFhir("127.0.0.1", 0, tmp_path, token="open")
    sandbox.start()
    statuses = [
        httpx.get(f"{sandbox.base_url}/{path}", headers=headers).status_code
        for path, headers in (
            ("metadata", {}), ("Patient", {}), ("Patient", {"Authorization": "Bearer shut"}),
            ("Patient", {"Authorization": "Bearer open"}),
        )
    ]  # fmt: skip
    sandbox.stop()
    assert statuses == [200, 401, 401, 200]


def test_the_capability_statement_is_valid_r4(http: httpx.Client) -> None:
    statement = http.get("metadata").json()
    assert get_fhir_model_class("CapabilityStatement").model_validate(statement).fhirVersion == "4.0.1"
