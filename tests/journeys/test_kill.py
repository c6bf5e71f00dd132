"""Promise 2: SIGKILL before and after each commit of the journey, and the end is the same: nothing lost, nothing twice.

The engine dies at one commit, is started again with the next one armed, and so on, while orders and videos keep
coming; then it runs undisturbed. The end is asserted from the peers: Orthanc, a foreign MLLP receiver, a foreign FHIR
server.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.converters.clips import draw_clip
from tests.journeys.hospital import Hospital
from tests.journeys.site import Site, orm, running, wait_for

#: Every commit of the seven steps; the number is which commit of that name in one life of the process.
COMMITS = (
    "message.received",
    "message.applied",
    "recording.ready",
    "recording.probed",
    "recording.linked",
    "recording.converted",
    "delivery.claimed",
    "delivery.sent",
    "delivery.proven",
    "delivery.claimed:2",
    "delivery.acknowledged",
    "delivery.acknowledged:2",
)
KILLS = [f"{moment}:{name}" for name in COMMITS for moment in ("before", "after")]


def own_clip(clip: Path, accession: str) -> Path:
    target = clip.with_name(f"ACC_{accession}.mp4")
    shutil.copyfile(clip, target)
    with target.open("ab") as file:
        file.write((8 + len(accession)).to_bytes(4) + b"free" + accession.encode())
    return target


@pytest.mark.timeout(400)
def test_a_kill_at_every_commit_ends_in_the_same_verified_state(hospital: Hospital, tmp_path: Path) -> None:
    clip = draw_clip(tmp_path / "clip.mp4", size=(320, 240), frames=25)
    site = Site(tmp_path / "site", hospital.destinations())
    orders = {f"K{number:03d}": kill for number, kill in enumerate(KILLS)}
    unsent = list(orders)
    deaths: Counter[str] = Counter()
    for accession, kill in orders.items():
        if site.start(kill=kill):
            unsent = [item for item in unsent if item > accession or not site.send_until_answered(orm(item))]
            if accession in unsent and site.send_until_answered(orm(accession)):
                unsent.remove(accession)
        site.drop(own_clip(clip, accession), f"ACC_{accession}.mp4")
        deaths[kill] += site.died(seconds=30)
        site.kill()
    assert [kill for kill in KILLS if not deaths[kill]] == [], "every kill point was reached"

    assert site.start()
    try:
        for accession in unsent:
            assert site.send_until_answered(orm(accession))
        for accession in orders:
            wait_for(f"{accession} to be complete", lambda a=accession: _complete(site, a), seconds=90)
    finally:
        site.kill()
    _assert_end(hospital, list(orders))


def _complete(site: Site, accession: str) -> bool:
    order = site.order(accession)
    return bool(order and order["media_complete"])


def _assert_end(hospital: Hospital, accessions: list[str]) -> None:
    held = [hospital.orthanc.metadata(uid)["AccessionNumber"] for uid in hospital.orthanc.instances()]
    stored = Counter(accession for accession in held if accession in accessions)
    assert stored == dict.fromkeys(accessions, 1), "one instance for each order, in Orthanc"
    notices = hospital.notices()
    for accession in accessions:
        mine = {notice.control_id for notice in notices if notice.accession == accession}
        assert len(mine) == 1, f"one notice for {accession}, at the receiver (a repeat carries the same MSH-10)"
    for accession in accessions:
        study = f"2.25.{int.from_bytes(accession.encode())}"
        found = hospital.fhir.search("ImagingStudy", identifier=f"urn:dicom:uid|urn:oid:{study}")
        assert len(found) == 1, f"one ImagingStudy for {accession}, at the FHIR server"


def test_a_second_engine_on_the_same_file_is_refused(tmp_path: Path) -> None:
    nobody = {"name": "pacs", "kind": "dicom", "host": "127.0.0.1", "port": 104, "ae_title": "NOBODY"}
    first, second = (Site(tmp_path / "site", [nobody]) for _ in range(2))
    with running(first):
        assert not second.start()
        assert "another Cinelink already runs" in (second.folder / "engine.log").read_text()
        assert httpx.get(f"http://127.0.0.1:{first.ports['http']}/healthz", timeout=5).status_code == 200
