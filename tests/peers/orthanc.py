"""Orthanc as a real PACS: started in a folder on free loopback ports, asked over its own REST interface."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.delivery import DicomPeer
from tests.peers.dicom import LOOPBACK, free_port, listens, program, wait_for

CALLING_AE_TITLE = "CINELINK"


class OrthancPeer:
    """One Orthanc. It stores and answers for AE title CINELINK from this machine only, and asks for no password.

    Attributes:
        dicom: How it is spoken to over DICOM.
        http: Base URL of its REST interface, without a slash at the end.
    """

    def __init__(self, folder: Path, *, ae_title: str = "ORTHANC", **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        dicom_port, http_port = free_port(), free_port()
        self.dicom = DicomPeer(
            host=LOOPBACK, port=dicom_port, ae_title=ae_title, calling_ae_title=CALLING_AE_TITLE, timeout_seconds=30
        )
        self.http = f"http://{LOOPBACK}:{http_port}"
        self._http_port = http_port
        self._log = folder / "orthanc.log"
        self._config = folder / "orthanc.json"
        self._config.write_text(
            json.dumps(_config(folder, ae_title, dicom_port, http_port) | settings, indent=1), encoding="utf-8"
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process, "Orthanc does not run"
        return self._process.pid

    def start(self) -> None:
        """Start it (again), with what it held before, and wait until it answers."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [program("Orthanc", "orthanc"), str(self._config)], stdout=output, stderr=subprocess.STDOUT
            )
        wait_for(self._ready, what=f"Orthanc to get ready; see {self._log}")

    def stop(self) -> None:
        """Kill it: a PACS that is down."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def instances(self) -> list[str]:
        """Return the SOP Instance UIDs of everything it holds."""
        return [item["MainDicomTags"]["SOPInstanceUID"] for item in self.get_json("/instances?expand")]

    def find(self, sop_uid: str) -> str:
        """Return its own id of an instance; empty when it does not hold it."""
        found = json.loads(self._request("/tools/lookup", sop_uid.encode()))
        return next((item["ID"] for item in found if item["Type"] == "Instance"), "")

    def payload(self, sop_uid: str) -> bytes:
        """Return the encapsulated MP4 of an instance: its fragments in order, without the pad byte."""
        content = f"/instances/{self._held(sop_uid)}/content/7fe0-0010"
        fragments = [item for item in self.get_json(content) if item != "0"]  # item 0 is the Basic Offset Table
        stream = b"".join(self._request(f"{content}/{item}") for item in fragments)
        return stream[: _mp4_length(stream)]

    def metadata(self, sop_uid: str) -> dict[str, Any]:
        """Return the attributes of an instance: DICOM keyword to value."""
        tags: dict[str, Any] = self.get_json(f"/instances/{self._held(sop_uid)}/simplified-tags")
        return tags

    def patient_of(self, sop_uid: str) -> str:
        """Return the patient ID that it holds an instance under."""
        return str(self.get_json(f"/instances/{self._held(sop_uid)}/patient")["MainDicomTags"]["PatientID"])

    def get_json(self, path: str) -> Any:
        """Return the answer of its REST interface to a GET."""
        return json.loads(self._request(path))

    def _held(self, sop_uid: str) -> str:
        found = self.find(sop_uid)
        assert found, f"Orthanc does not hold {sop_uid}"
        return found

    def _ready(self) -> bool:
        assert self._process, "Orthanc was not started"
        assert self._process.poll() is None, f"Orthanc ended: {self._log.read_text(errors='replace')[-2000:]}"
        if not (listens(self._http_port) and listens(self.dicom.port)):
            return False
        try:
            return bool(self.get_json("/system"))
        except urllib.error.URLError:
            return False

    def _request(self, path: str, body: bytes | None = None) -> bytes:
        with urllib.request.urlopen(self.http + path, data=body, timeout=60) as answer:
            content: bytes = answer.read()
            return content


@contextmanager
def orthanc(folder: Path, **settings: Any) -> Iterator[OrthancPeer]:
    """Run Orthanc until the block ends; settings are Orthanc's own and add to ours."""
    peer = OrthancPeer(folder, **settings)
    try:
        peer.start()
        yield peer
    finally:
        peer.stop()


def _config(folder: Path, ae_title: str, dicom_port: int, http_port: int) -> dict[str, Any]:
    return {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [],
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": ae_title,
        "DicomPort": dicom_port,
        "DicomCheckCalledAet": True,
        "DicomCheckModalityHost": True,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "DicomModalities": {"cinelink": [CALLING_AE_TITLE, LOOPBACK, 104]},
        "SyncStorageArea": False,
        "DicomScpTimeout": 5,
        "MaximumPduLength": 131_072,
    }


def _mp4_length(stream: bytes) -> int:
    """Return where the last whole box of an MP4 ends (ISO 14496-12 4.2); of anything else, its length."""
    if stream[4:8] != b"ftyp":
        return len(stream)
    position = 0
    while position + 8 <= len(stream):
        size = int.from_bytes(stream[position : position + 4], "big")
        if size == 1:
            size = int.from_bytes(stream[position + 8 : position + 16], "big")
        if size == 0:
            return len(stream)
        position += size
    return position
