"""Time: the per-process clock, and the only user of the scheduler library."""

from __future__ import annotations

import logging
from collections.abc import Callable

from apscheduler.schedulers.background import BackgroundScheduler

log = logging.getLogger("cinelink.clock")


class Clock:
    """Calls what recurs. A call that is still running is not started again; a missed one is made up once."""

    def __init__(self) -> None:
        self._scheduler = BackgroundScheduler(
            timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )

    def every(self, seconds: float, name: str, call: Callable[[], object]) -> None:
        """Call something every so many seconds."""
        self._scheduler.add_job(call, "interval", seconds=seconds, id=name, name=name)

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def stop(self) -> None:
        """End; a call that runs is waited for."""
        self._scheduler.shutdown(wait=True)
