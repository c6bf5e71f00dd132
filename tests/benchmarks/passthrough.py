"""A conforming recording becomes a DICOM object: beside ``cp`` of the same file, both ending on the disk."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.memory import PeakMemory
from tests.benchmarks.report import Comparison, Figure, side_by_side
from tests.journeys.site import ROOT, orm
from tests.peers.dicom import program


def timed(command: list[str]) -> Figure:
    """Run a command to its good end; return its seconds and the most memory that one of its processes held."""
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        with PeakMemory(process.pid) as memory:
            _, said = process.communicate()
        seconds = time.perf_counter() - began
    assert process.returncode == 0, said.decode()
    return Figure(seconds, max(memory.own, memory.child))


def convert(video: Path, output: Path) -> Figure:
    """Run ``cinelink convert``, Python's start and the proof of what was written included."""
    order = video.with_suffix(".hl7")
    order.write_bytes(orm("E1001"))
    output.unlink(missing_ok=True)
    entry = [sys.executable, "-m", "workflow.cli.entry", "convert", str(video), str(output), "--order", str(order)]
    return timed(entry)


def copy(video: Path, output: Path) -> Figure:
    """Run ``cp`` and sync the copy to the disk."""
    output.unlink(missing_ok=True)
    shell = program("sh", "dash")
    return timed([shell, "-c", 'cp "$1" "$2" && sync "$2"', "copy", str(video), str(output)])


def passthrough(video: Path, rounds: int) -> Comparison:
    """Compare both on one recording."""
    megabytes = video.stat().st_size / 1e6
    return side_by_side(
        f"convert {megabytes:.0f} MB, passed through", "s", "cp and sync",
        lambda: convert(video, video.with_suffix(".dcm")),
        lambda: copy(video, video.with_suffix(".copy")),
        rounds=rounds,
    )  # fmt: skip
