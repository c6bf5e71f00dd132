"""What goes wrong gives a clear state with its reason, keeps what was given, and does not stop the next job."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from interfaces.dicom.sandbox import SandboxPacs
from interfaces.fhir.sandbox import SandboxFhir
from interfaces.hl7.sandbox import SandboxReceiver
from models.errors import Declined
from tests.converters.clips import draw_clip
from tests.journeys.site import Site, orm, running, wait_for


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", size=(320, 240), frames=30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("refusals")


@pytest.fixture(scope="module")
def ehr(folder: Path) -> Iterator[Ehr]:
    started = Ehr(folder / "ehr")
    yield started
    started.stop()


class Ehr:
    """An EHR that can be taken down and put up again at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._receiver = SandboxReceiver("127.0.0.1", 0, folder)
        self.port = self._receiver.start()

    def stop(self) -> None:
        self._receiver.stop()

    def start(self) -> None:
        self._receiver = SandboxReceiver("127.0.0.1", self.port, self._folder)
        assert self._receiver.start() == self.port

    def notices(self, accession: str) -> list[bytes]:
        return [raw for raw in self._receiver.received if f"|{accession}|".encode() in raw]


@pytest.fixture(scope="module")
def site(folder: Path, ehr: Ehr) -> Iterator[Site]:
    pacs = SandboxPacs("127.0.0.1", 0, folder / "pacs")
    fhir = SandboxFhir("127.0.0.1", 0, folder / "fhir")
    destinations = [
        {"name": "pacs", "kind": "dicom", "host": "127.0.0.1", "port": pacs.start(), "ae_title": "SANDBOX"},
        {"name": "ehr", "kind": "hl7", "host": "127.0.0.1", "port": ehr.port},
    ]
    fhir.start()
    destinations.append({"name": "fhir", "kind": "fhir", "url": fhir.base_url})
    try:
        with running(Site(folder, destinations)) as started:
            yield started
    finally:
        pacs.stop()
        fhir.stop()


def take_in(site: Site, accession: str, **changes: str) -> None:
    site.send(orm(accession, **changes))
    wait_for(f"order {accession}", lambda: site.order(accession))


def own_copy(clip: Path, mark: str) -> Path:
    """A clip with bytes of its own: the same bytes twice are a duplicate."""
    target = clip.with_name(f"{mark}.mp4")
    shutil.copyfile(clip, target)
    with target.open("ab") as file:
        file.write((8 + len(mark)).to_bytes(4) + b"free" + mark.encode())
    return target


def test_a_good_recording_is_reported_also_beside_all_the_bad_ones(site: Site, clip: Path) -> None:
    take_in(site, "R1000")
    site.drop(own_copy(clip, "R1000"), "ACC_R1000.mp4")
    site.wait_for_recording("ACC_R1000.mp4", "reported")


def test_two_close_candidates_end_in_review(site: Site, clip: Path) -> None:
    take_in(site, "R1001", placer="PA", filler="FA", requested="RPA")
    site.send(orm("R1001", placer="PB", filler="FB", requested="RPB", control_id="MR1001B", study="2.25.77"))
    wait_for("both orders", lambda: len(site.get("/api/v1/orders?text=R1001")["orders"]) == 2)
    site.drop(own_copy(clip, "R1001"), "ACC_R1001.mp4")
    waiting = site.wait_for_recording("ACC_R1001.mp4", "needs_review")
    assert "too close" in waiting["reason"]


def test_an_identifier_that_contradicts_ends_in_review(site: Site, clip: Path) -> None:
    take_in(site, "R1002")
    video = own_copy(clip, "R1002")
    target = site.inbox / "endo1" / "ACC_R1002.mp4"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_suffix(".json").write_text('{"patient_id": "MRN9999"}')
    shutil.copyfile(video, target)
    waiting = site.wait_for_recording("ACC_R1002.mp4", "needs_review")
    assert "another patient id" in waiting["reason"]


@pytest.mark.parametrize(("control", "status", "expected"), [("CA", "CA", "cancelled"), ("HD", "HD", "held")])
def test_a_cancelled_or_held_order_ends_in_review(
    site: Site, clip: Path, control: str, status: str, expected: str
) -> None:
    accession = f"R1003{control}"
    take_in(site, accession)
    site.send(orm(accession, control=control, status=status))
    site.wait_for_order(accession, expected)
    site.drop(own_copy(clip, accession), f"ACC_{accession}.mp4")
    waiting = site.wait_for_recording(f"ACC_{accession}.mp4", "needs_review")
    assert expected in waiting["reason"]


def test_a_person_settles_a_review_and_the_journey_goes_on(site: Site, clip: Path) -> None:
    take_in(site, "R1004")
    site.drop(own_copy(clip, "R1004"), "no-identity-at-all.mp4")
    waiting = site.wait_for_recording("no-identity-at-all.mp4", "needs_review")
    path = f"/api/v1/recordings/{waiting['id']}/link"
    assert site.post(path, {"accession": "R1004", "reason": ""}).status_code in {409, 422}
    assert site.post(path, {"accession": "R1004", "reason": "the physician confirmed it"}).status_code == 200
    site.wait_for_recording("no-identity-at-all.mp4", "reported")
    assert any("the physician confirmed it" in row["detail"] for row in site.get("/api/v1/audit")["audit"])


def test_a_person_settles_a_review_on_the_command_line(site: Site, clip: Path) -> None:
    take_in(site, "R1005")
    site.drop(own_copy(clip, "R1005"), "nameless.mp4")
    waiting = site.wait_for_recording("nameless.mp4", "needs_review")
    said = site.cli("recordings", "link", waiting["id"], "R1005", "--reason", "seen in the room book")
    assert "linked" in said
    site.wait_for_recording("nameless.mp4", "reported")


def test_an_order_that_comes_after_its_video_finds_it(site: Site, clip: Path) -> None:
    site.drop(own_copy(clip, "R1006"), "ACC_R1006.mp4")
    site.wait_for_recording("ACC_R1006.mp4", "needs_review")
    take_in(site, "R1006")
    site.wait_for_recording("ACC_R1006.mp4", "reported")


def test_a_procedure_without_a_row_is_held_never_guessed(site: Site, clip: Path) -> None:
    take_in(site, "R1007", procedure="UNHEARD-OF")
    site.drop(own_copy(clip, "R1007"), "ACC_R1007.mp4")
    held = site.wait_for_recording("ACC_R1007.mp4", "held")
    assert "UNHEARD-OF" in held["reason"]
    assert "procedures table" in held["reason"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("ACC_R1008.mp4", b"this is no video\n" * 400), ("ACC_R1009.mp4", b"")],
    ids=["no video", "empty"],
)
def test_a_file_that_is_no_video_is_rejected_in_words_and_kept(site: Site, name: str, content: bytes) -> None:
    target = site.inbox / "endo1" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    rejected = site.wait_for_recording(name, "rejected")
    assert len(rejected["reason"]) > 20
    assert target.read_bytes() == content


def test_a_truncated_video_is_rejected_in_words_and_kept(site: Site, clip: Path) -> None:
    cut = clip.read_bytes()[:-2000]
    target = site.inbox / "endo1" / "ACC_R1010.mp4"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(cut)
    rejected = site.wait_for_recording("ACC_R1010.mp4", "rejected")
    assert rejected["reason"]
    assert target.read_bytes() == cut


def test_the_same_bytes_twice_are_one_recording_and_a_duplicate(site: Site, clip: Path) -> None:
    take_in(site, "R1011")
    video = own_copy(clip, "R1011")
    site.drop(video, "ACC_R1011.mp4")
    site.wait_for_recording("ACC_R1011.mp4", "reported")
    site.drop(video, "ACC_R1011_2.mp4")
    again = site.wait_for_recording("ACC_R1011_2.mp4", "duplicate")
    assert "same bytes" in again["reason"]


def test_an_orm_that_is_no_orm_is_answered_in_words_and_kept(site: Site) -> None:
    no_order = b"MSH|^~\\&|RIS|DEMO|CINELINK|DEMO|20260301||ORM^O01|BAD1|P|2.3.1\rPID|1||MRN1^^^DEMO\r"
    with pytest.raises(Declined, match="ORC"):
        site.send(no_order)
    kept = [item for item in site.get("/api/v1/messages")["messages"] if item["header"]["control_id"] == "BAD1"]
    assert kept[0]["applied"] == "refused"
    assert "ORC" in kept[0]["reason"]


def test_the_same_message_twice_gets_the_first_answer_again(site: Site) -> None:
    message = orm("R1012")
    assert site.send(message).raw == site.send(message).raw
    site.wait_for_order("R1012")
    assert site.timeline("R1012")["versions"] == 1


def test_a_dead_ehr_is_waited_for_in_words_stops_nothing_else_and_is_told_later(
    site: Site, ehr: Ehr, clip: Path
) -> None:
    take_in(site, "R1013")
    ehr.stop()
    try:
        site.drop(own_copy(clip, "R1013"), "ACC_R1013.mp4")
        site.wait_for_recording("ACC_R1013.mp4", "proven")
        waiting = wait_for("the EHR to be missed", lambda: _waiting_for(site, "R1013"))
        assert "127.0.0.1" in waiting["reason"]
        story = site.timeline("R1013")
        fhir = next(item for item in story["deliveries"] if item["delivery"]["kind"] == "fhir")
        wait_for("the FHIR server to be told all the same", lambda: _is_done(site, fhir["delivery"]["id"]))
    finally:
        ehr.start()
    site.wait_for_recording("ACC_R1013.mp4", "reported")
    assert len(ehr.notices("R1013")) == 1


def _waiting_for(site: Site, accession: str) -> dict[str, str] | None:
    for item in site.timeline(accession)["deliveries"]:
        if item["delivery"]["kind"] == "hl7" and item["delivery"]["state"] == "waiting":
            return dict(item["delivery"])
    return None


def _is_done(site: Site, delivery_id: str) -> bool:
    found = [item for item in site.get("/api/v1/deliveries")["deliveries"] if item["id"] == delivery_id]
    return bool(found) and found[0]["state"] == "done"


def test_a_refused_study_of_another_patient_is_never_written_into(site: Site, clip: Path) -> None:
    """The PACS holds a study of another patient under this accession number: a person decides (clinical.md 2)."""
    take_in(site, "R1014")
    site.drop(own_copy(clip, "R1014"), "ACC_R1014.mp4")
    site.wait_for_recording("ACC_R1014.mp4", "reported")
    other = {"patient_id": "MRN7777", "name": "Andersen^Per", "birth": "19500505", "sex": "M", "study": ""}
    site.send(orm("R1014", **other, placer="PZ", filler="FZ", requested="RPZ", control_id="MR1014Z"))
    wait_for("both orders", lambda: len(site.get("/api/v1/orders?text=R1014")["orders"]) == 2)
    newer = next(item for item in site.get("/api/v1/orders?text=R1014")["orders"] if not item["study_uid"])
    site.drop(own_copy(clip, "R1014other"), "unnamed-1014.mp4")
    waiting = site.wait_for_recording("unnamed-1014.mp4", "needs_review")
    body = {"order_id": newer["id"], "reason": "for the second patient"}
    assert site.post(f"/api/v1/recordings/{waiting['id']}/link", body).status_code == 200
    again = site.wait_for_recording("unnamed-1014.mp4", "needs_review", "reported")
    assert again["state"] == "needs_review"
    assert "another patient" in wait_for("the reason", lambda: site.recording("unnamed-1014.mp4"))["reason"]
