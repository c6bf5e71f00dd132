"""The peers that most tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from interfaces.dicom.sandbox import SandboxPacs
from models.delivery import DicomPeer, ExpectedInstance
from tests.interfaces.dicom.objects import expected, write_video
from tests.peers.dicom import LOOPBACK
from tests.peers.orthanc import OrthancPeer, orthanc


@pytest.fixture(scope="session")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancPeer]:
    """One Orthanc for all; each test brings objects of its own."""
    with orthanc(tmp_path_factory.mktemp("orthanc")) as peer:
        yield peer


@pytest.fixture
def identity() -> ExpectedInstance:
    return expected()


@pytest.fixture
def video(tmp_path: Path, identity: ExpectedInstance) -> Path:
    return write_video(tmp_path / "video.dcm", identity)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxPacs]:
    pacs = SandboxPacs(LOOPBACK, 0, tmp_path / "sandbox")
    yield pacs
    pacs.stop()


@pytest.fixture
def sandbox_peer(sandbox: SandboxPacs) -> DicomPeer:
    return DicomPeer(host=LOOPBACK, port=sandbox.start(), ae_title="SANDBOX", timeout_seconds=10)
