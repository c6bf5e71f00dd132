"""The main job over real clips that others made (``make field``); expectations are keyed by SHA-256."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.hospital import Hospital, dump_of_dcmtk, errors_of_dciodvfy, foreign_hospital
from tests.journeys.site import Site, orm, running, wait_for

pytestmark = pytest.mark.field

#: SHA-256 of the clip -> procedure code, the plan that it must get, and a word of the reason.
CLIPS = {
    # A laparoscopy, H.264 High at level 3.1 in MP4 with AAC at 48 kHz.
    "a9687e28c6b2f3d6788038693e05b5c0f2b72cc2c65a68b14f34cec17c06e333": ("EGD", "passthrough", "conforms"),
    # An ocular ultrasound of 960x720: it conforms too, so it is not encoded again.
    "a71d6d0a6f7d9ad077121a1c014f0bbade1ca7e6e4d92b0df9fcccf5612abc1c": ("USEYE", "passthrough", "conforms"),
    # An ultrasound with 23 frame durations and pixels that are not square.
    "4fb0f31010428eadfb89c075425d8f301fa3fb192e0b8d1d1b4cf6ddd7488120": ("USEYE", "transcode", "rate varies"),
}

ROWS = [
    {
        "code": "EGD", "scheme": "L", "modality": "ES", "sop_class": "video-endoscopic", "region_code": "110861005",
        "region_meaning": "Esophagus, stomach and duodenum", "audio": "keep",
    },
    {
        "code": "USEYE", "scheme": "L", "modality": "US", "sop_class": "us-multi-frame", "region_code": "81745001",
        "region_meaning": "Eye", "body_part": "EYE", "paired": True, "series_description": "Ocular ultrasound",
    },
]  # fmt: skip


@pytest.fixture(scope="module")
def videos() -> dict[str, Path]:
    """The real clips, by their SHA-256."""
    folder = Path(os.environ.get("CINELINK_FIELD_DATA", "../shared/data")).resolve() / "video"
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    with foreign_hospital(tmp_path_factory.mktemp("hospital")) as peers:
        yield peers


@pytest.fixture(scope="module")
def site(hospital: Hospital, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with running(Site(folder, hospital.destinations(), {"procedures": ROWS})) as started:
        yield started


@pytest.mark.parametrize(("number", "sha256"), list(enumerate(CLIPS)))
def test_a_real_clip_goes_through_the_whole_job(
    hospital: Hospital, site: Site, videos: dict[str, Path], number: int, sha256: str
) -> None:
    procedure, kind, word = CLIPS[sha256]
    video = videos[sha256]
    accession = f"F{number:04d}"
    modality, station, folder = ("ES", "ENDO1", "endo1") if procedure == "EGD" else ("US", "US1", "us1")
    site.send(
        orm(accession, procedure=procedure, modality=modality, station=station, side="R" if modality == "US" else "")
    )
    wait_for("the order", lambda: site.order(accession))
    site.drop(video, f"ACC_{accession}.mp4", folder=folder)
    recording = site.wait_for_recording(f"ACC_{accession}.mp4", "reported", "needs_review", "failed", seconds=120)
    if recording["state"] == "needs_review":  # the clip's own clock is years away from the schedule
        body = {"accession": accession, "reason": "field test: one clip, one order"}
        assert site.post(f"/api/v1/recordings/{recording['id']}/link", body).status_code == 200
    site.wait_for_recording(f"ACC_{accession}.mp4", "reported", seconds=120)
    story = site.timeline(accession)["recordings"][0]
    assert story["plan"]["kind"] == kind
    assert any(word in reason for reason in story["plan"]["reasons"])
    path = story["instances"][0]["path"]
    assert errors_of_dciodvfy(path) == []
    assert "MRN0042" in dump_of_dcmtk(path)
    payload = hospital.orthanc.payload(story["instances"][0]["sop_uid"])
    assert hashlib.sha256(payload).hexdigest() == story["instances"][0]["stream_sha256"]
    if kind == "passthrough":
        assert unblanked(payload, story["plan"]["blanked"]) == unblanked(video.read_bytes(), story["plan"]["blanked"])
    print(video.name, kind, story["plan"]["reasons"], [check["figure"] for check in story["checks"]])


def unblanked(data: bytes, blanked: list[dict[str, int]]) -> bytes:
    """Return everything outside the boxes that the plan lists as blanked."""
    kept, position = b"", 0
    for box in sorted(blanked, key=lambda item: item["offset"]):
        kept += data[position : box["offset"]]
        position = box["offset"] + box["size"]
    return kept + data[position:]
