"""Servers that are not at hand: what their answers are taken for."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from interfaces.fhir.client import FhirClient
from interfaces.fhir.resources import build_resources
from models.errors import Declined, OutcomeUnknown, Unreachable
from tests.interfaces.fhir.notices import clip, notice

ALL = ("read", "create", "update", "search-type")


class Server:
    """A scripted server: ``on(method, path, ...)`` answers; everything it was asked is kept."""

    def __init__(self, *, version: str = "4.0.1", conditional: bool = False, **kinds: tuple[str, ...]) -> None:
        kinds = kinds or {"ImagingStudy": ALL, "Procedure": ALL}
        resources = [
            {"type": kind, "interaction": [{"code": code} for code in codes], "conditionalCreate": conditional}
            for kind, codes in kinds.items()
        ]
        statement = {"resourceType": "CapabilityStatement", "fhirVersion": version}
        self.asked: list[httpx.Request] = []
        self._answers: dict[str, list[Any]] = {}
        self.on("GET metadata", (200, {**statement, "rest": [{"mode": "server", "resource": resources}]}))

    def on(self, request: str, *answers: Any) -> None:
        """Give these answers in turn, the last one for ever."""
        self._answers[request] = list(answers)

    def client(self) -> FhirClient:
        http = httpx.Client(transport=httpx.MockTransport(self._answer))
        return FhirClient("https://ehr.example.org/fhir", token="secret", timeout=5, http=http)

    def writes(self) -> list[httpx.Request]:
        return [
            one for one in self.asked if one.method == "PUT" or (one.method == "POST" and "_search" not in str(one.url))
        ]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answers = self._answers[f"{request.method} {request.url.path.removeprefix('/fhir/')}"]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        status, body, *headers = answer
        return httpx.Response(status, json=body, headers=headers[0] if headers else {})


def found(*resources: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    entries = [{"resource": one, "search": {"mode": "match"}} for one in resources]
    return 200, {"resourceType": "Bundle", "type": "searchset", "entry": entries}


def held(clips: int = 1, **changes: Any) -> dict[str, Any]:
    return {**build_resources(notice("1", clips))[0], "id": "s1", "meta": {"versionId": "7"}, **changes}


CREATED = (201, {}, {"location": "https://ehr.example.org/fhir/ImagingStudy/s1/_history/1"})


def test_a_server_of_another_fhir_version_is_declined() -> None:
    with pytest.raises(Declined, match=r"speaks FHIR 5\.0\.0, and Cinelink writes R4"):
        Server(version="5.0.0").client().capabilities()


def test_an_address_that_is_no_fhir_server_is_declined() -> None:
    server = Server()
    server.on("GET metadata", (404, {"detail": "Not Found"}))
    with pytest.raises(Declined, match="no CapabilityStatement"):
        server.client().capabilities()


def test_a_server_that_takes_no_imaging_study_is_told_before_anything_is_sent() -> None:
    server = Server(ImagingStudy=("read", "search-type"), Procedure=ALL)
    with pytest.raises(Declined, match="offers no create for ImagingStudy"):
        server.client().publish(build_resources(notice("1")))
    assert len(server.asked) == 1


def test_a_server_without_conditional_create_is_searched_first() -> None:
    server = Server()
    server.on("POST ImagingStudy/_search", found())
    server.on("POST ImagingStudy", CREATED)
    (published,) = server.client().publish(build_resources(notice("1")))
    assert (published.id, published.version_id, published.created) == ("s1", "1", True)
    assert "if-none-exist" not in server.writes()[0].headers


def test_a_conditional_create_names_exactly_the_study() -> None:
    server = Server(conditional=True)
    server.on("POST ImagingStudy/_search", found())
    server.on("POST ImagingStudy", CREATED)
    server.client().publish(build_resources(notice("1")))
    condition = parse_qs(server.writes()[0].headers["if-none-exist"])
    study = build_resources(notice("1"))[0]["identifier"][0]
    assert condition == {"identifier": [f"{study['system']}|{study['value']}"]}


def test_the_409_of_an_idempotency_key_means_that_it_is_there() -> None:
    server = Server()
    server.on("POST ImagingStudy/_search", found(), found(held()))
    server.on("POST ImagingStudy", (409, {"resourceType": "OperationOutcome"}))
    server.on("GET ImagingStudy/s1", (200, held()))
    (published,) = server.client().publish(build_resources(notice("1")))
    assert (published.id, published.version_id, published.created) == ("s1", "7", False)
    assert len(server.writes()) == 1


def test_the_idempotency_key_is_the_same_for_every_repeat() -> None:
    keys = set()
    for _ in range(2):
        server = Server()
        server.on("POST ImagingStudy/_search", found())
        server.on("POST ImagingStudy", CREATED)
        server.client().publish(build_resources(notice("1")))
        keys.add(server.writes()[0].headers["x-amz-fhir-idempotency-key"])
    assert len(keys) == 1


def test_several_matches_of_a_conditional_create_go_to_a_person() -> None:
    server = Server(conditional=True)
    server.on("POST ImagingStudy/_search", found())
    server.on("POST ImagingStudy", (412, {"resourceType": "OperationOutcome"}))
    with pytest.raises(Declined, match=r"several ImagingStudy .*a person must mend"):
        server.client().publish(build_resources(notice("1")))


def test_the_update_stands_on_the_version_that_was_read() -> None:
    server = Server()
    server.on("POST ImagingStudy/_search", found(held()))
    server.on("GET ImagingStudy/s1", (200, held(), {"etag": 'W/"7"'}))
    server.on("PUT ImagingStudy/s1", (200, {}, {"etag": 'W/"8"'}))
    (published,) = server.client().publish(build_resources(notice("1", clips=2)))
    assert server.writes()[0].headers["if-match"] == 'W/"7"'
    assert (published.id, published.version_id, published.created) == ("s1", "8", False)


def test_without_an_etag_the_version_id_guards_the_update() -> None:
    server = Server()
    server.on("POST ImagingStudy/_search", found(held()))
    server.on("GET ImagingStudy/s1", (200, held()))
    server.on("PUT ImagingStudy/s1", (200, held(2)))
    server.client().publish(build_resources(notice("1", clips=2)))
    assert server.writes()[0].headers["if-match"] == 'W/"7"'


@pytest.mark.parametrize("status", [409, 412])
def test_a_version_conflict_is_read_again_and_redone(status: int) -> None:
    note = {"note": [{"text": "by the ward"}]}
    server = Server()
    server.on("POST ImagingStudy/_search", found(held()))
    server.on("GET ImagingStudy/s1", (200, held(), {"etag": 'W/"7"'}), (200, held(**note), {"etag": 'W/"8"'}))
    server.on("PUT ImagingStudy/s1", (status, {}), (200, {}, {"etag": 'W/"9"'}))
    (published,) = server.client().publish(build_resources(notice("1", clips=2)))
    assert published.version_id == "9"
    assert server.writes()[1].headers["if-match"] == 'W/"8"'
    assert json.loads(server.writes()[1].content)["note"] == note["note"]


def test_a_resource_that_never_rests_is_tried_again_later() -> None:
    server = Server()
    server.on("POST ImagingStudy/_search", found(held()))
    server.on("GET ImagingStudy/s1", (200, held()))
    server.on("PUT ImagingStudy/s1", (412, {}))
    with pytest.raises(Unreachable, match="changed under our hands"):
        server.client().publish(build_resources(notice("1", clips=2)))


def test_a_server_without_update_says_so_when_a_clip_is_missing() -> None:
    server = Server(ImagingStudy=("read", "create", "search-type"))
    server.on("POST ImagingStudy/_search", found(held()))
    server.on("GET ImagingStudy/s1", (200, held()))
    with pytest.raises(Declined, match="offers no update for ImagingStudy"):
        server.client().publish(build_resources(notice("1", clips=2)))


def test_a_server_that_ignores_the_search_parameter_gets_nothing() -> None:
    server = Server()
    somebody_elses = held(id="x", identifier=[{"system": "urn:dicom:uid", "value": "urn:oid:2.25.1"}])
    server.on("POST ImagingStudy/_search", found(somebody_elses))
    with pytest.raises(Declined, match="does not search exactly"):
        server.client().publish(build_resources(notice("1")))
    assert not server.writes()


@pytest.mark.parametrize("body", [{"resourceType": "OperationOutcome"}, ["odd"], None])
def test_what_is_no_bundle_is_not_taken_for_nothing_found(body: Any) -> None:
    server = Server()
    server.on("POST ImagingStudy/_search", (200, body))
    with pytest.raises(Unreachable, match="not a FHIR Bundle"):
        server.client().publish(build_resources(notice("1")))
    assert not server.writes()


def test_a_search_index_that_lags_behind_makes_no_second_study() -> None:
    server = Server()
    server.on("POST ImagingStudy/_search", found(held()))
    server.on("GET ImagingStudy/s1", (410, {"resourceType": "OperationOutcome"}))
    with pytest.raises(Unreachable, match="reading it gives something else"):
        server.client().publish(build_resources(notice("1")))
    assert not server.writes()


def test_a_server_without_search_by_post_is_asked_by_get() -> None:
    server = Server()
    server.on("POST ImagingStudy/_search", (405, {}))
    server.on("GET ImagingStudy", found())
    server.on("POST ImagingStudy", CREATED)
    assert server.client().publish(build_resources(notice("1")))[0].created


def test_patient_numbers_stand_in_no_address() -> None:
    server = Server(ImagingStudy=ALL, Patient=ALL, ServiceRequest=ALL)
    for kind in ("Patient", "ServiceRequest", "ImagingStudy"):
        server.on(f"POST {kind}/_search", found())
    server.on("POST ImagingStudy", CREATED)
    server.client().publish(build_resources(notice("1")))
    assert not [one for one in server.asked if one.url.query]


def test_a_created_answer_without_an_id_is_looked_up() -> None:
    server = Server()
    server.on("POST ImagingStudy/_search", found(), found(held()))
    server.on("POST ImagingStudy", (201, {"resourceType": "OperationOutcome", "id": "not-the-study"}))
    server.on("GET ImagingStudy/s1", (200, held()))
    assert server.client().publish(build_resources(notice("1")))[0].id == "s1"


@pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 422])
def test_a_refusal_is_declined_with_the_servers_own_words(status: int) -> None:
    outcome = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "details": {"text": "no such code"}, "expression": ["ImagingStudy.status"]}],
    }
    server = Server()
    server.on("POST ImagingStudy/_search", found())
    server.on("POST ImagingStudy", (status, outcome))
    with pytest.raises(
        Declined, match=rf"answered {status} to POST ImagingStudy.*no such code \(ImagingStudy.status\)"
    ):
        server.client().publish(build_resources(notice("1")))


def test_a_redirect_is_not_followed_with_the_token() -> None:
    server = Server()
    server.on("GET metadata", (308, {}, {"location": "https://elsewhere.example.org/fhir/metadata"}))
    with pytest.raises(Declined, match="redirect to 'https://elsewhere"):
        server.client().capabilities()
    assert len(server.asked) == 1


@pytest.mark.parametrize("error", [httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.WriteError])
def test_a_write_without_an_answer_is_of_unknown_outcome(error: Callable[[str], Exception]) -> None:
    server = Server()
    server.on("POST ImagingStudy/_search", found())
    server.on("POST ImagingStudy", error("lost"))
    with pytest.raises(OutcomeUnknown, match="gave no answer to POST ImagingStudy"):
        server.client().publish(build_resources(notice("1")))


def test_a_write_that_never_left_is_not_of_unknown_outcome() -> None:
    server = Server()
    server.on("POST ImagingStudy/_search", found())
    server.on("POST ImagingStudy", httpx.ConnectError("refused"))
    with pytest.raises(Unreachable, match="cannot be reached"):
        server.client().publish(build_resources(notice("1")))


def test_a_dead_server_is_unreachable() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        client = FhirClient(f"http://127.0.0.1:{reserved.getsockname()[1]}/fhir", timeout=5)
        with pytest.raises(Unreachable, match="cannot be reached"):
            client.publish(build_resources(notice("1")))


@pytest.mark.parametrize(
    ("url", "token"), [("ehr/fhir", "x"), ("http://127.0.0.1:1/fhir", "sec\nret"), ("http://ehr:port/fhir", "")]
)
def test_a_wrong_url_or_secret_is_a_clear_sentence_without_the_secret(url: str, token: str) -> None:
    with pytest.raises(Declined, match="mend the destination's url or its secret") as caught:
        FhirClient(url, token=token, timeout=5).capabilities()
    assert "ret" not in str(caught.value).replace("secret", "")


# --- Procedure -------------------------------------------------------------------------------------------------------


def test_a_procedure_is_not_made_where_it_cannot_be_shown_that_there_is_none() -> None:
    server = Server(ImagingStudy=ALL, Procedure=ALL, ServiceRequest=ALL)
    server.on("POST ImagingStudy/_search", found(held()))
    server.on("GET ImagingStudy/s1", (200, held()))
    server.on("POST Procedure/_search", found())
    server.on("POST ServiceRequest/_search", (403, {}))
    with pytest.raises(Declined, match="403 to POST ServiceRequest/_search"):
        server.client().publish(build_resources(notice("1", with_procedure=True)))
    assert not server.writes()


def test_a_procedure_that_names_the_order_by_its_number_is_left_alone() -> None:
    server = Server()
    number = build_resources(notice("1", with_procedure=True))[1]["basedOn"][0]["identifier"]
    theirs = {"resourceType": "Procedure", "id": "p9", "basedOn": [{"identifier": number}], "meta": {"versionId": "3"}}
    server.on("POST ImagingStudy/_search", found(held()))
    server.on("GET ImagingStudy/s1", (200, held()))
    server.on("POST Procedure/_search", found(), found(theirs))
    _, published = server.client().publish(build_resources(notice("1", with_procedure=True)))
    assert (published.id, published.version_id, published.created) == ("p9", "3", False)
    assert not server.writes()


def test_an_absolute_reference_of_this_server_is_the_same_patient() -> None:
    server = Server(ImagingStudy=ALL, Patient=ALL)
    who = {
        "resourceType": "Patient",
        "id": "p1",
        "identifier": [build_resources(notice("1"))[0]["subject"]["identifier"]],
    }
    for base, shown in (("https://ehr.example.org/fhir", True), ("https://elsewhere.example.org/fhir", False)):
        theirs = held(subject={"reference": f"{base}/Patient/p1"})
        server.on("POST Patient/_search", found(who))
        server.on("POST ImagingStudy/_search", found(theirs))
        server.on("GET ImagingStudy/s1", (200, theirs))
        server.on("PUT ImagingStudy/s1", (200, {}))
        if shown:
            server.client().publish(build_resources(notice("1", clips=2)))
            assert clip("1", 2).sop_uid in server.writes()[0].content.decode()
        else:
            with pytest.raises(Declined, match="cannot be shown"):
                server.client().publish(build_resources(notice("1", clips=2)))
