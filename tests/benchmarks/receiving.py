"""Orders over MLLP: our engine commits each to the disk before it answers; python-hl7's server keeps nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tests.benchmarks.load import send_all
from tests.benchmarks.memory import peak_of
from tests.benchmarks.report import Comparison, Figure, side_by_side
from tests.journeys.site import ROOT, Site, orm, running

NOBODY = {"name": "pacs", "kind": "dicom", "host": "127.0.0.1", "port": 104, "ae_title": "NOBODY"}

_PEER = """
import sys
from tests.peers.hl7_receiver import quiet_receiver
with quiet_receiver() as receiver:
    print(receiver.port, flush=True)
    sys.stdin.readline()
"""

_runs = count()


def orders(number: int) -> list[bytes]:
    """Return so many orders that nobody sent before, each for a patient of its own."""
    run = f"R{next(_runs)}"
    return [orm(f"{run}N{item}", patient_id=f"MRN{run}N{item}", name=f"Muster{item}^Ana") for item in range(number)]


@contextmanager
def foreign_server() -> Iterator[tuple[int, int]]:
    """Run python-hl7's asyncio server in a process of its own; give its port and process id."""
    command = [sys.executable, "-c", _PEER]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.communicate("\n")


def rate(port: int, pid: int, number: int, connections: int) -> Figure:
    """Send new orders and return how many were answered each second."""
    load = send_all(lambda: port, orders(number), connections=connections)
    assert load.accepted == number, load.refused[:1]
    return Figure(load.rate, peak_of(pid))


def receiving(number: int, folder: Path, rounds: int) -> Iterator[Comparison]:
    """Compare both on 1 and on 20 connections."""
    with running(Site(folder / "site", [NOBODY])) as site, foreign_server() as (port, pid):
        assert site.process
        engine = site.process.pid
        for connections in (1, 20):
            yield side_by_side(
                f"HL7 orders kept and answered, {connections} conn.", "msg/s", "python-hl7, keeps nothing",
                lambda c=connections: rate(site.ports["hl7"], engine, number, c),
                lambda c=connections: rate(port, pid, number, c),
                rounds=rounds,
            )  # fmt: skip
