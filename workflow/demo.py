"""The whole job on one machine: sandbox peers, an order, a recording, and the proof asserted over the doors only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import httpx

from converters.sample import draw_sample
from interfaces.dicom.query import prove
from interfaces.hl7.header import read_header
from interfaces.hl7.orders import read_orders
from interfaces.hl7.sandbox import split_messages
from interfaces.hl7.sender import send as send_message
from mappings.tables import load_set, write_table
from models.delivery import DicomPeer, ExpectedInstance
from models.errors import DemoFailed, NotFound
from models.mapping import SenderRow

T = TypeVar("T")

#: A stage of the job that takes longer than this has failed.
PATIENCE_SECONDS = 300.0

#: The copy into the watch folder is slowed down to this, as over a network share.
COPY_SECONDS = 3.0


def sample_order(accession: str, at: datetime, *, station: str, procedure: str) -> bytes:
    """Return an ORM^O01 (HL7 v2.3.1, IHE RAD-4) for an invented patient, scheduled at that moment."""
    stamp = at.strftime("%Y%m%d%H%M%S") + "+0000"
    numbers = f"P{accession}^DEMO_EHR|F{accession}^DEMO_RIS"
    study = f"2.25.{int(at.timestamp() * 1000)}{sum(map(ord, accession))}"
    segments = (
        f"MSH|^~\\&|DEMO_RIS|DEMO|CINELINK|DEMO|{stamp}||ORM^O01|M{accession}|P|2.3.1||||||UNICODE UTF-8",
        "PID|1||MRN0042^^^DEMO&2.999.1.1&ISO^MR||Muster^Ana^^^||19700102|F",
        "PV1|1|O|ENDO^^^DEMO",
        f"ORC|NW|{numbers}||SC||1^^^{stamp}",
        (
            f"OBR|1|{numbers}|{procedure}^Upper endoscopy^L|||||||||||||"
            f"|{accession}|RP{accession}|SPS{accession}||||ES|||1^^^{stamp}"
        ),
        f"ZDS|{study}^CINELINK^Application^DICOM|{station}|{station}",
    )
    return ("\r".join(segments) + "\r").encode()


def wait_for(what: str, look: Callable[[], T | None], *, seconds: float = PATIENCE_SECONDS) -> T:
    """Wait until ``look`` finds something.

    Raises:
        DemoFailed: It did not within the time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := look()) is not None:
            return found
        time.sleep(0.1)
    raise DemoFailed(f"{what} did not happen within {seconds:.0f} s; the logs in the demo's folder say why")


class Demo:
    """Runs everything as separate processes and looks at it from outside."""

    def __init__(self, folder: Path, *, video: Path | None, order: Path | None) -> None:
        self._home = folder
        self._folder = folder / f"run-{datetime.now(tz=UTC):%Y%m%d-%H%M%S}"
        self._video = video
        self._order = order
        self._processes: list[subprocess.Popen[bytes]] = []
        self._began = time.monotonic()
        self._base = ""
        self._token = ""

    # --- processes -----------------------------------------------------------------------------------------------

    def _cinelink(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "workflow.cli.entry", *arguments]

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "CINELINK_DATA_DIR": str(self._folder / "engine"),
            "CINELINK_HTTP__PORT": "0",
            "CINELINK_HL7__PORT": "0",
            "CINELINK_FILES__QUIET_SECONDS": "2",
            "CINELINK_FILES__SCAN_SECONDS": "0.5",
            "CINELINK_MAPPINGS__SEED": str(self._folder / "mappings"),
        }

    def _spawn(self, name: str, *arguments: str) -> Callable[[], dict[str, int]]:
        """Start a process; what is returned waits for the ports that it opens."""
        home = self._folder / name
        home.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                self._cinelink(*arguments), env=self._environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self._processes.append(process)

        def ports() -> dict[str, int] | None:
            if process.poll() is not None:
                raise DemoFailed(f"{name} ended with code {process.returncode}; see {name}.log in {self._folder}")
            file = home / "ports.json"
            return dict(json.loads(file.read_text())) if file.exists() else None

        return lambda: wait_for(f"the start of {name}", ports, seconds=60)

    def stop(self) -> None:
        """End every process that was started."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()

    # --- the job -------------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Print one line of progress."""
        click.echo(f"[{time.monotonic() - self._began:6.1f} s] {text}")

    def run(self) -> None:
        """Run the job to its verified end.

        Raises:
            DemoFailed: A step did not happen, or something that must hold does not.
        """
        self._folder.mkdir(parents=True)
        pacs_up = self._spawn("pacs", "sandbox", "pacs", "--port", "0", "--dir", str(self._folder / "pacs"))
        ehr_up = self._spawn(
            "ehr", "sandbox", "ehr", "--hl7-port", "0", "--fhir-port", "0", "--dir", str(self._folder / "ehr")
        )
        video = self._video or self._sample()
        pacs, ehr = pacs_up(), ehr_up()
        self._write_destinations(pacs, ehr)
        ports = self._spawn("engine", "serve")()
        self._base = f"http://127.0.0.1:{ports['http']}"
        self._token = self._make_token()
        self.say(f"engine, sandbox PACS and sandbox EHR are up ({self._base})")
        accession, station = self._send_order(ports["hl7"])
        self._copy_slowly(video, accession, station)
        timeline = self._follow(accession)
        self._assert_end(timeline, pacs, ehr)
        self._print_proof(timeline, accession)

    def _sample(self) -> Path:
        sample = self._home / "sample.mp4"
        if not sample.exists():
            self.say("drawing a 1080p recording of 20 s")
            scratch = sample.with_suffix(".part.mp4")
            draw_sample(scratch, seconds=20)
            scratch.replace(sample)
        return sample

    def _write_destinations(self, pacs: dict[str, int], ehr: dict[str, int]) -> None:
        ports: dict[str, dict[str, Any]] = {
            "dicom": {"port": pacs["dicom"]},
            "hl7": {"port": ehr["hl7"]},
            "fhir": {"url": f"http://127.0.0.1:{ehr['fhir']}/fhir", "procedure": True},
        }
        rows = tuple(row.model_copy(update=ports[row.kind]) for row in load_set(0).destinations)
        folder = self._folder / "mappings"
        folder.mkdir()
        (folder / "destinations.csv").write_text(write_table("destinations", rows))

    def _make_token(self) -> str:
        made = subprocess.run(
            self._cinelink("token", "create", "demo"), env=self._environment(), check=True, capture_output=True
        )
        return made.stdout.decode().strip()

    def _send_order(self, port: int) -> tuple[str, str]:
        accession = f"E{datetime.now(tz=UTC):%y%m%d%H%M%S}"
        message = (
            split_messages(self._order.read_bytes())[0]
            if self._order
            else sample_order(accession, datetime.now(tz=UTC), station="ENDO1", procedure="EGD")
        )
        answer = send_message("127.0.0.1", port, message, timeout=30)
        request = read_orders(message, SenderRow())[0]
        self.say(f"ORM^O01 {read_header(message).control_id} was stored, then answered {answer.code}")
        if not request.accession:
            raise NotFound("the order carries no accession number, by which the demo names the video; add OBR-18")
        return request.accession, request.station or ""

    def _copy_slowly(self, video: Path, accession: str, station: str) -> None:
        known = load_set(0).station_named(station)
        name = f"ACC_{accession}{video.suffix}"
        target = self._folder / "engine" / "inbox" / (known.folder if known else "endo1") / name
        target.parent.mkdir(parents=True, exist_ok=True)
        self.say(f"copying {video.name} into {target.parent.name}, slowly, as over a network share")
        parts = 20
        size = max(1, -(-video.stat().st_size // parts))
        with video.open("rb") as source, target.open("wb") as copy:
            while chunk := source.read(size):
                copy.write(chunk)
                copy.flush()
                time.sleep(COPY_SECONDS / parts)

    # --- looking from outside --------------------------------------------------------------------------------------

    def _get(self, path: str) -> Any:
        answer = httpx.get(f"{self._base}{path}", headers={"Authorization": f"Bearer {self._token}"}, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def _follow(self, accession: str) -> dict[str, Any]:
        """Print what happens as it happens, until the order's media are complete."""
        seen: set[str] = set()

        def finished() -> dict[str, Any] | None:
            timeline = dict(self._get(f"/api/v1/orders/{accession}/timeline")["timelines"][0])
            for event in timeline["events"]:
                key = json.dumps(event, sort_keys=True)
                if key not in seen:
                    seen.add(key)
                    self.say(f"{event['action']}: {event['detail']}")
            self._settle_review(accession)
            self._require_alive(accession)
            return timeline if timeline["order"]["media_complete"] else None

        return wait_for("the end of the job", finished)

    def _waiting(self, state: str) -> list[dict[str, Any]]:
        return list(self._get(f"/api/v1/recordings?state={state}")["recordings"])

    def _settle_review(self, accession: str) -> None:
        """Do what a person would do when the engine is unsure: link by hand, with a reason."""
        for recording in self._waiting("needs_review"):
            self.say(f"a person is asked: {recording['reason']}")
            answer = httpx.post(
                f"{self._base}/api/v1/recordings/{recording['id']}/link",
                headers={"Authorization": f"Bearer {self._token}"},
                json={"accession": accession, "reason": "demo: one order and one video were given"},
                timeout=30,
            )
            answer.raise_for_status()
            self.say("linked by hand through the API")

    def _require_alive(self, accession: str) -> None:
        for state in ("failed", "rejected", "held"):
            for recording in self._waiting(state):
                raise DemoFailed(f"the recording for {accession} is {state}: {recording['reason']}")

    def _assert_end(self, timeline: dict[str, Any], pacs: dict[str, int], ehr: dict[str, int]) -> None:
        """Ask the peers, not our own tables."""
        order = timeline["order"]
        instance = timeline["recordings"][0]["instances"][0]
        peer = DicomPeer(host="127.0.0.1", port=pacs["dicom"], ae_title="SANDBOX", calling_ae_title="DEMO")
        expected = ExpectedInstance(
            sop_uid=instance["sop_uid"],
            sop_class=instance["sop_class"],
            series_uid=instance["series_uid"],
            study_uid=order["study_uid"],
            accession=order["accession"],
            patient_id=order["patient"]["identifier"]["value"],
        )
        if not prove(peer, expected).holds:
            raise DemoFailed("the PACS does not hold the object under the order's patient, accession and study")
        self.say("asked the PACS (C-FIND): it holds the object under the order's patient, accession and study")
        self._assert_notice(order, instance)
        self._assert_fhir(order, ehr["fhir"])

    def _assert_notice(self, order: dict[str, Any], instance: dict[str, Any]) -> None:
        texts = [file.read_text() for file in sorted((self._folder / "ehr" / "hl7").glob("*.hl7"))]
        wanted = (f"|{order['accession']}|", order["study_uid"], instance["sop_uid"])
        if sum(all(part in text for part in wanted) for text in texts) != 1:
            raise DemoFailed("the EHR did not receive exactly one ORU^R01 for this object")
        self.say("looked at what the EHR received: one ORU^R01 with accession, study and object")

    def _assert_fhir(self, order: dict[str, Any], port: int) -> None:
        answer = httpx.get(
            f"http://127.0.0.1:{port}/fhir/ImagingStudy",
            params={"identifier": f"urn:dicom:uid|urn:oid:{order['study_uid']}"},
            timeout=30,
        ).json()
        if len(answer.get("entry", [])) != 1:
            raise DemoFailed("the FHIR server does not hold exactly one ImagingStudy for this study")
        self.say("asked the FHIR server: one ImagingStudy for this study")

    def _print_proof(self, timeline: dict[str, Any], accession: str) -> None:
        click.echo("\nProof chain:")
        for recording in timeline["recordings"]:
            for reason in recording["plan"]["reasons"]:
                click.echo(f"  {reason}")
            for link in recording["proof"]:
                click.echo(f"  [{'ok' if link['holds'] else '--'}] {link['name']}: {link['value']}")
        click.echo(f"\nThe page: {self._base}/sign-in#token={self._token}&next=/orders/{accession}")
        click.echo(f"Everything of this run is in {self._folder}")
