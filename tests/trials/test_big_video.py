"""Gigabytes: the whole job in little memory, and a recording that no object can hold fails in words and alone.

CINELINK_TRIAL_MEGABYTES says how large the first one is, below 4 GiB.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from converters.part10 import CHUNK, StreamReader, read
from tests.benchmarks.memory import PeakMemory
from tests.benchmarks.videos import long_video
from tests.converters.clips import draw_clip
from tests.journeys.site import Site, orm, running
from tests.peers.dicom import LOOPBACK, free_port, listens
from tests.peers.dicom import running as running_peer

pytestmark = pytest.mark.trial

MEGABYTES = int(os.environ.get("CINELINK_TRIAL_MEGABYTES", "3500"))
TOO_MANY_MEGABYTES = 4400

#: What one process may hold, in MB.
MOST = 300


@dataclass
class Place:
    """An engine with a PACS that proves what it holds: our sandbox as a process of its own."""

    site: Site
    pacs: Path
    folder: Path

    def arrive(self, video: Path, accession: str) -> str:
        """Send the order and move the video into the watch folder; return its name there."""
        assert self.site.send(orm(accession)).accepted
        self.site.wait_for_order(accession)
        target = self.site.inbox / "endo1" / f"ACC_{accession}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        video.replace(target)
        return target.name


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    pacs, port = tmp_path / "pacs", free_port()
    pacs.mkdir()
    row = {"name": "pacs", "kind": "dicom", "host": LOOPBACK, "port": port, "ae_title": "SANDBOX"}
    with sandbox(pacs, port), running(Site(tmp_path / "site", [row])) as site:
        yield Place(site, pacs, tmp_path)
    shutil.rmtree(tmp_path)


@contextmanager
def sandbox(folder: Path, port: int) -> Iterator[None]:
    entry = [sys.executable, "-m", "workflow.cli.entry", "sandbox", "pacs", "--port", str(port), "--dir", str(folder)]
    with running_peer(entry, log=folder.parent / "pacs.log", ready=lambda: listens(port)):
        yield


def stream_sha256(path: Path) -> str:
    digest, found = hashlib.sha256(), read(path)
    with StreamReader(path, found.spans) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@pytest.mark.timeout(1800)
def test_gigabytes_go_through_the_whole_job_in_little_memory(place: Place) -> None:
    video = long_video(place.folder / "long.mp4", MEGABYTES)
    size = video.stat().st_size
    assert place.site.process
    with PeakMemory(place.site.process.pid) as memory:
        began = time.monotonic()
        name = place.arrive(video, "BIG01")
        place.site.wait_for_recording(name, "converted", "stored", "proven", "reported", seconds=900)
        converted = time.monotonic() - began
        place.site.wait_for_recording(name, "proven", "reported", seconds=900)
        proven = time.monotonic() - began
    story = place.site.timeline("BIG01")["recordings"][0]
    (instance,) = story["instances"]
    held = place.pacs / "objects" / f"{instance['sop_uid']}.dcm"
    print(
        f"\n{size / 1e6:.0f} MB ({story['plan']['kind']}): converted {converted:.1f} s and proven {proven:.1f} s after "
        f"it came; at most {memory.own:.0f} MB in the engine, {memory.child:.0f} MB in a child"
    )
    assert stream_sha256(held) == instance["stream_sha256"], "the PACS holds the very stream"
    assert memory.own < MOST
    assert memory.child < MOST


@pytest.mark.timeout(1800)
def test_a_recording_above_4_gib_fails_in_words_and_stops_nothing(place: Place) -> None:
    video = long_video(place.folder / "long.mp4", TOO_MANY_MEGABYTES)
    assert video.stat().st_size > 1 << 32
    assert place.site.process
    with PeakMemory(place.site.process.pid) as memory:
        name = place.arrive(video, "BIG02")
        small = place.arrive(draw_clip(place.folder / "small.mp4"), "SMALL1")
        place.site.wait_for_recording(small, "proven", "reported", seconds=300)
        failed = place.site.wait_for_recording(name, "failed", seconds=900)
    print(f"\n{failed['reason']}; at most {memory.own:.0f} MB in the engine, {memory.child:.0f} MB in a child")
    assert "4 GiB" in failed["reason"]
    assert memory.own < MOST
    assert memory.child < MOST
    left = [path.name for path in (place.site.data / "objects").iterdir() if path.stat().st_size > 1 << 30]
    assert left == [], "what was written of it is gone"
