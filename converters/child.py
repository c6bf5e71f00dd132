"""The limited process that touches hostile bytes: ``python -P -m converters.child convert|probe|verify|network``.

Standard input carries one line of JSON with the limits, one with the request, and then stays open: when it ends, the
parent is gone and the child ends at once. Standard output carries lines of JSON: ``progress``, and last ``result`` or
``error``. What libraries print goes to standard error.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Exit codes beside 0: the parent went away; the answer was an error.
ORPHANED, FAILED = 9, 3

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_STEP = 0.01

Answer = dict[str, Any]
Tell = Callable[[Answer], None]


def main() -> None:
    """Serve one request and end."""
    tell = _channel()
    isolated = leave_network()
    limits = json.loads(sys.stdin.buffer.readline() or b"{}")
    request = json.loads(sys.stdin.buffer.readline() or b"{}")
    _limit(limits)
    threading.Thread(target=_end_with_parent, args=(request,), daemon=True).start()
    logging.basicConfig(level=logging.WARNING)
    answer = {"result": isolated} if sys.argv[1] == "network" else _answer(sys.argv[1], request, tell)
    tell(answer)
    sys.stderr.flush()
    os._exit(FAILED if "error" in answer else 0)


def _channel() -> Tell:
    """Keep standard output for ourselves; whatever a library prints goes to standard error."""
    channel = os.dup(1)
    os.dup2(2, 1)

    def tell(answer: Answer) -> None:
        line = memoryview(json.dumps(answer).encode() + b"\n")
        while line:
            line = line[os.write(channel, line) :]

    return tell


def leave_network() -> bool:
    """Move into a network name space without any interface; False where the system does not permit it.

    Must come before any thread: only a process of one thread may enter a user name space (user_namespaces(7)).
    """
    try:
        unshare = ctypes.CDLL(None, use_errno=True).unshare
    except (OSError, AttributeError):
        return False
    if unshare(_CLONE_NEWNET) == 0:
        return True
    user, group = os.getuid(), os.getgid()
    if unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    with contextlib.suppress(OSError):  # unmapped ids only look odd; the files' rights are the same
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    return True


def _limit(limits: dict[str, int]) -> None:
    """Set the limits; the signals that tell of a broken one end the process, so that the parent can name it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    kinds = {"memory": resource.RLIMIT_AS, "cpu": resource.RLIMIT_CPU, "file": resource.RLIMIT_FSIZE}
    for name, kind in kinds.items():
        if limits.get(name):
            hard = limits[name] + (5 if name == "cpu" else 0)
            resource.setrlimit(kind, (limits[name], hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_with_parent(request: Answer) -> None:
    """Wait for the end of standard input, which is the end of the parent, and end at once."""
    while os.read(0, 4096):
        pass
    if output := request.get("output"):
        from converters.convert import remove_leftovers  # noqa: PLC0415 - loaded long since, if there is anything

        remove_leftovers(Path(output))
    os._exit(ORPHANED)


def _answer(command: str, request: Answer, tell: Tell) -> Answer:
    """Run the command and return its result or its error, by class, code or stage, and sentence."""
    from models.errors import CinelinkError, ConversionFailed, RecordingRejected  # noqa: PLC0415 - after the limits

    try:
        return {"result": _COMMANDS[command](request, tell)}
    except ConversionFailed as error:
        return {"error": {"class": type(error).__name__, "word": error.stage, "sentence": str(error)}}
    except RecordingRejected as error:
        return {"error": {"class": type(error).__name__, "word": error.code, "sentence": str(error)}}
    except CinelinkError as error:
        return {"error": {"class": "ConversionFailed", "word": command, "sentence": str(error)}}
    except MemoryError:
        return {"error": {"class": "ChildDied", "word": command, "limit": "memory"}}


def _convert(request: Answer, tell: Tell) -> Any:
    """Convert, telling of every percent."""
    from converters.convert import convert  # noqa: PLC0415 - start fast, and only under limits
    from models.plan import ConversionJob  # noqa: PLC0415

    told = -1.0

    def on_progress(done: float) -> None:
        nonlocal told
        if done - told >= _STEP or (done >= 1 and told < 1):
            told = done
            tell({"progress": round(done, 4)})

    return convert(ConversionJob.model_validate(request), on_progress).model_dump(mode="json")


def _probe(request: Answer, _tell: Tell) -> Any:
    from converters.probe import probe  # noqa: PLC0415 - as above

    return probe(Path(request["path"])).model_dump(mode="json")


def _verify(request: Answer, _tell: Tell) -> Any:
    from converters.verify import verify_object  # noqa: PLC0415 - as above

    return [check.model_dump(mode="json") for check in verify_object(Path(request["path"]))]


_COMMANDS: dict[str, Callable[[Answer, Tell], Any]] = {"convert": _convert, "probe": _probe, "verify": _verify}


if __name__ == "__main__":
    main()
