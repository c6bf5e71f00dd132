"""Who is signed in to the console: a random cookie value stands for a token, in this process's memory only."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Session:
    """One signed-in browser; moments are seconds of a monotonic clock."""

    token: str
    since: float
    used: float


class Sessions:
    """Sessions with an idle limit (a workstation that was left) and a limit for the whole shift.

    The token is looked up again with every request, so a revoked token ends its sessions at once. A restart ends all.

    Args:
        idle_seconds: A session that a person has not used for so long ends.
        most_seconds: A session ends after so long in any case.
        room: Sessions that are kept at once; the one that was used longest ago makes room for another.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        idle_seconds: float = 30 * 60,
        most_seconds: float = 12 * 3600,
        room: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._idle = idle_seconds
        self._most = most_seconds
        self._room = room
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, Session] = {}

    def open(self, token: str) -> str:
        """Start a session and return its cookie value: 256 random bits."""
        now = self._clock()
        key = secrets.token_urlsafe(32)
        with self._lock:
            self._held = {held: session for held, session in self._held.items() if self._lives(session, now)}
            while len(self._held) >= self._room:
                del self._held[min(self._held, key=lambda held: self._held[held].used)]
            self._held[key] = Session(token=token, since=now, used=now)
        return key

    def token(self, key: str, *, by_person: bool) -> str:
        """Return the token of a living session, else an empty text.

        Args:
            key: The cookie's value.
            by_person: False for a page that refreshes itself, which must not keep a session alive.
        """
        now = self._clock()
        with self._lock:
            session = self._held.get(key)
            if session is None:
                return ""
            if not self._lives(session, now):
                del self._held[key]
                return ""
            if by_person:
                self._held[key] = Session(token=session.token, since=session.since, used=now)
            return session.token

    def close(self, key: str) -> None:
        """End a session; an unknown one is already ended."""
        with self._lock:
            self._held.pop(key, None)

    def _lives(self, session: Session, now: float) -> bool:
        return now - session.used < self._idle and now - session.since < self._most
