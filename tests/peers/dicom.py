"""DCMTK's programs as peers, and a link between two peers that can be slow or break."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from models.delivery import DicomPeer

LOOPBACK = "127.0.0.1"
#: An A-ABORT PDU of the service provider (PS3.8 9.3.8).
A_ABORT = b"\x07\0\0\0\0\x04\0\0\x02\0"


def program(name: str, package: str) -> str:
    """Return the path of a program; a missing one fails the test with what to install."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert found, f"{name} is not installed: apt-get install {package}"
    return found


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], bool], *, seconds: float = 20, what: str) -> None:
    """Wait until a condition holds, at most so long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain for {what}"
        time.sleep(0.02)


def listens(port: int) -> bool:
    """Return whether somebody accepts connections."""
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False


@contextmanager
def running(command: list[str], *, log: Path, ready: Callable[[], bool]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; its output goes to a file, and is shown when it does not get ready."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for(
            lambda: process.poll() is not None or ready(),
            what=f"{Path(command[0]).name} to get ready; see {log}",
        )
        assert process.poll() is None, f"{Path(command[0]).name} ended: {log.read_text(errors='replace')[-2000:]}"
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def storescp(folder: Path, *arguments: str) -> Iterator[DicomPeer]:
    """Run DCMTK's storescp, which writes what it gets into the folder; ``+xa`` lets it take video."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [program("storescp", "dcmtk"), "-od", str(folder), "-aet", "STORESCP", *arguments, str(port)]
    log = folder.parent / f"{folder.name}.storescp.log"
    with running(command, log=log, ready=lambda: listens(port)):
        yield DicomPeer(host=LOOPBACK, port=port, ae_title="STORESCP")


@contextmanager
def dcmqrscp(folder: Path, *arguments: str) -> Iterator[DicomPeer]:
    """Run DCMTK's dcmqrscp, an archive with a strict hierarchical query."""
    area = folder / "area"
    area.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMQRSCP {area} RW (200, 1024mb) ANY\nAETable END\n"
    )
    command = [program("dcmqrscp", "dcmtk"), "-c", str(config), *arguments]
    with running(command, log=folder / "dcmqrscp.log", ready=lambda: listens(port)):
        yield DicomPeer(host=LOOPBACK, port=port, ae_title="DCMQRSCP")


def dcmtk(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of DCMTK's clients to its end."""
    command = [program(name, "dcmtk"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def link(
    to: DicomPeer,
    *,
    bytes_per_second: float = 0,
    cut_after: int = 0,
    freeze_after: int = 0,
    abort_at_accept: bool = False,
) -> Iterator[DicomPeer]:
    """Stand between us and a peer: slow, cut off or silent after so many bytes of ours, or aborting at once."""
    middle = _Link(to, bytes_per_second, cut_after, freeze_after, abort_at_accept)
    try:
        yield to.model_copy(update={"port": middle.port})
    finally:
        middle.close()


class _Link:
    def __init__(
        self, to: DicomPeer, bytes_per_second: float, cut_after: int, freeze_after: int, abort_at_accept: bool
    ) -> None:
        self._to = to
        self._bytes_per_second = bytes_per_second
        self._cut_after = cut_after
        self._freeze_after = freeze_after
        self._abort_at_accept = abort_at_accept
        self._over = threading.Event()
        self._listener = socket.create_server((LOOPBACK, 0))
        # Small, so that a slow link is felt at once and little of a cut one is on the way.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        self.port = int(self._listener.getsockname()[1])
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def close(self) -> None:
        self._over.set()
        _close(*self._sockets)
        for thread in self._threads:
            thread.join(timeout=10)

    def _run(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                theirs = socket.create_connection((self._to.host, self._to.port))
                self._sockets += [ours, theirs]
                self._run(self._forward, ours, theirs)
                self._run(self._back, theirs, ours)

    def _forward(self, ours: socket.socket, theirs: socket.socket) -> None:
        started, passed = time.monotonic(), 0
        with suppress(OSError):
            while data := ours.recv(16_384):
                theirs.sendall(data)
                passed += len(data)
                if self._cut_after and passed >= self._cut_after:
                    break
                if self._freeze_after and passed >= self._freeze_after:
                    self._over.wait()
                if self._bytes_per_second:
                    self._over.wait(max(0.0, passed / self._bytes_per_second - (time.monotonic() - started)))
        _close(ours, theirs)

    def _back(self, theirs: socket.socket, ours: socket.socket) -> None:
        with suppress(OSError):
            while data := theirs.recv(16_384):
                if self._abort_at_accept:
                    ours.sendall(data + A_ABORT)
                    break
                ours.sendall(data)
        _close(ours, theirs)


def _close(*sockets: socket.socket) -> None:
    """Wake whoever waits for them, and close them; what was not read makes the other side's next write fail."""
    for item in sockets:
        with suppress(OSError):
            item.shutdown(socket.SHUT_RDWR)
        item.close()
