"""The demo, as a newcomer runs it, with a video and an order of one's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.converters.clips import draw_clip
from tests.journeys.site import ROOT, orm


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workflow.cli.entry", "demo", "--once", "--dir", str(folder), *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip


def test_the_demo_ends_verified_and_shows_the_proof_chain(tmp_path: Path) -> None:
    video = draw_clip(tmp_path / "mine.mp4", size=(640, 480), frames=50)
    done = demo(tmp_path / "demo", "--video", str(video))
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "stored, then answered AA",
        "asked the PACS (C-FIND)",
        "one ORU^R01",
        "one ImagingStudy",
        "Proof chain:",
    ):
        assert words in done.stdout
    assert "[--]" not in done.stdout


def test_an_old_order_of_ones_own_is_settled_by_a_person_on_the_way(tmp_path: Path) -> None:
    video = draw_clip(tmp_path / "mine.mp4", size=(640, 480), frames=50)
    order = tmp_path / "mine.hl7"
    order.write_bytes(orm("OLD1", scheduled="20200101080000", at="20200101080000").replace(b"\r", b"\n"))
    done = demo(tmp_path / "demo", "--video", str(video), "--order", str(order))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a person is asked" in done.stdout
    assert "linked by hand through the API" in done.stdout


def test_a_file_that_is_no_video_ends_the_demo_in_one_sentence(tmp_path: Path) -> None:
    video = tmp_path / "mine.mp4"
    video.write_bytes(b"no video at all\n" * 1000)
    done = demo(tmp_path / "demo", "--video", str(video))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "is rejected" in done.stderr
