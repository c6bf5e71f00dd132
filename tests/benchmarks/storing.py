"""A large object goes to DCMTK's storescp: from us and from DCMTK's storescu."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from models.delivery import DicomPeer
from tests.benchmarks.memory import PeakMemory, peak_of
from tests.benchmarks.passthrough import timed
from tests.benchmarks.report import Comparison, Figure, side_by_side
from tests.journeys.site import ROOT
from tests.peers.dicom import program, storescp

#: The engine runs for months, so Python's start is not counted: a word when it is up, another when it is done.
_OURS = """
import sys
from pathlib import Path
from interfaces.dicom.store import store
from models.delivery import DicomPeer
peer = DicomPeer.model_validate_json(sys.argv[1])
print("up", flush=True)
sys.stdin.readline()
print(store(peer, Path(sys.argv[2])), flush=True)
sys.stdin.readline()
"""


def ours(peer: DicomPeer, path: Path) -> Figure:
    """Send with ``interfaces.dicom.store.store`` from a process of its own."""
    command = [sys.executable, "-c", _OURS, peer.model_dump_json(), str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        with PeakMemory(process.pid):
            began = time.perf_counter()
            process.stdin.write("\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            seconds = time.perf_counter() - began
        held = peak_of(process.pid)
        process.communicate("\n")
    assert answer.startswith("0000"), answer
    return Figure(seconds, held)


def theirs(peer: DicomPeer, path: Path) -> Figure:
    """Send with storescu, its PDUs as large as it can; its start takes milliseconds."""
    command = [program("storescu", "dcmtk"), "-xn", "-R", "--max-send-pdu", "131072", "-aec", peer.ae_title]
    return timed([*command, peer.host, str(peer.port), str(path)])


def storing(path: Path, folder: Path, rounds: int) -> Comparison:
    """Compare both on one object, to one receiver that writes it to the disk."""
    megabytes = path.stat().st_size / 1e6
    with storescp(folder / "received", "+xa", "+B", "--max-pdu", "131072") as peer:
        return side_by_side(
            f"C-STORE {megabytes:.0f} MB to storescp +B", "s", "DCMTK storescu",
            lambda: ours(peer, path), lambda: theirs(peer, path), rounds=rounds,
        )  # fmt: skip
