from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from converters.convert import leftovers
from converters.isolation import Children, Limits, network_isolated, run_convert, run_probe, run_verify
from models.errors import ChildDied, ConversionFailed, RecordingRejected, VerificationFailed
from models.plan import PlanKind
from tests.converters.jobs import make_clip, make_job


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    """Long enough that every conversion of it can be interrupted."""
    return make_clip(
        tmp_path_factory.mktemp("clip") / "long.mp4", noise=True, frames=40, size=(1280, 720),
        options={"preset": "ultrafast", "crf": "40"},
    )  # fmt: skip


def slow_job(long_clip, folder):
    return make_job(long_clip, folder / "a.dcm", PlanKind.TRANSCODE)


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def alive(process_id):
    try:
        return Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_conversion_in_a_child_gives_the_result_and_its_progress(clip, tmp_path):
    told = []
    made = run_convert(make_job(clip, tmp_path / "a.dcm"), Limits(), told.append)
    assert made.frames == 30
    assert told == sorted(told)
    assert told[-1] == 1
    assert all(check.passed for check in run_verify(tmp_path / "a.dcm", Limits()))


def test_errors_of_ours_come_back_as_what_they_were(clip, tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"there")
    with pytest.raises(ConversionFailed, match="exists already") as caught:
        run_convert(make_job(clip, tmp_path / "a.dcm"), Limits())
    assert type(caught.value) is ConversionFailed
    assert caught.value.stage == "output"
    with pytest.raises(VerificationFailed, match="rows and columns"):
        run_convert(make_job(clip, tmp_path / "b.dcm", plan={"width": 322}), Limits())
    with pytest.raises(VerificationFailed, match="no DICOM Part 10 file"):
        run_verify(clip, Limits())


def test_probing_in_a_child_gives_the_facts_or_the_rejection(clip, tmp_path):
    assert run_probe(clip, Limits()).frames == 30
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(RecordingRejected) as caught:
        run_probe(tmp_path / "empty.mp4", Limits())
    assert caught.value.code == "empty"


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(memory_bytes=150 << 20), "needed more than its 150 MiB of memory"),
        (Limits(cpu_seconds=1), "used more than 1 s of processor time"),
        (Limits(wall_seconds=1.0), "took longer than 1 s"),
        (Limits(file_bytes=50_000), "wrote a file of more than 50,000 bytes"),
    ],
)
def test_a_broken_limit_is_named_and_nothing_is_left(long_clip, tmp_path, limits, words):
    with pytest.raises(ChildDied, match=words):
        run_convert(slow_job(long_clip, tmp_path), limits)
    assert list(tmp_path.iterdir()) == []


def test_a_stop_ends_a_running_child_and_refuses_the_next(clip, long_clip, tmp_path):
    children = Children()
    stopper = threading.Thread(
        target=lambda: (wait_until(leftovers(tmp_path / "a.dcm")[1].exists), children.terminate())
    )
    stopper.start()
    with pytest.raises(ChildDied, match="the engine is stopping"):
        run_convert(slow_job(long_clip, tmp_path), Limits(), children=children)
    stopper.join()
    with pytest.raises(ChildDied, match="the engine is stopping"):
        run_convert(make_job(clip, tmp_path / "b.dcm"), Limits(), children=children)
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_is_killed_is_reported_by_its_signal(long_clip, tmp_path):
    started = []

    class Watching(Children):
        def add(self, process):
            started.append(process)
            super().add(process)

    def kill():
        wait_until(leftovers(tmp_path / "a.dcm")[1].exists)
        started[0].send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ChildDied, match="killed by SIGKILL"):
        run_convert(slow_job(long_clip, tmp_path), Limits(), children=Watching())
    killer.join()
    assert list(tmp_path.iterdir()) == []


def test_a_child_dies_with_its_parent_and_clears_its_files(long_clip, tmp_path):
    """The parent is a process of its own, killed without a chance to say anything."""
    job = slow_job(long_clip, tmp_path)
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-P', '-m', 'converters.child', 'convert'],"
        " stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)\n"
        "child.stdin.write(sys.stdin.buffer.read()); child.stdin.flush()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdin is not None
    assert parent.stdout is not None
    parent.stdin.write(json.dumps({}).encode() + b"\n" + job.json_text().encode() + b"\n")
    parent.stdin.close()
    child = int(parent.stdout.readline())
    wait_until(leftovers(tmp_path / "a.dcm")[1].exists)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not alive(child), 5)
    assert list(tmp_path.iterdir()) == []


def test_the_child_sees_no_environment_of_ours(clip, tmp_path, monkeypatch):
    monkeypatch.setenv("CINELINK_SECRET", "invented")
    seen = []

    class Watching(Children):
        def add(self, process):
            seen.append(Path(f"/proc/{process.pid}/environ").read_bytes())
            super().add(process)

    run_convert(make_job(clip, tmp_path / "a.dcm"), Limits(), children=Watching())
    assert seen
    assert b"CINELINK_SECRET" not in seen[0]


def test_doctor_can_ask_whether_children_have_a_network():
    assert network_isolated() in (True, False)
