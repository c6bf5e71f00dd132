from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count

import pytest

from interfaces.fhir.client import FhirClient
from interfaces.fhir.sandbox import SandboxFhir
from tests.peers.fhir import FhirPeer, medplum, proxied, sekmet

TOKEN = "test-token"
_KEYS = count(1001)


@pytest.fixture(scope="session")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, FhirPeer]]:
    """The two foreign servers and our own sandbox; all three ask for a token."""
    folder = tmp_path_factory.mktemp("fhir")
    sandbox = SandboxFhir("127.0.0.1", 0, folder / "sandbox", token=TOKEN)
    sandbox.start()
    with ExitStack() as stack:
        stack.callback(sandbox.stop)
        yield {
            "sekmet": stack.enter_context(sekmet(folder / "sekmet", token=TOKEN)),
            "medplum": stack.enter_context(medplum(folder / "medplum", token=TOKEN)),
            "sandbox": stack.enter_context(proxied("sandbox", sandbox.base_url, token=TOKEN)),
        }


@pytest.fixture(params=["sekmet", "medplum", "sandbox"])
def peer(request: pytest.FixtureRequest, peers: dict[str, FhirPeer]) -> FhirPeer:
    one = peers[request.param]
    one.set_faults()
    one.requests.clear()
    return one


@pytest.fixture
def client(peer: FhirPeer) -> FhirClient:
    return FhirClient(peer.base_url, token=TOKEN, timeout=20)


@pytest.fixture
def key() -> str:
    """A number that no other test uses: the servers are shared."""
    return str(next(_KEYS))
