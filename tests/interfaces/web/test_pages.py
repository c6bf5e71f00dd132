"""The console's pages: what people read, what they can do, and what can never deceive them."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from models.delivery import DeliveryKind, DeliveryState
from models.order import OrderStatus
from models.recording import RecordingState
from models.timeline import ProofLink
from tests.interfaces.web.fake_desk import NURSE, FakeDesk, delivery, waiting_story
from tests.interfaces.web.visitor import Visitor
from tests.samples import NOW

REVIEW = "/recordings/recording-2"


class Tags(HTMLParser):
    """Collects the tags of a page with their attributes, and the text of its buttons."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.buttons: list[str] = []
        self._in_button = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "button":
            self._in_button = True
            self.buttons.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_button = self._in_button and tag != "button"

    def handle_data(self, data: str) -> None:
        if self._in_button:
            self.buttons[-1] += data


def tags_of(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    return tags


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


# --- lists ---


def test_the_first_page_lists_orders_with_who_they_are_for(nurse: Visitor) -> None:
    words = text_of(nurse.get("/").text)
    assert (
        "Marsh, Elena 1961-05-04 MRN0071 E1002 Upper endoscopy 2026-03-01 09:00 UTC ENDO1 ○ scheduled ○ not yet"
        in words
    )
    assert "✓ complete" in words
    assert "✕ cancelled" in words


def test_the_first_page_shows_what_waits_for_a_person_and_why(nurse: Visitor) -> None:
    page = nurse.get("/").text
    assert "! needs review" in text_of(page)
    assert "two candidates are too close to each other" in page
    assert f'href="{REVIEW}"' in page


def test_a_search_narrows_the_list_and_keeps_its_words(nurse: Visitor) -> None:
    page = nurse.get("/?q=%20E1002").text
    assert "E1002" in page
    assert "E1003" not in page
    assert 'value="E1002"' in page


def test_a_search_that_finds_nothing_says_how_to_search(nurse: Visitor) -> None:
    words = text_of(nurse.get("/?q=<b>nobody").text)
    assert "No order begins with “ &lt;b&gt;nobody ”" in words


def test_empty_lists_say_what_would_fill_them(nurse: Visitor, desk: FakeDesk) -> None:
    desk.orders_held.clear()
    desk.stories.clear()
    words = text_of(nurse.get("/").text)
    assert "No order has come in yet" in words
    assert "Nothing waits" in words
    assert "Put a video into a watch folder" in text_of(nurse.get("/recordings").text)


def test_an_order_without_accession_is_listed_without_a_link_to_nowhere(nurse: Visitor, desk: FakeDesk) -> None:
    desk.orders_held = {"order-nameless": desk.orders_held["order-nameless"]}
    assert 'href="/orders/"' not in nurse.get("/").text
    assert nurse.get("/orders/").status_code == 404


def test_recordings_are_listed_by_state_with_counts(nurse: Visitor) -> None:
    page = nurse.get("/recordings?state=reported").text
    assert "ACC_E1001.mp4" in page
    assert "OR3_20260301" not in page
    assert "needs review 1" in text_of(page)


def test_a_door_that_does_not_work_is_named_on_every_page(nurse: Visitor, desk: FakeDesk) -> None:
    door = desk.state.doors[0].model_copy(update={"name": "destination archive", "ok": False, "sentence": "refused"})
    desk.state = desk.state.model_copy(update={"doors": (*desk.state.doors, door)})
    for path in ("/", "/recordings", "/orders/E1001", REVIEW):
        words = text_of(nurse.get(path).text)
        assert "All doors work" not in words
        assert "destination archive : does not work refused" in words


# --- one order ---


def test_an_order_shows_whose_it_is_before_anything_else(nurse: Visitor) -> None:
    words = text_of(nurse.get("/orders/E1001").text)
    identity = (
        "Muster, Ana Born 1970-01-02 Sex female MRN MRN0042 (DEMO) Accession E1001 Order ○ scheduled ✓ media complete"
    )
    assert identity in words
    assert words.index(identity) < words.index("Proof")
    assert "Study Instance UID 2.25.42 sent with the order" in words


def test_an_order_shows_its_proof_chain_link_by_link(nurse: Visitor) -> None:
    words = text_of(nurse.get("/orders/E1001").text)
    order = [
        "file SHA-256", "bit stream SHA-256", "SOP Instance UID", "C-STORE status (archive)", "held in PACS (archive)",
        "FHIR version (fhir)", "HL7 acknowledgement (ehr)",
    ]  # fmt: skip
    places = [words.index(f"✓ ok {name}") for name in order]
    assert places == sorted(places)
    assert "every link holds" in words
    assert "ImagingStudy/17 version 1" in words
    assert "4e0f3a1c9bd27786" * 4 in words, "the whole value is there too"


@pytest.mark.parametrize(
    ("holds", "sign", "summary"), [(None, "○ owed", "1 still owed"), (False, "✕ failed", "1 failed")]
)
def test_a_link_that_is_owed_or_broken_is_told_by_sign_and_word(
    nurse: Visitor, desk: FakeDesk, holds: bool | None, sign: str, summary: str
) -> None:
    story = desk.stories["recording-1"]
    links = (*story.proof[:-1], ProofLink(name="HL7 acknowledgement (ehr)", value="", holds=holds))
    desk.stories["recording-1"] = story.model_copy(update={"proof": links})
    words = text_of(nurse.get("/orders/E1001").text)
    assert f"{sign} HL7 acknowledgement (ehr)" in words
    assert summary in words
    assert "every link holds" not in words


def test_an_order_says_why_a_recording_is_its_own_and_what_was_done(nurse: Visitor) -> None:
    words = text_of(nurse.get("/orders/E1001").text)
    assert "✓ agrees accession the file name carries the order&#39;s accession recorder" in words
    assert "≈ near time" in words
    assert "over 99.99 % for this order" in words
    assert "passthrough to H.264 High 4.1, Video endoscopic (ES), 1920×1080" in words  # noqa: RUF001 - the sign for dimensions
    assert "✓ passed number of frames 9372 decoded, 9372 in the attributes" in words


def test_events_are_told_in_the_order_of_time(nurse: Visitor, desk: FakeDesk) -> None:
    desk.events.reverse()
    page = nurse.get("/orders/E1001").text
    assert page.index("order scheduled") < page.index("recording linked") < page.index("order media complete")


def test_a_delivery_that_waits_tells_why_and_until_when(nurse: Visitor, desk: FakeDesk) -> None:
    desk.delivery_stories = [
        delivery(
            "archive", DeliveryKind.DICOM, DeliveryState.WAITING,
            reason="archive does not answer", next_attempt_at=NOW + timedelta(seconds=8),
        )
    ]  # fmt: skip
    words = text_of(nurse.get("/orders/E1001").text)
    assert "archive DICOM object ! waiting archive does not answer 2026-03-01 09:00:08 UTC" in words
    assert "! unreachable" in words


def test_a_held_order_says_why(nurse: Visitor, desk: FakeDesk) -> None:
    changes = {"status": OrderStatus.HELD, "status_reason": "held: the birth date differs"}
    desk.add(desk.orders_held["order-E1002"].model_copy(update=changes))
    words = text_of(nurse.get("/orders/E1002").text)
    assert "! held" in words
    assert "held: the birth date differs" in words


def test_two_orders_of_one_accession_are_shown_apart(nurse: Visitor) -> None:
    words = text_of(nurse.get("/orders/E2001").text)
    assert "2 orders carry the accession number E2001" in words
    assert words.count("Born 1970-01-02") == 2
    assert "COL Colonoscopy" in words


def test_an_unknown_order_is_told_in_a_sentence_on_a_page(nurse: Visitor) -> None:
    answer = nurse.get("/orders/E9999")
    assert answer.status_code == 404
    assert "no order has the accession number" in answer.text
    assert answer.headers["content-type"].startswith("text/html")


def test_a_page_follows_what_happens_until_nothing_more_does(nurse: Visitor, desk: FakeDesk) -> None:
    assert "data-refresh" not in nurse.get("/orders/E1001").text
    story = desk.stories["recording-1"]
    under_way = story.recording.model_copy(update={"state": RecordingState.STORED})
    desk.stories["recording-1"] = story.model_copy(update={"recording": under_way})
    page = nurse.get("/orders/E1001").text
    assert 'data-refresh="/fragments/orders/E1001"' in page
    fragment = nurse.get("/fragments/orders/E1001").text
    assert fragment.strip().startswith('<div id="live"')
    assert fragment.strip() in page


def test_a_page_follows_an_order_that_waits_for_its_video_but_not_a_cancelled_one(nurse: Visitor) -> None:
    assert "data-refresh" in nurse.get("/orders/E1002").text
    assert "data-refresh" not in nurse.get("/orders/E1004").text


# --- what means no good ---


def test_a_name_is_never_a_tag(nurse: Visitor) -> None:
    for path in ("/", "/orders/E%2F3%20%252F%3F%23", f"{REVIEW}?q=E/3"):
        page = nurse.get(path).text
        assert "&lt;script&gt;alert(" in page
        assert [attributes for tag, attributes in tags_of(page).tags if tag == "script"] == [
            {"src": "/static/console.js", "defer": None}
        ]


def test_no_text_of_a_recorder_or_a_peer_is_ever_a_tag(nurse: Visitor, desk: FakeDesk) -> None:
    bad = "</bdi><img src=x onerror=alert(1)>"
    story = desk.stories["recording-1"]
    hostile = story.recording.model_copy(update={"name": bad, "reason": bad, "state": RecordingState.FAILED})
    links = tuple(link.model_copy(update={"name": bad, "value": bad}) for link in story.proof)
    checks = tuple(check.model_copy(update={"name": bad, "figure": bad}) for check in story.checks)
    desk.stories["recording-1"] = story.model_copy(update={"recording": hostile, "proof": links, "checks": checks})
    desk.events = [event.model_copy(update={"detail": bad, "actor": bad}) for event in desk.events]
    desk.delivery_stories = [delivery(bad, DeliveryKind.HL7, DeliveryState.FAILED, reason=bad, control_id=bad)]
    for path in ("/", "/recordings", "/recordings/recording-1", "/orders/E1001"):
        page = nurse.get(path).text
        assert "&lt;img src=x" in page
        assert not [attributes for tag, attributes in tags_of(page).tags if tag == "img"]


def test_a_number_that_would_read_backwards_is_shown_as_it_is(nurse: Visitor) -> None:
    for path in ("/", "/orders/E4001"):
        page = nurse.get(path).text
        assert "\u202e" not in page
        assert "MRN⟨U+202E⟩2400" in page


def test_names_in_other_scripts_stay_apart_from_what_stands_beside_them(nurse: Visitor) -> None:
    assert "<bdi>לוי, שרה</bdi>" in nurse.get("/orders/E4001").text


def test_every_address_of_an_order_leads_to_that_order(nurse: Visitor) -> None:
    links = [attributes["href"] for tag, attributes in tags_of(nurse.get("/").text).tags if tag == "a"]
    odd = [str(link) for link in links if str(link).startswith("/orders/E%2F3")]
    assert len(odd) == 1
    assert "E/3 %2F?#" in nurse.get(odd[0]).text


def test_no_page_carries_script_or_style_of_its_own(nurse: Visitor) -> None:
    for path in ("/", "/recordings", "/orders/E1001", REVIEW, "/orders/none"):
        for tag, attributes in tags_of(nurse.get(path).text).tags:
            assert tag != "style"
            assert not [name for name in attributes if name == "style" or name.startswith("on")]
            assert tag != "script" or attributes.get("src")


# --- a recording, and a person's decision ---


def test_a_review_shows_each_candidate_with_what_speaks_for_and_against(nurse: Visitor) -> None:
    words = text_of(nurse.get(REVIEW).text)
    assert words.index("Marsh, Elena") < words.index("Marsch, Eleanor") < words.index("Quist, Ida")
    assert "≈ near name the sidecar carries a similar surname sidecar" in words
    assert "✕ contradicts patient id the sidecar carries another patient id" in words
    assert "none of the orders below: 8.0 %" in words
    assert "two candidates are too close to each other" in words


def test_a_button_says_whom_it_links_to_and_nothing_is_chosen_beforehand(nurse: Visitor) -> None:
    tags = tags_of(nurse.get(REVIEW).text)
    buttons = [" ".join(button.split()) for button in tags.buttons if button.startswith("Link")]
    assert buttons == [
        "Link to Marsh, Elena, born 1961-05-04, MRN MRN0071 (DEMO)",
        "Link to Marsch, Eleanor, born 1966-11-23, MRN MRN0077 (DEMO)",
    ]
    for _, attributes in tags.tags:
        assert not {"checked", "selected", "autofocus"} & set(attributes)


def test_the_enter_key_never_links_because_the_reason_is_a_text_of_several_lines(nurse: Visitor) -> None:
    page = nurse.get(REVIEW).text
    forms = page.split('action="/recordings/recording-2/link"')[1:]
    assert len(forms) == 2
    for form in forms:
        fields = [
            (tag, a.get("type")) for tag, a in tags_of(form.split("</form>")[0]).tags if tag in {"input", "textarea"}
        ]
        assert fields == [("input", "hidden"), ("textarea", None)]


def test_a_cancelled_order_cannot_be_chosen_and_says_why(nurse: Visitor) -> None:
    page = nurse.get(REVIEW).text
    assert 'value="order-E1004"' not in page
    assert "this order is cancelled: it must be released" in page


def test_a_person_links_with_a_reason_and_sees_the_result(nurse: Visitor, desk: FakeDesk) -> None:
    answer = nurse.submit(f"{REVIEW}/link", order_id="order-E1003", reason=" seen in the room book ")
    assert (answer.status_code, answer.headers["location"]) == (303, REVIEW)
    assert desk.stories["recording-2"].recording.reason == f"linked by {NURSE.name}: seen in the room book"
    words = text_of(nurse.get(REVIEW).text)
    assert "Linked to Marsch, Eleanor Born 1966-11-23" in words
    assert "Which order is this?" not in words


def test_a_link_without_a_reason_is_not_made_and_says_so(nurse: Visitor, desk: FakeDesk) -> None:
    answer = nurse.submit(f"{REVIEW}/link", order_id="order-E1003", reason="  ")
    assert answer.status_code == 409
    assert "Nothing was linked: say why this is the right order." in answer.text
    assert desk.stories["recording-2"].recording.state == RecordingState.NEEDS_REVIEW


def test_a_link_that_another_person_made_first_is_not_made_twice(nurse: Visitor, desk: FakeDesk) -> None:
    desk.link("recording-2", "order-E1002", NURSE, "first")
    answer = nurse.submit(f"{REVIEW}/link", order_id="order-E1003", reason="second")
    assert answer.status_code == 409
    assert "Nothing was linked:" in answer.text
    assert desk.stories["recording-2"].recording.order_id == "order-E1002"


def test_where_no_candidate_fits_a_person_searches_for_the_order(nurse: Visitor, desk: FakeDesk) -> None:
    story = waiting_story()
    desk.stories["recording-2"] = story.model_copy(update={"verdict": None})
    assert "Search for its order" in nurse.get(REVIEW).text
    page = nurse.get(f"{REVIEW}?q=E1002").text
    assert "Found by search; nothing was weighed for it." in page
    assert 'value="order-E1002"' in page
    assert "No other order begins with" in text_of(nurse.get(f"{REVIEW}?q=nobody").text)


def test_a_search_does_not_show_a_candidate_twice(nurse: Visitor) -> None:
    page = nurse.get(f"{REVIEW}?q=E1002").text
    assert page.count('value="order-E1002"') == 1


def test_a_recording_that_is_done_offers_no_link(nurse: Visitor) -> None:
    page = nurse.get("/recordings/recording-1").text
    assert "/link" not in page
    assert "Linked to Muster, Ana" in text_of(page)
    assert "every link holds" in text_of(page)


def test_an_unknown_recording_is_told_on_a_page(nurse: Visitor) -> None:
    assert nurse.get("/recordings/none").status_code == 404
    assert nurse.submit("/recordings/none/link", order_id="order-E1002", reason="seen").status_code == 404


# --- the audit ---


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("/", "orders"),
        ("/recordings", "recordings"),
        ("/orders/E1001", "accession E1001"),
        ("/fragments/orders/E1001", "accession E1001"),
        (REVIEW, "recording recording-2"),
    ],
)
def test_each_page_with_patient_data_leaves_exactly_one_row_in_the_audit(
    nurse: Visitor, desk: FakeDesk, path: str, subject: str
) -> None:
    assert nurse.get(path).status_code == 200
    assert [(row.actor, row.action, row.subject) for row in desk.rows] == [(NURSE.name, "view", subject)]


def test_the_audit_of_a_review_names_the_orders_that_were_shown(nurse: Visitor, desk: FakeDesk) -> None:
    nurse.get(f"{REVIEW}?q=E1001")
    assert desk.rows[-1].detail == "page; orders shown: E1002, E1003, E1004, E1001"
