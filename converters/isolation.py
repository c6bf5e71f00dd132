"""Probing, converting and verifying in a child process with limits: a hostile file kills the child, never the engine.

The child has no environment of ours (so no secret), no network where name spaces are permitted, and dies with its
parent. Errors of ours come back as the same class; a child that ends without an answer is ``ChildDied``.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from models import errors
from models.errors import ChildDied, ConversionFailed, RecordingRejected
from models.plan import Check, ConversionJob, ConversionResult
from models.recording import StreamFacts

_GIB = 1 << 30

#: What the child sees of the environment: nothing of ours, and few memory arenas, for each counts as address space.
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

_KNOWN: dict[str, type[ConversionFailed | RecordingRejected]] = {
    kind.__name__: kind
    for kind in (errors.ConversionFailed, errors.VerificationFailed, errors.ChildDied, errors.RecordingRejected)
}
_EXCEPTION = re.compile(r"^([A-Za-z_.]+(?:Error|Exception|Interrupt|Exit))\b")
_TAIL = 8192


@dataclass(frozen=True)
class Limits:
    """What a child may use; 0 is no limit.

    Attributes:
        memory_bytes: Address space (RLIMIT_AS).
        cpu_seconds: Processor time of all its threads (RLIMIT_CPU).
        wall_seconds: Time on the clock.
        file_bytes: The longest file that it may write (RLIMIT_FSIZE).
    """

    memory_bytes: int = 2 * _GIB
    cpu_seconds: int = 6 * 3600
    wall_seconds: float = 6 * 3600
    file_bytes: int = 64 * _GIB


class Children:
    """The children that are running, so that an orderly stop can end them; one for each engine is enough."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """No more children are wanted."""
        return self._stopped

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """Remember a child; one that starts after the stop ends at once."""
        with self._lock:
            self._running.add(process)
            if self._stopped:
                process.terminate()

    def remove(self, process: subprocess.Popen[bytes]) -> None:
        """Forget a child that has ended."""
        with self._lock:
            self._running.discard(process)

    def terminate(self) -> None:
        """End all children now and for good: their ``run_*`` calls raise ChildDied."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()


def run_convert(
    job: ConversionJob,
    limits: Limits,
    on_progress: Callable[[float], None] = lambda _: None,
    *,
    children: Children | None = None,
) -> ConversionResult:
    """Run one conversion in a child process.

    Raises:
        ConversionFailed, VerificationFailed: As ``convert`` raises them.
        ChildDied: The child ended without an answer; the sentence names the limit or the signal.
    """
    from converters.convert import remove_leftovers  # noqa: PLC0415 - a caller that only probes needs no pydicom

    try:
        answer = _Child("convert", limits, on_progress, children or Children()).run(job.json_text())
    finally:
        remove_leftovers(Path(job.output))
    return ConversionResult.model_validate(answer)


def run_probe(path: Path, limits: Limits, *, children: Children | None = None) -> StreamFacts:
    """Probe a file in a child process.

    Raises:
        RecordingRejected: It is no usable video.
        ChildDied: As for ``run_convert``.
    """
    child = _Child("probe", limits, _ignore, children or Children())
    return StreamFacts.model_validate(child.run(json.dumps({"path": str(path)})))


def run_verify(path: Path, limits: Limits, *, children: Children | None = None) -> tuple[Check, ...]:
    """Verify an object in a child process and return its checks, failed ones too.

    Raises:
        VerificationFailed: It cannot be read as a DICOM video.
        ChildDied: As for ``run_convert``.
    """
    child = _Child("verify", limits, _ignore, children or Children())
    return tuple(Check.model_validate(check) for check in child.run(json.dumps({"path": str(path)})))


def network_isolated() -> bool:
    """Tell whether children of ours run without a network here (``cinelink doctor`` says so)."""
    return bool(_Child("network", Limits(wall_seconds=30), _ignore, Children()).run("{}"))


def _ignore(_done: float) -> None:
    return


class _Child:
    """One child process: started, fed, listened to, and waited for."""

    def __init__(self, command: str, limits: Limits, on_progress: Callable[[float], None], children: Children) -> None:
        self._command = command
        self._limits = limits
        self._on_progress = on_progress
        self._children = children
        self._late = False

    def run(self, request: str) -> Any:
        """Return the child's result, or raise its error."""
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "converters.child", self._command],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                start_new_session=True, env=_ENVIRONMENT,
            )  # fmt: skip
            self._children.add(process)
            timer = threading.Timer(self._limits.wall_seconds or threading.TIMEOUT_MAX, self._too_late, [process])
            timer.start()
            try:
                answer = self._converse(process, request)
            finally:
                timer.cancel()
                process.kill()  # after its answer the child has nothing more to do; without one it must not linger
                process.wait()
                self._children.remove(process)
                _close(process)
            if "result" in answer:
                return answer["result"]
            if "error" in answer:
                raise self._same_error(answer["error"])
            raise ChildDied(self._command, self._why(process.returncode, _tail(log)))

    def _converse(self, process: subprocess.Popen[bytes], request: str) -> dict[str, Any]:
        """Send the request, pass progress on, and return the last answer; empty when there was none."""
        if process.stdin is None or process.stdout is None:
            raise ChildDied(self._command, "the child process has no pipes")
        try:
            process.stdin.write(json.dumps(self._limit_values()).encode() + b"\n" + request.encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            process.wait()
            return {}
        for line in process.stdout:
            answer: dict[str, Any] = json.loads(line)
            if "progress" not in answer:
                return answer
            self._on_progress(float(answer["progress"]))
        process.wait()
        return {}

    def _limit_values(self) -> dict[str, int]:
        limits = self._limits
        return {"memory": limits.memory_bytes, "cpu": limits.cpu_seconds, "file": limits.file_bytes}

    def _too_late(self, process: subprocess.Popen[bytes]) -> None:
        self._late = True
        process.kill()

    def _same_error(self, error: dict[str, str]) -> ConversionFailed | RecordingRejected:
        if error.get("limit") == "memory":
            return ChildDied(self._command, self._memory_sentence())
        return _KNOWN[error["class"]](error["word"], error["sentence"])

    def _memory_sentence(self) -> str:
        return (
            f"the {self._command} process needed more than its {self._limits.memory_bytes // (1 << 20):,} MiB of "
            "memory: look whether the file is a real recording, or raise the limit"
        )

    def _why(self, code: int, tail: str) -> str:
        """Say in one sentence, without a word of the file's, why there is no answer."""
        limits = self._limits
        if self._late:
            return f"the {self._command} process took longer than {limits.wall_seconds:g} s: raise the time limit"
        if self._children.stopped:
            return f"the {self._command} process was stopped, because the engine is stopping: it will be run again"
        broken = {
            -signal.SIGXCPU: f"used more than {limits.cpu_seconds} s of processor time: raise the limit",
            -signal.SIGXFSZ: f"wrote a file of more than {limits.file_bytes:,} bytes: raise the limit",
        }
        if code in broken:
            return f"the {self._command} process {broken[code]}"
        if "MemoryError" in tail:
            return self._memory_sentence()
        if code < 0:
            return f"the {self._command} process was killed by {signal.Signals(-code).name}: see the system's log"
        found = [match[1] for line in tail.splitlines() if (match := _EXCEPTION.match(line))]
        what = f" ({found[-1]})" if found else ""
        return f"the {self._command} process ended with code {code}{what} and no answer: report this as a fault"


def _close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # what the child did not live to read
                pipe.close()


def _tail(log: IO[bytes]) -> str:
    """Return the end of what the child printed."""
    size = log.seek(0, 2)
    log.seek(max(0, size - _TAIL))
    return log.read().decode(errors="replace")
