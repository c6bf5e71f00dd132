"""A hospital in a folder: the engine as a process, its foreign peers, orders that come and videos that arrive."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx

from interfaces.hl7.sender import send
from mappings.tables import read_tables, write_table
from models.errors import DeliveryFailed
from models.mapping import ROW_MODELS
from models.message import Acknowledgement

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]


def wait_for(what: str, look: Callable[[], T | None], *, seconds: float = 60.0) -> T:
    """Wait for a condition, with a limit."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found is not None and found is not False:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds:.0f} s")


def orm(accession: str, **changes: str) -> bytes:
    """Return an ORM^O01 for an invented patient; every part of it can be changed."""
    now = datetime.now(tz=UTC).strftime("%Y%m%d%H%M%S")
    part = {
        "control": "NW", "status": "SC", "at": now, "control_id": f"M{accession}{changes.get('control', 'NW')}",
        "patient_id": "MRN0042", "name": "Muster^Ana", "birth": "19700102", "sex": "F", "procedure": "EGD",
        "modality": "ES", "station": "ENDO1", "study": f"2.25.{int.from_bytes(accession.encode())}", "scheduled": now,
        "requested": f"RP{accession}", "side": "", "placer": f"P{accession}", "filler": f"F{accession}",
    } | changes  # fmt: skip
    numbers = f"{part['placer']}^DEMO_EHR|{part['filler']}^DEMO_RIS"
    head = f"MSH|^~\\&|DEMO_RIS|DEMO|CINELINK|DEMO|{part['at']}+0000||ORM^O01|{part['control_id']}|P|2.3.1"
    segments = [
        f"{head}||||||UNICODE UTF-8",
        f"PID|1||{part['patient_id']}^^^DEMO&2.999.1.1&ISO^MR||{part['name']}||{part['birth']}|{part['sex']}",
        "PV1|1|O",
        f"ORC|{part['control']}|{numbers}||{part['status']}||1^^^{part['scheduled']}+0000",
        (
            f"OBR|1|{numbers}|{part['procedure']}^Upper endoscopy^L||||||||||||||{accession}|{part['requested']}"
            f"|SPS{accession}||||{part['modality']}|||1^^^{part['scheduled']}+0000"
            + ("|" * 19 + part["side"] if part["side"] else "")
        ),
    ]
    if part["study"]:
        segments.append(f"ZDS|{part['study']}^CINELINK^Application^DICOM||{part['station']}")
    return ("\r".join(segments) + "\r").encode()


@dataclass
class Site:
    """One engine with its data, and the addresses of its peers."""

    folder: Path
    destinations: list[dict[str, Any]]
    replace_rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    ports: dict[str, int] = field(default_factory=dict)
    token: str = ""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def inbox(self) -> Path:
        return self.data / "inbox"

    # --- life ---

    def write_tables(self) -> None:
        """Write the site's own tables: its destinations, one route to them, and rows that replace shipped ones."""
        folder = self.folder / "mappings"
        folder.mkdir(parents=True, exist_ok=True)
        names = "|".join(str(row["name"]) for row in self.destinations)
        own = {"destinations": self.destinations, "routes": [{"name": "all", "destinations": names}]}
        for name, rows in own.items():
            values = tuple(ROW_MODELS[name].model_validate(row) for row in rows)
            (folder / f"{name}.csv").write_text(write_table(name, values))
        shipped = read_tables()
        for name, rows in self.replace_rows.items():
            model = ROW_MODELS[name]
            new = [model.model_validate(row) for row in rows]
            keys = {tuple(getattr(row, column) for column in model.key_columns) for row in new}
            kept = [row for row in shipped[name] if tuple(getattr(row, c) for c in model.key_columns) not in keys]
            (folder / f"{name}.csv").write_text(write_table(name, (*new, *kept)))

    def _environment(self, kill: str) -> dict[str, str]:
        return os.environ | {
            "CINELINK_DATA_DIR": str(self.data),
            "CINELINK_HTTP__PORT": "0",
            "CINELINK_HL7__PORT": "0",
            "CINELINK_FILES__QUIET_SECONDS": "0.4",
            "CINELINK_FILES__SCAN_SECONDS": "0.2",
            "CINELINK_FILES__STALE_SECONDS": "2",
            "CINELINK_DELIVERY__FIRST_RETRY_SECONDS": "0.2",
            "CINELINK_DELIVERY__MOST_RETRY_SECONDS": "1",
            "CINELINK_MAPPINGS__SEED": str(self.folder / "mappings"),
            "CINELINK_TEST_KILL": kill,
            **self.environment,
        }

    def start(self, *, kill: str = "") -> bool:
        """Start the engine; False when it died before its doors were open (its kill point came first)."""
        self.write_tables()
        ports = self.data / "ports.json"
        ports.unlink(missing_ok=True)
        with (self.folder / "engine.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.journeys.node"],
                cwd=ROOT, env=self._environment(kill), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        process = self.process

        def opened() -> dict[str, int] | bool | None:
            if ports.exists():
                return dict(json.loads(ports.read_text()))
            if process.poll() is not None:
                return {}
            return None

        found = wait_for(f"the start of the engine ({self.folder / 'engine.log'})", opened)
        self.ports = dict(found) if isinstance(found, dict) else {}
        if self.ports and not self.token:
            self.token = self.cli("token", "create", "test").strip()
        return bool(self.ports)

    def cli(self, *arguments: str, check: bool = True) -> str:
        """Run a command as a person would, and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "workflow.cli.entry", *arguments],
            cwd=ROOT, env=self._environment(""), capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, done.stderr
        return done.stdout if check else done.stdout + done.stderr

    def died(self, *, seconds: float) -> bool:
        """Wait for the engine's death; False when it lived on."""
        assert self.process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=seconds)
        return self.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """End the engine in order."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)

    # --- doing ---

    def send(self, message: bytes) -> Acknowledgement:
        """Send a message as an interface engine would."""
        return send("127.0.0.1", self.ports["hl7"], message, timeout=20)

    def send_until_answered(self, message: bytes) -> bool:
        """Send a message; False when no answer came, so that its sender sends it again later."""
        try:
            return self.send(message).accepted
        except (DeliveryFailed, KeyError):
            return False

    def drop(self, video: Path, name: str, *, folder: str = "endo1") -> Path:
        """Copy a video into a watch folder under a name."""
        target = self.inbox / folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(video, target)
        return target

    def get(self, path: str) -> Any:
        answer = httpx.get(
            f"http://127.0.0.1:{self.ports['http']}{path}",
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=20,
        )
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: dict[str, str]) -> httpx.Response:
        return httpx.post(
            f"http://127.0.0.1:{self.ports['http']}{path}",
            headers={"Authorization": f"Bearer {self.token}"}, json=body, timeout=20,
        )  # fmt: skip

    # --- seeing ---

    def timeline(self, accession: str) -> dict[str, Any]:
        return dict(self.get(f"/api/v1/orders/{accession}/timeline")["timelines"][0])

    def order(self, accession: str) -> dict[str, Any] | None:
        found = [
            item for item in self.get(f"/api/v1/orders?text={accession}")["orders"] if item["accession"] == accession
        ]
        return found[0] if found else None

    def recording(self, name: str) -> dict[str, Any] | None:
        found = [item for item in self.get("/api/v1/recordings?limit=1000")["recordings"] if item["name"] == name]
        return found[0] if found else None

    def wait_for_order(self, accession: str, status: str = "scheduled") -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            order = self.order(accession)
            return order if order and order["status"] == status else None

        return wait_for(f"order {accession} to be {status}", look)

    def wait_for_recording(self, name: str, *states: str, seconds: float = 60.0) -> dict[str, Any]:
        last: dict[str, Any] = {}

        def look() -> dict[str, Any] | None:
            nonlocal last
            last = self.recording(name) or last
            return last if last.get("state") in states else None

        try:
            return wait_for(f"{name} to be {' or '.join(states)}", look, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {last.get('state')}: {last.get('reason')}") from None


@contextlib.contextmanager
def running(site: Site) -> Iterator[Site]:
    """Run a site's engine for the length of a block."""
    assert site.start(), (site.folder / "engine.log").read_text()[-4000:]
    try:
        yield site
    finally:
        site.kill()
