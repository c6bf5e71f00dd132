"""The main job over real clips that others made (``make field``); expectations are keyed by SHA-256."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.hospital import Hospital, foreign_hospital
from tests.journeys.site import Site, orm, running, wait_for

pytestmark = pytest.mark.field

#: Clip, SHA-256, procedure code, the plan that it must get, and a word of the reason.
CLIPS = {
    "endoscopy_endo.mp4": ("EGD", "passthrough", "conforms"),
    "us_sonosite_anon_eye1.mp4": ("USEYE", "transcode", "re-encoded"),
    "us_butterfly_ocular_phantom.mp4": ("USEYE", "transcode", "re-encoded"),
}

ROWS = [
    {
        "code": "EGD", "scheme": "L", "modality": "ES", "sop_class": "video-endoscopic", "region_code": "110861005",
        "region_meaning": "Esophagus, stomach and duodenum", "audio": "keep",
    },
    {
        "code": "USEYE", "scheme": "L", "modality": "US", "sop_class": "us-multi-frame", "region_code": "81745001",
        "region_meaning": "Eye", "series_description": "Ocular ultrasound",
    },
]  # fmt: skip


@pytest.fixture(scope="module")
def videos() -> Path:
    return Path(os.environ.get("CINELINK_FIELD_DATA", "../shared/data")).resolve() / "video"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    with foreign_hospital(tmp_path_factory.mktemp("hospital")) as peers:
        yield peers


@pytest.fixture(scope="module")
def site(hospital: Hospital, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with running(Site(folder, hospital.destinations(), {"procedures": ROWS})) as started:
        yield started


@pytest.mark.parametrize(("number", "name"), list(enumerate(CLIPS)))
def test_a_real_clip_goes_through_the_whole_job(
    hospital: Hospital, site: Site, videos: Path, number: int, name: str
) -> None:
    procedure, kind, word = CLIPS[name]
    accession = f"F{number:04d}"
    modality, station, folder = ("ES", "ENDO1", "endo1") if procedure == "EGD" else ("US", "US1", "us1")
    site.send(orm(accession, procedure=procedure, modality=modality, station=station))
    wait_for("the order", lambda: site.order(accession))
    site.drop(videos / name, f"ACC_{accession}.mp4", folder=folder)
    recording = site.wait_for_recording(f"ACC_{accession}.mp4", "reported", "needs_review", "failed", seconds=120)
    if recording["state"] == "needs_review":  # the clip's own clock is years away from the schedule
        body = {"accession": accession, "reason": "field test: one clip, one order"}
        assert site.post(f"/api/v1/recordings/{recording['id']}/link", body).status_code == 200
    site.wait_for_recording(f"ACC_{accession}.mp4", "reported", seconds=120)
    story = site.timeline(accession)["recordings"][0]
    assert story["plan"]["kind"] == kind
    assert any(word in reason for reason in story["plan"]["reasons"])
    payload = hospital.orthanc.payload(story["instances"][0]["sop_uid"])
    assert hashlib.sha256(payload).hexdigest() == story["instances"][0]["stream_sha256"]
    if kind == "passthrough":
        assert unblanked(payload, story["plan"]["blanked"]) == unblanked(
            (videos / name).read_bytes(), story["plan"]["blanked"]
        )
    print(name, kind, story["plan"]["reasons"], [check["figure"] for check in story["checks"]])


def unblanked(data: bytes, blanked: list[dict[str, int]]) -> bytes:
    """Return everything outside the boxes that the plan lists as blanked."""
    kept, position = b"", 0
    for box in sorted(blanked, key=lambda item: item["offset"]):
        kept += data[position : box["offset"]]
        position = box["offset"] + box["size"]
    return kept + data[position:]
