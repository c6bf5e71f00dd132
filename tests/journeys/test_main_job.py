"""The main job against peers that nobody of us wrote; asserted from the peers (promises 1 to 3)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.converters.clips import draw_clip
from tests.journeys.hospital import Hospital, dump_of_dcmtk, errors_of_dciodvfy
from tests.journeys.site import Site, orm, running, wait_for
from tests.peers.hl7 import foreign_send

KEEP_SOUND = {
    "code": "EGD", "scheme": "L", "modality": "ES", "sop_class": "video-endoscopic", "region_code": "110861005",
    "region_meaning": "Esophagus, stomach and duodenum", "series_description": "EGD video", "audio": "keep",
    "fhir_system": "http://snomed.info/sct", "fhir_code": "76009000", "fhir_display": "Esophagogastroduodenoscopy",
}  # fmt: skip


@pytest.fixture(scope="module")
def site(hospital: Hospital, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with running(Site(folder, hospital.destinations(procedure=True), {"procedures": [KEEP_SOUND]})) as started:
        yield started


@pytest.fixture(scope="module")
def reported(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One recording that went the whole way: the order from a foreign sender, the video by a slow copy."""
    video = draw_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", size=(640, 480), frames=75, audio="aac")
    answers = foreign_send(site.ports["hl7"], [orm("E1001")])
    assert b"MSA|AA|ME1001NW" in answers[0]
    site.wait_for_order("E1001")
    copy_slowly(video, site.inbox / "endo1" / "ACC_E1001.mp4", site)
    site.wait_for_recording("ACC_E1001.mp4", "reported")
    return video


def copy_slowly(source: Path, target: Path, site: Site) -> None:
    """Write a file in parts; the engine must see it arrive and not touch it before it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    data = source.read_bytes()
    with target.open("wb") as copy:
        copy.write(data[: len(data) // 2])
        copy.flush()
        site.wait_for_recording(target.name, "arriving")
        copy.write(data[len(data) // 2 :])


def test_the_pacs_holds_the_very_bytes_of_the_file_under_the_orders_identity(
    hospital: Hospital, site: Site, reported: Path
) -> None:
    story = site.timeline("E1001")["recordings"][0]
    instance = story["instances"][0]
    held = hospital.orthanc.metadata(instance["sop_uid"])
    assert held["PatientID"] == "MRN0042"
    assert held["AccessionNumber"] == "E1001"
    assert held["StudyInstanceUID"] == f"2.25.{int.from_bytes(b'E1001')}"
    assert held["SOPClassUID"] == "1.2.840.10008.5.1.4.1.1.77.1.1.1"
    payload = hospital.orthanc.payload(instance["sop_uid"])
    assert story["plan"]["kind"] == "passthrough"
    assert story["plan"]["blanked"] == []
    assert hashlib.sha256(payload).hexdigest() == hashlib.sha256(reported.read_bytes()).hexdigest()


def test_the_object_is_judged_clean_by_dciodvfy_and_opened_by_dcmtk(site: Site, reported: Path) -> None:
    path = site.timeline("E1001")["recordings"][0]["instances"][0]["path"]
    assert errors_of_dciodvfy(path) == []
    assert "MRN0042" in dump_of_dcmtk(path)


def test_the_ehr_got_one_notice_that_says_stored_and_not_final(hospital: Hospital, site: Site, reported: Path) -> None:
    notices = [notice for notice in hospital.notices() if notice.accession == "E1001"]
    assert len(notices) == 1
    assert (notices[0].kind, notices[0].status) == ("ORU^R01^ORU_R01", "R")
    text = str(notices[0].parsed)
    assert site.timeline("E1001")["order"]["study_uid"] in text


def test_the_fhir_server_holds_one_imaging_study_and_one_procedure(
    hospital: Hospital, site: Site, reported: Path
) -> None:
    study = site.timeline("E1001")["order"]["study_uid"]
    found = hospital.fhir.search("ImagingStudy", identifier=f"urn:dicom:uid|urn:oid:{study}")
    assert [item["status"] for item in found] == ["available"]
    assert found[0]["numberOfInstances"] == 1
    assert len(hospital.fhir.search("Procedure")) == 1


def test_the_order_keeps_its_owners_status_and_our_own_mark_says_media_complete(site: Site, reported: Path) -> None:
    order = site.timeline("E1001")["order"]
    assert (order["status"], order["media_complete"]) == ("scheduled", True)


def test_the_proof_chain_holds_from_the_file_to_the_notices(site: Site, reported: Path) -> None:
    chain = site.timeline("E1001")["recordings"][0]["proof"]
    names = [link["name"] for link in chain]
    assert names == [
        "file SHA-256", "bit stream SHA-256", "SOP Instance UID", "C-STORE status (orthanc)",
        "held in PACS (orthanc)", "FHIR version (fhir)", "HL7 acknowledgement (ehr)",
    ]  # fmt: skip
    assert all(link["holds"] for link in chain)
    explained = site.cli("explain", "E1001")
    assert chain[0]["value"] in explained


def test_a_second_clip_is_an_addendum_in_the_same_study(
    hospital: Hospital, site: Site, reported: Path, tmp_path: Path
) -> None:
    second = draw_clip(tmp_path / "second.mp4", size=(320, 240), frames=30)
    site.drop(second, "ACC_E1001_2.mp4")
    site.wait_for_recording("ACC_E1001_2.mp4", "reported")
    study = site.timeline("E1001")["order"]["study_uid"]
    found = hospital.fhir.search("ImagingStudy", identifier=f"urn:dicom:uid|urn:oid:{study}")
    assert [item["numberOfInstances"] for item in found] == [2]
    assert len({notice.control_id for notice in hospital.notices() if notice.accession == "E1001"}) == 2
    assert len(hospital.fhir.search("Procedure")) == 1


def test_an_order_without_a_study_uid_adopts_the_study_that_the_pacs_holds(
    hospital: Hospital, site: Site, tmp_path: Path
) -> None:
    site.send(orm("E1002", control_id="first"))
    site.wait_for_order("E1002")
    site.drop(draw_clip(tmp_path / "a.mp4", size=(320, 240), frames=25), "ACC_E1002.mp4")
    site.wait_for_recording("ACC_E1002.mp4", "reported")
    held = site.timeline("E1002")["order"]["study_uid"]
    site.send(orm("E1002", study="", control_id="second", placer="PX", filler="FX", requested="RPX"))
    wait_for("both orders", lambda: len(site.get("/api/v1/orders?text=E1002")["orders"]) == 2)
    site.drop(draw_clip(tmp_path / "b.mp4", size=(320, 240), frames=26), "ACC_E1002_2.mp4")
    waiting = site.wait_for_recording("ACC_E1002_2.mp4", "needs_review")
    newer = next(item for item in site.get("/api/v1/orders?text=E1002")["orders"] if not item["study_uid"])
    body = {"order_id": newer["id"], "reason": "the second procedure"}
    assert site.post(f"/api/v1/recordings/{waiting['id']}/link", body).status_code == 200
    site.wait_for_recording("ACC_E1002_2.mp4", "reported")
    adopted = next(item for item in site.get("/api/v1/orders?text=E1002")["orders"] if item["id"] == newer["id"])
    assert (adopted["study_uid"], adopted["study_uid_source"]) == (held, "pacs")


def test_a_dead_pacs_and_a_dead_ehr_are_waited_for_in_words_and_then_the_job_ends(
    hospital: Hospital, site: Site, tmp_path: Path
) -> None:
    site.send(orm("E1003"))
    site.wait_for_order("E1003")
    hospital.orthanc.stop()
    site.drop(draw_clip(tmp_path / "c.mp4", size=(320, 240), frames=27), "ACC_E1003.mp4")
    site.wait_for_recording("ACC_E1003.mp4", "converted")
    waiting = wait_for("the PACS to be missed", lambda: _waiting(site, "orthanc"))
    assert "orthanc" in waiting["reason"] or "127.0.0.1" in waiting["reason"]
    assert not [notice for notice in hospital.notices() if notice.accession == "E1003"], "no notice without proof"
    hospital.orthanc.start()
    site.wait_for_recording("ACC_E1003.mp4", "reported")


def _waiting(site: Site, destination: str) -> dict[str, str] | None:
    for delivery in site.get("/api/v1/deliveries?state=waiting")["deliveries"]:
        if delivery["destination"] == destination and delivery["reason"]:
            return dict(delivery)
    return None
