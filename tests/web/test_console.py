"""What a nurse does in a browser, from signing in to settling a review."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from models.recording import RecordingState
from tests.interfaces.web.fake_desk import HOSTILE_NAME, TOKEN, FakeDesk
from tests.web.conftest import Console


def sign_in(console: Console, path: str = "/") -> Page:
    console.page.goto(console.address + path)
    console.page.get_by_label("Access token").fill(TOKEN)
    console.page.get_by_role("button", name="Sign in").click()
    console.page.wait_for_url(console.address + path)
    return console.page


def set_state(desk: FakeDesk, state: RecordingState) -> None:
    story = desk.stories["recording-1"]
    desk.stories["recording-1"] = story.model_copy(
        update={"recording": story.recording.model_copy(update={"state": state})}
    )


def test_a_nurse_signs_in_and_reads_an_order_with_its_proof_chain(console: Console) -> None:
    page = sign_in(console)
    page.get_by_role("link", name="E1001", exact=True).click()
    expect(page.get_by_text("Muster, Ana")).to_be_visible()
    chain = page.locator(".chain li")
    expect(chain).to_have_count(7)
    for link in chain.all():
        expect(link).to_contain_text("ok")
        expect(link).to_be_in_viewport()


def test_the_page_that_was_wanted_comes_after_signing_in(console: Console) -> None:
    page = sign_in(console, "/orders/E1001")
    expect(page.get_by_text("every link holds")).to_be_visible()


def test_a_token_in_the_fragment_signs_in_and_reaches_no_server(console: Console) -> None:
    console.page.goto(f"{console.address}/sign-in#token={TOKEN}")
    console.page.wait_for_url(f"{console.address}/")
    expect(console.page.get_by_role("heading", name="Orders")).to_be_visible()
    assert not [url for url in console.asked if TOKEN in url]


def test_a_fragment_may_name_the_page_that_comes_next_but_no_other_site(console: Console) -> None:
    page = console.page
    page.goto(f"{console.address}/sign-in#token={TOKEN}&next=/orders/E1001")
    page.wait_for_url(f"{console.address}/orders/E1001")
    expect(page.get_by_text("every link holds")).to_be_visible()
    page.goto(f"{console.address}/sign-in#token={TOKEN}&next=https://evil.example/")
    page.wait_for_url(f"{console.address}/")


def test_a_token_that_was_pasted_behind_the_open_page_does_not_stay_in_the_history(console: Console) -> None:
    page = console.page
    page.goto(f"{console.address}/sign-in")
    page.goto(f"{console.address}/sign-in#token={TOKEN}")
    page.wait_for_url(f"{console.address}/")
    page.go_back()
    assert page.url.startswith(f"{console.address}/sign-in")
    assert TOKEN not in page.url


def test_a_nurse_links_a_recording_from_review_to_the_patient_that_the_button_names(console: Console) -> None:
    page = sign_in(console)
    page.get_by_role("link", name="OR3_20260301_085801.mp4").click()
    button = page.get_by_role("button", name="Link to Marsch, Eleanor, born 1966-11-23, MRN MRN0077 (DEMO)")
    card = page.locator("article.choice", has=button)
    card.get_by_label("Why is it this one?").fill("seen in the room book")
    button.click()
    expect(page.get_by_role("heading", name="Linked to")).to_be_visible()
    expect(page.locator(".identity")).to_contain_text("Marsch, Eleanor")
    linked = console.desk.stories["recording-2"].recording
    assert (linked.order_id, linked.state) == ("order-E1003", RecordingState.LINKED)
    assert linked.reason.endswith(": seen in the room book")


def test_a_link_without_a_reason_is_stopped_by_the_form(console: Console) -> None:
    page = sign_in(console, "/recordings/recording-2")
    page.get_by_role("button", name="Link to Marsh, Elena").click()
    assert page.locator("textarea:invalid").count() == 2
    assert console.desk.stories["recording-2"].recording.state == RecordingState.NEEDS_REVIEW


def test_the_enter_key_in_a_reason_writes_a_line_and_links_nothing(console: Console) -> None:
    page = sign_in(console, "/recordings/recording-2")
    reason = page.get_by_label("Why is it this one?").first
    reason.fill("seen")
    reason.press("Enter")
    expect(reason).to_have_value("seen\n")
    assert console.desk.stories["recording-2"].recording.state == RecordingState.NEEDS_REVIEW


def test_an_order_page_follows_by_itself_and_stops_when_all_is_done(console: Console) -> None:
    set_state(console.desk, RecordingState.CONVERTED)
    page = sign_in(console, "/orders/E1001")
    expect(page.get_by_text("Follows by itself.")).to_be_visible()
    page.get_by_text("Whole values").click()
    set_state(console.desk, RecordingState.STORED)
    expect(page.locator("section.recording .heading")).to_contain_text("stored")
    expect(page.locator(".proof details")).to_have_attribute("open", "")
    set_state(console.desk, RecordingState.REPORTED)
    expect(page.get_by_text("Finished: nothing more is expected")).to_be_visible()
    assert page.locator("[data-refresh]").count() == 0


def test_a_page_that_lost_its_session_says_that_it_is_stale(console: Console) -> None:
    set_state(console.desk, RecordingState.CONVERTED)
    page = sign_in(console, "/orders/E1001")
    console.desk.tokens.clear()
    expect(page.get_by_role("alert")).to_contain_text("Not up to date: you are signed out")
    # The browser itself notes the refused request; that is no fault of the page.
    console.complaints[:] = [text for text in console.complaints if "401" not in text]


def test_a_hostile_name_is_read_and_not_run(console: Console) -> None:
    page = sign_in(console)
    expect(page.get_by_text(HOSTILE_NAME).first).to_be_visible()


def test_times_tell_the_readers_own_zone_on_hover(console: Console) -> None:
    page = sign_in(console, "/orders/E1001")
    time = page.locator("time").first
    expect(time).to_have_text("2026-03-01 09:00 UTC")
    assert "2026" in str(time.get_attribute("title"))


def test_signing_out_shuts_the_pages(console: Console) -> None:
    page = sign_in(console)
    page.get_by_role("button", name="Sign out").click()
    page.goto(console.address + "/orders/E1001")
    expect(page.get_by_label("Access token")).to_be_visible()


def test_the_console_is_usable_on_a_narrow_screen(console: Console) -> None:
    console.page.set_viewport_size({"width": 420, "height": 800})
    page = sign_in(console, "/recordings/recording-2")
    button = page.get_by_role("button", name="Link to Marsh, Elena")
    button.scroll_into_view_if_needed()
    box = button.bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 420
