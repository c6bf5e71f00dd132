"""Peers that nobody of us wrote: Orthanc, a python-hl7 receiver, and a foreign FHIR server."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hl7

from tests.peers.dicom import program
from tests.peers.fhir import FhirPeer, sekmet
from tests.peers.hl7 import ForeignReceiver, foreign_receiver
from tests.peers.orthanc import OrthancPeer, orthanc


@dataclass(frozen=True)
class Notice:
    """An ORU as the foreign library reads it."""

    control_id: str
    kind: str
    accession: str
    status: str
    parsed: hl7.Message


@dataclass
class Hospital:
    """All foreign peers of a site."""

    orthanc: OrthancPeer
    receiver: ForeignReceiver
    fhir: FhirPeer

    def destinations(self, **fhir_columns: Any) -> list[dict[str, Any]]:
        """Return the rows of the destinations table."""
        peer = self.orthanc.dicom
        return [
            {"name": "orthanc", "kind": "dicom", "host": peer.host, "port": peer.port, "ae_title": peer.ae_title},
            {"name": "ehr", "kind": "hl7", "host": "127.0.0.1", "port": self.receiver.port, "application": "EHR"},
            {"name": "fhir", "kind": "fhir", "url": self.fhir.base_url, **fhir_columns},
        ]

    def notices(self) -> list[Notice]:
        """Return every ORU that the receiver got, parsed by python-hl7."""
        return [_read(raw) for raw in self.receiver.received]


def errors_of_dciodvfy(path: str) -> list[str]:
    """Return what dciodvfy calls an error in an object."""
    judged = subprocess.run([program("dciodvfy", "dicom3tools"), path], capture_output=True, text=True, check=False)
    return [line for line in judged.stderr.splitlines() if line.startswith("Error")]


def dump_of_dcmtk(path: str) -> str:
    """Return DCMTK's dump of an object; it fails when DCMTK cannot open it."""
    return subprocess.run([program("dcmdump", "dcmtk"), path], capture_output=True, text=True, check=True).stdout


def _read(raw: bytes) -> Notice:
    parsed = hl7.parse(raw.decode())
    return Notice(
        control_id=str(parsed.segment("MSH")[10]),
        kind=str(parsed.segment("MSH")[9]),
        accession=str(parsed.segment("OBR")[18]),
        status=str(parsed.segment("OBR")[25]),
        parsed=parsed,
    )


@contextlib.contextmanager
def foreign_hospital(folder: Path) -> Iterator[Hospital]:
    """Start all peers on free loopback ports, and end them."""
    with orthanc(folder / "orthanc") as pacs, foreign_receiver(folder / "ehr") as ehr, sekmet(folder / "fhir") as fhir:
        yield Hospital(pacs, ehr, fhir)
