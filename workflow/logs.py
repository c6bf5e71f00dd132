"""Logs: one line for each record, ``key=value`` fields, never patient data."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

#: Fields that every record has; what else is on it was given as ``extra``.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

#: Libraries whose own chatter is of no use to an operator.
_QUIET = ("dbos", "apscheduler", "pynetdicom", "uvicorn", "alembic", "httpx", "httpcore")


class LineFormatter(logging.Formatter):
    """``2026-11-23T10:00:00Z INFO cinelink.intake message refused action=message.refused message_id=17``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = datetime.fromtimestamp(record.created, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        fields = [f"{key}={value}" for key, value in vars(record).items() if key not in _STANDARD]
        line = " ".join([at, record.levelname, record.name, record.getMessage(), *fields])
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logging(level: str) -> None:
    """Send our own records of that level and above to standard error, and the libraries' warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("cinelink").setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR if name == "dbos" else logging.WARNING)
