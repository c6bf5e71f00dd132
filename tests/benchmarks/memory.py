"""The peak memory of a process and of its children, from outside."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_BETWEEN_LOOKS = 0.02


class PeakMemory:
    """Watches a process while a block runs; each figure is the most that one process held, in MB.

    VmHWM is read and not ``ru_maxrss``: that one counts what the parent held when it forked.

    Attributes:
        own: Of the process itself.
        child: Of the largest process below it.
    """

    def __init__(self, pid: int) -> None:
        self.own = self.child = 0.0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_BETWEEN_LOOKS):
            self.look()

    def look(self) -> None:
        self.own = max(self.own, peak_of(self._pid))
        for pid in _below(self._pid):
            # Between fork and exec a child still wears its parent's memory.
            if _command(pid) != _command(self._pid):
                self.child = max(self.child, peak_of(pid))


def peak_of(pid: int) -> float:
    """Return the most that a process ever held, in MB; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")), 0.0)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _below(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return found
    return found + [grandchild for child in found for grandchild in _below(child)]
