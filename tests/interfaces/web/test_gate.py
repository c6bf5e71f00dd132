"""Who comes in, and what every answer carries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from interfaces.web.gate import MOST_BODY_BYTES
from interfaces.web.sessions import Sessions
from tests.interfaces.web.fake_desk import NURSE, TOKEN, FakeDesk, hospital
from tests.interfaces.web.visitor import HOST, OWN_FORM, Visitor

OPEN = {"/healthz", "/readyz", "/sign-in"}
API_LINK = "/api/v1/recordings/recording-2/link"


def routes() -> Iterator[tuple[str, str]]:
    """Every method and path of the app, with its parameters filled in."""
    app = Visitor(hospital()).app
    yield "GET", str(app.openapi_url)
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute):
            path = str(context.path)
            for name, value in (("{accession:path}", "E1001"), ("{recording_id}", "recording-2")):
                path = path.replace(name, value)
            yield from ((method, path) for method in context.methods or ())


ALL_ROUTES = sorted(set(routes()))


def test_the_list_of_routes_is_the_whole_app() -> None:
    paths = {path for _, path in ALL_ROUTES}
    assert {"/", "/orders/E1001", "/api/v1/orders/E1001/timeline", API_LINK, "/api/v1/openapi.json"} <= paths
    assert len(ALL_ROUTES) >= 17
    assert not [path for path in paths if "{" in path]


@pytest.mark.parametrize(("method", "path"), [route for route in ALL_ROUTES if route[1] not in OPEN])
def test_nothing_but_the_doorstep_answers_without_a_token(
    stranger: Visitor, desk: FakeDesk, method: str, path: str
) -> None:
    answer = stranger.ask(method, path, headers=OWN_FORM)
    if path.startswith(("/api/", "/fragments/")):
        assert answer.status_code == 401
        assert answer.json()["error"].startswith("sign in first")
    else:
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/sign-in?next=")
    assert "Muster" not in answer.text
    assert desk.rows == []


def test_an_unknown_address_tells_a_stranger_no_more_than_a_known_one(stranger: Visitor) -> None:
    assert stranger.get("/api/v1/unheard-of").content == stranger.get("/api/v1/orders").content


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"],
)
def test_a_missing_malformed_or_unknown_token_is_answered_the_same(stranger: Visitor, header: str) -> None:
    answer = stranger.get("/api/v1/orders", headers={"Authorization": header})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.content == stranger.get("/api/v1/orders").content


def test_a_token_in_the_address_opens_nothing(stranger: Visitor) -> None:
    assert stranger.get(f"/api/v1/orders?token={TOKEN}").status_code == 401
    stranger.get(f"/sign-in?token={TOKEN}")
    assert stranger.get("/").status_code == 303


def test_a_body_is_not_even_read_before_the_token(stranger: Visitor) -> None:
    answer = stranger.ask("POST", API_LINK, content=b"{broken", headers={"Content-Type": "application/json"})
    assert answer.status_code == 401


def test_the_cookie_of_the_console_does_not_open_the_api(nurse: Visitor) -> None:
    assert nurse.get("/").status_code == 200
    assert nurse.get("/api/v1/orders").status_code == 401


def test_the_token_of_the_api_does_not_open_the_console(stranger: Visitor) -> None:
    assert stranger.get("/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 303


@pytest.mark.parametrize(
    ("path", "signed_in", "status"),
    [
        ("/", True, 200),
        ("/orders/E1001", True, 200),
        ("/orders/none", True, 404),
        ("/", False, 303),
        ("/sign-in", False, 200),
        ("/api/v1/orders", False, 401),
        ("/healthz", False, 200),
        ("/static/console.css", False, 200),
        ("/static/none", False, 404),
    ],
)
def test_every_answer_forbids_foreign_scripts_frames_and_guessing(
    desk: FakeDesk, path: str, signed_in: bool, status: int
) -> None:
    visitor = Visitor(desk)
    if signed_in:
        visitor.sign_in()
    answer = visitor.get(path)
    assert answer.status_code == status
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == ("no-cache" if path.startswith("/static/") else "no-store")


def test_also_an_answer_to_a_failure_carries_the_headers(nurse: Visitor, desk: FakeDesk) -> None:
    desk.broken = RuntimeError("database at secret.example fell over")
    answer = nurse.get("/")
    assert answer.status_code == 500
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert answer.headers["cache-control"] == "no-store"
    assert "secret.example" not in answer.text


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites_and_holds_no_token(stranger: Visitor) -> None:
    cookie = stranger.sign_in().headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie


def test_a_cookie_that_was_set_over_tls_stays_there(stranger: Visitor) -> None:
    origin = {"Origin": f"https://{HOST}"}
    answer = stranger.ask("POST", f"https://{HOST}/sign-in", data={"token": TOKEN}, headers=origin)
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "cross-site"},
        {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-site"},
        {"Origin": f"http://{HOST}.evil.example"},
        {"Origin": f"http://{HOST}@evil.example"},
    ],
)
@pytest.mark.parametrize("path", ["/recordings/recording-2/link", "/sign-in", "/sign-out"])
def test_a_form_from_another_site_is_not_carried_out(
    nurse: Visitor, desk: FakeDesk, path: str, headers: dict[str, str]
) -> None:
    before = desk.stories["recording-2"]
    fields = {"order_id": "order-E1002", "reason": "I said so", "token": TOKEN}
    assert nurse.ask("POST", path, data=fields, headers=headers).status_code == 403
    assert desk.stories["recording-2"] == before
    assert nurse.get("/").status_code == 200


def test_a_wrong_token_is_told_so_and_gets_no_cookie(stranger: Visitor) -> None:
    answer = stranger.sign_in("wrong")
    assert answer.status_code == 401
    assert "not known here" in answer.text
    assert "set-cookie" not in answer.headers
    assert "wrong" not in answer.text


def test_signing_out_ends_the_session_at_the_server(nurse: Visitor) -> None:
    kept = dict(nurse.cookies)
    assert nurse.submit("/sign-out").headers["location"] == "/sign-in"
    nurse.cookies.update(kept)
    assert nurse.get("/").status_code == 303


def test_a_revoked_token_ends_its_sessions_at_once(nurse: Visitor, desk: FakeDesk) -> None:
    desk.tokens.clear()
    assert nurse.get("/").status_code == 303


def test_a_workstation_that_was_left_is_signed_out_even_while_its_page_refreshes(desk: FakeDesk) -> None:
    now = [0.0]
    nurse = Visitor(desk, Sessions(idle_seconds=100, clock=lambda: now[0]))
    nurse.sign_in()
    now[0] = 90
    assert nurse.get("/fragments/orders/E1001").status_code == 200
    now[0] = 110
    assert nurse.get("/fragments/orders/E1001").status_code == 401
    assert nurse.get("/").status_code == 303


def test_someone_who_works_stays_signed_in_until_the_shift_is_over(desk: FakeDesk) -> None:
    now = [0.0]
    nurse = Visitor(desk, Sessions(idle_seconds=100, most_seconds=250, clock=lambda: now[0]))
    nurse.sign_in()
    for moment in (90, 180, 240):
        now[0] = moment
        assert nurse.get("/").status_code == 200
    now[0] = 251
    assert nurse.get("/").status_code == 303


def test_where_there_is_no_room_the_session_that_was_used_longest_ago_ends() -> None:
    now = [0.0]
    sessions = Sessions(room=2, clock=lambda: now[0])
    old, busy = sessions.open("old"), sessions.open("busy")
    now[0] = 1
    sessions.token(busy, by_person=True)
    new = sessions.open("new")
    assert [sessions.token(key, by_person=True) for key in (old, busy, new)] == ["", "busy", "new"]


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "evil.example", "", "/a\r\nSet-Cookie: x=1"]
)
def test_signing_in_never_leads_to_another_site(stranger: Visitor, wanted: str) -> None:
    answer = stranger.submit("/sign-in", token=TOKEN, next=wanted)
    assert answer.headers["location"] == "/"


def test_signing_in_leads_back_to_the_page_that_was_wanted(stranger: Visitor) -> None:
    asked = stranger.get("/orders/E%2F3%20%252F%3F%23")
    form = stranger.get(asked.headers["location"])
    wanted = form.text.split('name="next" value="')[1].split('"')[0]
    answer = stranger.submit("/sign-in", token=TOKEN, next=wanted)
    assert "alert(" in stranger.get(answer.headers["location"]).text


def test_a_body_beyond_any_form_is_refused_unread(stranger: Visitor) -> None:
    answer = stranger.ask("POST", "/sign-in", content=b"x" * (MOST_BODY_BYTES + 1), headers=OWN_FORM)
    assert answer.status_code == 413


def test_a_body_that_does_not_announce_its_size_is_cut_off(stranger: Visitor) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 4096
            yield b"token=" + b"x" * 4090

    headers = {**OWN_FORM, "Content-Type": "application/x-www-form-urlencoded"}
    answer = stranger.ask("POST", "/sign-in", content=endless(), headers=headers)
    assert answer.status_code >= 400
    assert sent <= 2 * MOST_BODY_BYTES


def test_the_actor_of_a_page_is_who_signed_in(nurse: Visitor, desk: FakeDesk) -> None:
    nurse.get("/orders/E1001")
    assert {row.actor for row in desk.rows} == {NURSE.name}
