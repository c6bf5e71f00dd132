"""Commands that keep running: the engine, the sandbox peers, and the demo of the whole job."""

from __future__ import annotations

import json
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path

import click

from interfaces.dicom.sandbox import SandboxPacs
from interfaces.fhir.sandbox import SandboxFhir
from interfaces.hl7.sandbox import SandboxReceiver
from interfaces.hl7.sender import send as send_message
from workflow.bootstrap import Product
from workflow.cli.common import config
from workflow.cli.tools import host_and_port
from workflow.demo import Demo, sample_order
from workflow.logs import configure_logging
from workflow.settings import load_settings

_LOOPBACK = "127.0.0.1"
_folder = click.option(
    "--dir", "folder", type=click.Path(file_okay=False, path_type=Path), required=True, help="Where it keeps its store."
)


def wait_for_signal() -> None:
    """Wait until the process is asked to end."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    # A plain wait() would not let the handler run on every platform.
    while not stop.wait(0.5):
        pass


@click.command()
@config
def serve(config_file: Path | None) -> None:
    """Run the engine with all its doors."""
    settings = load_settings(config_file)
    configure_logging("INFO")
    product = Product(settings)
    product.start()
    doors = ", ".join(f"{name} {port}" for name, port in product.ports.items())
    click.echo(f"Cinelink is up: {doors}; data in {settings.data_dir}")
    wait_for_signal()
    product.stop()


@click.group()
def sandbox() -> None:
    """Run a small PACS, EHR or interface engine of our own, to try a site without touching production."""


def _announce(folder: Path, ports: dict[str, int]) -> None:
    scratch = folder / "ports.new"
    scratch.write_text(json.dumps(ports))
    scratch.replace(folder / "ports.json")
    click.echo(", ".join(f"{name} {port}" for name, port in ports.items()))


@sandbox.command("pacs")
@_folder
@click.option("--port", default=11113, show_default=True, help="DICOM port; 0 for a free one.")
@click.option("--ae-title", default="SANDBOX", show_default=True, help="Its AE title.")
def sandbox_pacs(folder: Path, port: int, ae_title: str) -> None:
    """Run a PACS that stores, and that answers C-ECHO and C-FIND."""
    folder.mkdir(parents=True, exist_ok=True)
    pacs = SandboxPacs(_LOOPBACK, port, folder, ae_title=ae_title)
    _announce(folder, {"dicom": pacs.start()})
    wait_for_signal()
    pacs.stop()


@sandbox.command("ehr")
@_folder
@click.option("--hl7-port", default=2576, show_default=True, help="MLLP port; 0 for a free one.")
@click.option("--fhir-port", default=8081, show_default=True, help="FHIR port; 0 for a free one.")
def sandbox_ehr(folder: Path, hl7_port: int, fhir_port: int) -> None:
    """Run an EHR that takes HL7 results over MLLP and keeps FHIR resources."""
    folder.mkdir(parents=True, exist_ok=True)
    receiver = SandboxReceiver(_LOOPBACK, hl7_port, folder / "hl7")
    fhir = SandboxFhir(_LOOPBACK, fhir_port, folder / "fhir")
    _announce(folder, {"hl7": receiver.start(), "fhir": fhir.start()})
    wait_for_signal()
    receiver.stop()
    fhir.stop()


@sandbox.command("engine")
@click.option("--to", "address", default="127.0.0.1:2575", show_default=True, callback=host_and_port, help="HOST:PORT.")
@click.option("--accession", default="", help="Accession number; a new one by default.")
@click.option("--station", default="ENDO1", show_default=True, help="Scheduled station.")
@click.option("--procedure", default="EGD", show_default=True, help="Local procedure code.")
def sandbox_engine(address: tuple[str, int], accession: str, station: str, procedure: str) -> None:
    """Send one order for an invented patient, as an interface engine would."""
    now = datetime.now(tz=UTC)
    order = sample_order(accession or f"E{now:%y%m%d%H%M%S}", now, station=station, procedure=procedure)
    answered = send_message(address[0], address[1], order, timeout=30)
    click.echo(f"{answered.code} {answered.control_id} {answered.text}".rstrip())


@click.command()
@click.option("--once", is_flag=True, help="End with exit code 0 when the job is verified, instead of staying up.")
@click.option(
    "--dir", "folder", type=click.Path(file_okay=False, path_type=Path), default=Path("demo-data"), show_default=True,
    help="Where the demo keeps everything.",
)  # fmt: skip
@click.option("--video", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Your own video.")
@click.option("--order", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Your own ORM^O01 file.")
def demo(once: bool, folder: Path, video: Path | None, order: Path | None) -> None:  # noqa: FBT001 - a click flag
    """Run the whole job with sandbox peers: an order, a recording, the PACS, the EHR, and the proof of it."""
    configure_logging("ERROR")
    running = Demo(folder.absolute(), video=video, order=order)
    try:
        running.run()
        if not once:
            click.echo("\nIt stays up; end it with Ctrl-C.")
            wait_for_signal()
    finally:
        running.stop()
