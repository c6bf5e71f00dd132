"""Orders by the ten thousand: all acknowledged, kept and applied, and none lost by a kill in the middle."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.benchmarks.load import Load, send_all
from tests.benchmarks.memory import PeakMemory
from tests.journeys.site import Site, orm, wait_for

pytestmark = pytest.mark.trial

MESSAGES = int(os.environ.get("CINELINK_TRIAL_MESSAGES", "20000"))
CONNECTIONS = 20
NOBODY = {"name": "pacs", "kind": "dicom", "host": "127.0.0.1", "port": 104, "ae_title": "NOBODY"}


def messages(letter: str) -> list[bytes]:
    """Return orders, each for a patient of its own."""
    names = (f"{letter}{number:06d}" for number in range(MESSAGES))
    return [orm(name, patient_id=f"MRN{name}", name=f"Muster{name}^Ana") for name in names]


def ask(site: Site, query: str) -> list[tuple[object, ...]]:
    """Look into the engine's database from outside, without changing it."""
    with closing(sqlite3.connect(f"file:{site.data / 'cinelink.db'}?mode=ro", uri=True, timeout=30)) as database:
        return database.execute(query).fetchall()


def wait_until_applied(site: Site) -> float:
    """Wait until no message waits to be applied; return for how many seconds."""
    began = time.monotonic()
    waiting = "SELECT count(*) FROM cl_message WHERE applied = 'received'"
    wait_for("every message to be applied", lambda: ask(site, waiting) == [(0,)], seconds=1500)
    return time.monotonic() - began


def assert_all_kept_and_applied(site: Site, load: Load) -> None:
    assert load.refused == []
    assert load.accepted == MESSAGES, "every message was answered AA"
    assert ask(site, "SELECT applied, count(*), count(DISTINCT control_id) FROM cl_message GROUP BY applied") == [
        ("applied", MESSAGES, MESSAGES)
    ], "each message was kept once and applied"
    assert ask(site, "SELECT count(*), count(DISTINCT accession) FROM cl_order") == [(MESSAGES, MESSAGES)]
    assert ask(site, "SELECT count(*) FROM cl_order_version") == [(MESSAGES,)], "none was applied twice"


def figures(words: str, load: Load, applied: float) -> None:
    print(
        f"\n{words}: {MESSAGES} orders on {CONNECTIONS} connections acknowledged in {load.seconds:.1f} s = "
        f"{load.rate:.0f} msg/s, p99 {load.p99:.0f} ms, worst {max(load.latencies) * 1000:.0f} ms, "
        f"{load.repeats} sent again; all applied {applied:.1f} s after the last answer"
    )


@pytest.mark.timeout(2400)
def test_every_order_of_many_connections_is_acknowledged_kept_and_applied(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", [NOBODY])
    assert site.start()
    assert site.process
    try:
        with PeakMemory(site.process.pid) as memory:
            load = send_all(lambda: site.ports["hl7"], messages("A"), connections=CONNECTIONS)
            applied = wait_until_applied(site)
    finally:
        site.kill()
    figures("undisturbed", load, applied)
    print(f"the engine held {memory.own:.0f} MB at most")
    assert_all_kept_and_applied(site, load)


@pytest.mark.timeout(2400)
def test_no_order_is_lost_or_doubled_when_the_engine_is_killed_in_the_middle(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", [NOBODY])
    assert site.start()
    load = Load()
    sending = threading.Thread(
        target=send_all,
        args=(lambda: site.ports.get("hl7", 0), messages("B")),
        kwargs={"connections": CONNECTIONS, "load": load},
    )
    sending.start()
    try:
        wait_for("half of the answers", lambda: load.accepted >= MESSAGES // 2, seconds=900)
        site.kill()
        kept = ask(site, "SELECT count(*) FROM cl_message")[0][0]
        answered = load.accepted
        assert site.start()
        sending.join(timeout=900)
        assert not sending.is_alive()
        applied = wait_until_applied(site)
    finally:
        site.kill()
    figures("killed in the middle", load, applied)
    print(f"at the kill {answered} were answered and {kept} kept")
    assert_all_kept_and_applied(site, load)
