"""The JSON API: what it answers, how it refuses, and the row in the audit that each view leaves."""

from __future__ import annotations

import pytest

from models.errors import Unreachable
from models.order import OrderStatus
from models.recording import RecordingState
from tests.interfaces.web.fake_desk import NURSE, FakeDesk
from tests.interfaces.web.visitor import Visitor

LINK = "/recordings/recording-2/link"


def test_orders_are_found_by_the_beginning_of_their_numbers(stranger: Visitor) -> None:
    found = stranger.api("/orders?text=E100").json()["orders"]
    assert [item["accession"] for item in found] == ["E1001", "E1002", "E1003", "E1004"]


def test_a_timeline_holds_order_recordings_proof_deliveries_and_events(stranger: Visitor) -> None:
    timeline = stranger.api("/orders/E1001/timeline").json()["timelines"][0]
    assert timeline["order"]["patient"]["identifier"]["value"] == "MRN0042"
    assert [link["holds"] for link in timeline["recordings"][0]["proof"]] == [True] * 7
    assert len(timeline["deliveries"]) == 3
    assert timeline["events"][-1]["action"] == "order.media_complete"


def test_an_accession_with_a_slash_and_a_percent_sign_has_its_timeline(stranger: Visitor) -> None:
    timelines = stranger.api("/orders/E%2F3%20%252F%3F%23/timeline").json()["timelines"]
    assert timelines[0]["order"]["id"] == "order-odd"


def test_an_unknown_accession_is_not_found_in_a_sentence(stranger: Visitor) -> None:
    answer = stranger.api("/orders/E9999/timeline")
    assert (answer.status_code, answer.json()) == (404, {"error": "no order has the accession number 'E9999'"})


def test_an_empty_accession_never_shows_the_orders_that_have_none(stranger: Visitor, desk: FakeDesk) -> None:
    assert stranger.api("/orders//timeline").status_code == 404
    assert desk.rows == []


def test_recordings_are_listed_by_state(stranger: Visitor) -> None:
    found = stranger.api("/recordings?state=needs_review").json()["recordings"]
    assert [item["id"] for item in found] == ["recording-2"]


def test_an_unknown_state_is_refused_and_the_known_ones_are_named(stranger: Visitor) -> None:
    answer = stranger.api("/recordings?state=lost")
    assert answer.status_code == 422
    assert "needs_review" in answer.json()["error"]


def test_a_recording_tells_its_candidates(stranger: Visitor) -> None:
    story = stranger.api("/recordings/recording-2").json()
    assert [item["accession"] for item in story["verdict"]["candidates"]] == ["E1002", "E1003", "E1004"]


def test_a_person_links_by_order_id(stranger: Visitor, desk: FakeDesk) -> None:
    answer = stranger.api_post(LINK, {"order_id": "order-E1003", "reason": "seen in the room book"})
    assert answer.status_code == 200
    assert answer.json()["order_id"] == "order-E1003"
    assert desk.stories["recording-2"].recording.reason == f"linked by {NURSE.name}: seen in the room book"


def test_a_person_links_by_an_accession_that_names_one_order(stranger: Visitor, desk: FakeDesk) -> None:
    assert stranger.api_post(LINK, {"accession": "E1002", "reason": "seen"}).status_code == 200
    assert desk.stories["recording-2"].recording.order_id == "order-E1002"


def test_an_accession_that_is_only_the_beginning_of_another_links_nothing(stranger: Visitor, desk: FakeDesk) -> None:
    assert stranger.api_post(LINK, {"accession": "E100", "reason": "seen"}).status_code == 404
    assert desk.stories["recording-2"].recording.state == RecordingState.NEEDS_REVIEW


def test_an_accession_of_several_orders_is_not_guessed_but_listed(stranger: Visitor, desk: FakeDesk) -> None:
    answer = stranger.api_post(LINK, {"accession": "E2001", "reason": "seen"})
    assert answer.status_code == 409
    assert [item["order_id"] for item in answer.json()["orders"]] == ["order-E2001-a", "order-E2001-b"]
    assert "send the order_id" in answer.json()["error"]
    assert desk.stories["recording-2"].recording.state == RecordingState.NEEDS_REVIEW


@pytest.mark.parametrize(
    "body",
    [
        {"order_id": "order-E1002"},
        {"order_id": "order-E1002", "reason": " \n"},
        {"reason": "seen"},
        {"order_id": "order-E1002", "accession": "E1002", "reason": "seen"},
        {"order_id": "order-E1002", "reason": "seen", "force": True},
        {"order_id": "order-E1002", "reason": "x" * 1001},
        [],
    ],
)
def test_a_link_without_one_order_and_one_reason_is_refused(stranger: Visitor, desk: FakeDesk, body: object) -> None:
    answer = stranger.api_post(LINK, body)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("the request is not usable (")
    assert desk.stories["recording-2"].recording.state == RecordingState.NEEDS_REVIEW


def test_a_refusal_does_not_repeat_what_was_sent(stranger: Visitor) -> None:
    answer = stranger.api_post(LINK, {"order_id": "order-E1002", "reason": "seen", "Muster": "Ana Muster"})
    assert "Ana" not in answer.text


def test_a_link_that_the_state_does_not_allow_is_a_conflict_in_a_sentence(stranger: Visitor, desk: FakeDesk) -> None:
    cancelled = stranger.api_post(LINK, {"order_id": "order-E1004", "reason": "seen"})
    assert (cancelled.status_code, cancelled.json()["error"]) == (
        409, "order E1004 is cancelled; release or correct it first",
    )  # fmt: skip
    done = stranger.api_post("/recordings/recording-1/link", {"order_id": "order-E1002", "reason": "seen"})
    assert done.status_code == 409
    assert desk.stories["recording-1"].recording.order_id == "order-E1001"


@pytest.mark.parametrize("path", ["/recordings/none/link", LINK])
def test_a_link_of_what_is_not_there_is_not_found(stranger: Visitor, path: str) -> None:
    assert stranger.api_post(path, {"order_id": "none", "reason": "seen"}).status_code == 404


def test_a_message_is_shown_with_all_its_bytes_also_when_they_are_not_utf8(stranger: Visitor) -> None:
    messages = stranger.api("/messages").json()["messages"]
    assert messages[0]["header"]["control_id"] == "M1"
    assert messages[1]["raw"] == "PID|1||MRN1||Müller\r"


def test_deliveries_are_listed_by_state(stranger: Visitor) -> None:
    assert len(stranger.api("/deliveries?state=done").json()["deliveries"]) == 3
    assert stranger.api("/deliveries?state=waiting").json()["deliveries"] == []


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "many"])
def test_a_limit_out_of_bounds_is_refused(stranger: Visitor, limit: str) -> None:
    assert stranger.api(f"/orders?limit={limit}").status_code == 422


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("/orders", "orders"),
        ("/orders?text=E1001", "orders"),
        ("/orders/E1001/timeline", "accession E1001"),
        ("/recordings", "recordings"),
        ("/recordings/recording-2", "recording recording-2"),
        ("/messages", "messages"),
        ("/deliveries", "deliveries"),
        ("/audit", "audit"),
    ],
)
def test_each_view_of_patient_data_leaves_exactly_one_row_in_the_audit(
    stranger: Visitor, desk: FakeDesk, path: str, subject: str
) -> None:
    assert stranger.api(path).status_code == 200
    assert [(row.actor, row.action, row.subject) for row in desk.rows] == [(NURSE.name, "view", subject)]


def test_the_audit_says_what_was_searched_for(stranger: Visitor, desk: FakeDesk) -> None:
    stranger.api("/orders?text=MRN0071")
    assert desk.rows[-1].detail == "list of 1, search 'MRN0071'"
    assert stranger.api("/audit").json()["audit"][0]["detail"] == "list of 1, search 'MRN0071'"


def test_what_cannot_be_written_to_the_audit_is_not_shown(
    stranger: Visitor, desk: FakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(desk, "audit_view", full)
    answer = stranger.api("/orders")
    assert answer.status_code == 500
    assert "Muster" not in answer.text


def test_an_unexpected_error_tells_nothing_of_the_inside(stranger: Visitor, desk: FakeDesk) -> None:
    desk.broken = RuntimeError("INSERT INTO cl_order VALUES ('Muster')")
    answer = stranger.api("/orders")
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("something failed inside Cinelink")
    assert "Muster" not in answer.text


def test_a_destination_that_does_not_answer_is_a_bad_gateway(stranger: Visitor, desk: FakeDesk) -> None:
    desk.broken = Unreachable("the archive does not answer on 192.0.2.1:104: start it")
    answer = stranger.api("/orders")
    assert (answer.status_code, answer.json()["error"]) == (502, str(desk.broken))


def test_an_address_that_is_not_there_and_a_wrong_method_are_told_in_a_sentence(stranger: Visitor) -> None:
    assert stranger.api("/unheard-of").json()["error"].startswith("there is nothing at this address")
    assert stranger.api_post("/orders", {}).json()["error"].startswith("this address does not take this method")


def test_the_description_of_the_api_names_every_address_and_its_key(stranger: Visitor) -> None:
    told = stranger.api("/openapi.json").json()
    assert "/api/v1/recordings/{recording_id}/link" in told["paths"]
    assert told["paths"]["/api/v1/orders"]["get"]["security"] == [{"HTTPBearer": []}]
    assert not [path for path in told["paths"] if not path.startswith("/api/v1/")]


def test_alive_is_told_to_everybody_also_when_the_desk_is_broken(stranger: Visitor, desk: FakeDesk) -> None:
    desk.broken = RuntimeError("no database")
    assert stranger.get("/healthz").json() == {"status": "alive"}


def test_ready_names_what_is_not_well_and_no_more(stranger: Visitor, desk: FakeDesk) -> None:
    assert stranger.get("/readyz").json() == {"ready": True, "not_ready": []}
    door = desk.state.doors[0].model_copy(update={"ok": False, "sentence": "port 2575 on 10.1.2.3 is taken"})
    desk.state = desk.state.model_copy(update={"ready": False, "doors": (door,)})
    answer = stranger.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "not_ready": ["hl7"]})


def test_not_ready_is_also_the_answer_when_health_itself_fails(stranger: Visitor, desk: FakeDesk) -> None:
    desk.broken = RuntimeError("no database")
    assert stranger.get("/readyz").status_code == 503


def test_an_order_that_is_held_is_listed_with_its_reason(stranger: Visitor, desk: FakeDesk) -> None:
    held = {"status": OrderStatus.HELD, "status_reason": "the birth date differs"}
    desk.add(desk.orders_held["order-E1002"].model_copy(update=held))
    found = stranger.api("/orders?text=E1002").json()["orders"]
    assert (found[0]["status"], found[0]["status_reason"]) == ("held", "the birth date differs")
