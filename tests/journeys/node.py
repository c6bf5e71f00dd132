"""The engine as a process of its own, with a point at which it kills itself: failpoints exist only here.

``CINELINK_TEST_KILL=after:recording.linked:2`` dies (SIGKILL, nothing is cleaned up) after the second commit of that
name; ``before:`` dies with everything flushed and nothing committed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from models.errors import CinelinkError
from workflow.bootstrap import Product
from workflow.logs import configure_logging
from workflow.settings import load_settings


class KillSwitch:
    """A commit hook that dies at one moment."""

    def __init__(self, where: str) -> None:
        self._moment, self._name, count = (*where.split(":"), "1")[:3] if where else ("", "", "0")
        self._left = int(count)

    def __call__(self, moment: str, name: str) -> None:
        if (moment, name) != (self._moment, self._name):
            return
        self._left -= 1
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    configure_logging("INFO")
    settings = load_settings(None)
    product = Product(settings, hook=KillSwitch(os.environ.get("CINELINK_TEST_KILL", "")))
    try:
        product.start()
    except CinelinkError as error:
        sys.exit(f"error: {error}")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    while not stop.wait(0.2) and Path(settings.data_dir).exists():
        pass
    product.stop()


if __name__ == "__main__":
    main()
