"""Logs: one line for each record, ``key=value`` fields, never patient data.

Logs leave the building, so they carry ids only; the journal, behind the sign-in, has the rest. A lint reads our own
calls (``tests/lint``). What it cannot see is caught here: a field whose name speaks of a patient, and the text of an
exception, which in pydantic and SQLAlchemy repeats the values that it stumbled over.
"""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import sys
import threading
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

#: Fields that every record has; what else is on it was given as ``extra``. uvicorn repeats its message in colour.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}

#: Names of fields that are never shown.
_HIDDEN = re.compile(r"patient|family|given|surname|birth|mrn|payload|body|raw|claim|secret|password|token")

#: Libraries whose own chatter is of no use to an operator.
_QUIET = ("dbos", "apscheduler", "pynetdicom", "uvicorn", "alembic", "httpx", "httpcore")


def one_line(text: str) -> str:
    """Return the text with every control character written out, so that no value can begin a line of its own."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _field(key: str, value: object) -> str:
    if _HIDDEN.search(key.lower()):
        return f"{key}=(hidden)"
    text = str(value)
    bare = text and text.isprintable() and not re.search(r'[\s"=]', text)
    return f"{key}={text if bare else json.dumps(text, ensure_ascii=not text.isprintable())}"


def _why(error: BaseException) -> str:
    """Return what an error says of itself without any value: the operating system's or the database's own word."""
    if isinstance(error, OSError):
        return f" ({error.strerror})" if error.strerror else ""
    code = getattr(error, "sqlite_errorname" if isinstance(error, sqlite3.Error) else "sqlstate", None)
    return f" ({code})" if isinstance(code, str) else ""


def describe_exception(error: BaseException) -> str:
    """Return an exception as one line: kind and place of it and of each cause, innermost frame first, no values."""
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        frames = [
            f"{Path(frame.filename).parent.name}/{Path(frame.filename).name}:{frame.lineno} {frame.name}"
            for frame in reversed(traceback.extract_tb(current.__traceback__))
        ]
        parts.append(f"{type(current).__name__}{_why(current)} at {' < '.join(frames) or 'no place'}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return " | from ".join(parts)


class LineFormatter(logging.Formatter):
    """``2026-11-23T10:00:00Z WARNING cinelink.intake message refused action=message.refused message_id=17``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = datetime.fromtimestamp(record.created, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        fields = [_field(key, value) for key, value in vars(record).items() if key not in _STANDARD]
        if record.exc_info and record.exc_info[1] is not None:
            fields.append(_field("exception", describe_exception(record.exc_info[1])))
        return " ".join([at, record.levelname, record.name, one_line(record.getMessage()), *fields])


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt) or error is None:
        sys.__excepthook__(kind, error or kind(), trace)
        return
    logging.getLogger("cinelink").critical("ended by an error", exc_info=(kind, error, trace))


def _catch_the_uncaught() -> None:
    """What ends a thread or the process is printed by Python itself, values and all, unless somebody else takes it."""
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = lambda args: _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _log_uncaught


def configure_logging(level: str) -> None:
    """Send our own records of that level and above to standard error, and the libraries' warnings; may be repeated."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if not isinstance(other.formatter, LineFormatter)] + [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("cinelink").setLevel(level)
    _catch_the_uncaught()
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # The execution library brings a handler of its own, which prints whole tracebacks, unless it finds one. It also
    # warns of restarts and repeats, which are our daily bread.
    execution = logging.getLogger("dbos")
    execution.handlers, execution.propagate = [handler], False
    execution.setLevel(logging.ERROR)
