"""One sender's connection: frames in, answers out in the same order, bounded in every direction."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

from interfaces.hl7.acks import build_ack
from interfaces.hl7.framing import Deframer, Event, Noise, Payload, frame

if TYPE_CHECKING:
    from interfaces.hl7.mllp import Frame

#: How long we wait for the CR after an FS, for senders that leave it out.
SETTLE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Limits:
    """See ``MllpListener``."""

    max_bytes: int
    idle_seconds: float
    max_connections: int


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A message that waits for the receiver, or a refusal that waits for its turn."""

    connection: Connection
    payload: bytes
    refusal: bytes | None = None


class Door(Protocol):
    """The listener, as a connection sees it."""

    def hold(self, connection: Connection) -> None:
        """Let a sender wait while too much waits for the receiver."""

    def opened(self, connection: Connection) -> bool:
        """Count a connection in."""

    def closed(self, connection: Connection) -> None:
        """Count a connection out."""

    def enqueue(self, waiting: Waiting) -> None:
        """Take a message."""

    def report(self, frame: Frame, *, delivered: bool) -> None:
        """Hear what became of an answer."""

    def quarantine(self, data: bytes, peer: str, why: str) -> None:
        """Take bytes that are no message."""


class Connection(asyncio.Protocol):
    """The protocol of one connection; every method runs on the loop's thread."""

    def __init__(self, door: Door, limits: Limits) -> None:
        self.peer = ""
        self._door = door
        self._limits = limits
        self._deframer = Deframer(limits.max_bytes)
        self._transport: asyncio.Transport | None = None
        self._owed = 0
        self._unsent: deque[Frame] = deque()
        self._heard_at = 0.0
        self._settling: asyncio.TimerHandle | None = None
        self._last_words = False
        self._congested = False

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to listen, unless there are too many already."""
        if not isinstance(transport, asyncio.Transport):
            return
        self._transport = transport
        name = transport.get_extra_info("peername")
        self.peer = f"{name[0]}:{name[1]}" if name else ""
        if not self._door.opened(self):
            transport.abort()
            return
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # Every answer that the buffer cannot take at once is reported only when it has gone.
        transport.set_write_buffer_limits(high=0)
        self._heard_at = asyncio.get_running_loop().time()

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        loop = asyncio.get_running_loop()
        self._heard_at = loop.time()
        self._stop_settling()
        self._handle(self._deframer.feed(data))
        if self._deframer.ends_perhaps:
            self._settling = loop.call_later(SETTLE_SECONDS, lambda: self._handle(self._deframer.settle()))
        self._door.hold(self)

    def eof_received(self) -> bool:
        """Keep the connection for the answers that it is still owed."""
        self._stop_settling()
        self._last_words = True
        self._handle(self._deframer.finish())
        return self._owed > 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Say what was left unfinished."""
        del exc
        self._stop_settling()
        self._handle(self._deframer.finish())
        while self._unsent:
            self._door.report(self._unsent.popleft(), delivered=False)
        self._door.closed(self)

    def pause_writing(self) -> None:
        """The sender does not read its answers: read no more from it."""
        self._congested = True
        self.pause()

    def resume_writing(self) -> None:
        """Everything that was written has gone."""
        self._congested = False
        while self._unsent:
            self._door.report(self._unsent.popleft(), delivered=True)
        self.hear_again()

    # --- frames ---

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Payload):
                self._owe(Waiting(self, event.data))
            elif isinstance(event, Noise):
                self._door.quarantine(event.data, self.peer, event.why)
                if event.fatal:
                    self._finish_when_answered()
            else:
                self._refuse(event.data)

    def _owe(self, waiting: Waiting) -> None:
        self._owed += 1
        self._door.enqueue(waiting)

    def _refuse(self, head: bytes) -> None:
        why = f"the message is larger than {self._limits.max_bytes} bytes: send it without the embedded document"
        self._door.quarantine(head, self.peer, why)
        refusal = build_ack(
            head, "AR", text=why, error_code="207", control_id=uuid4().hex[:20].upper(), at=datetime.now(tz=UTC)
        )
        self._owe(Waiting(self, b"", refusal))

    def answer(self, answer: bytes | None, frame_: Frame | None) -> None:
        """Send an answer, or close the connection when there is none; ``frame_`` is told what became of it."""
        self._owed -= 1
        gone = self._transport is None or self._transport.is_closing()
        if gone or answer is None:
            if frame_ is not None and answer is not None:
                self._door.report(frame_, delivered=False)
            self.close()
            return
        self._write(frame(answer), frame_)
        if self._last_words and not self._owed:
            self.close()

    def _write(self, data: bytes, frame_: Frame | None) -> None:
        if self._transport is None:
            return
        self._transport.write(data)
        if frame_ is None:
            return
        if self._transport.get_write_buffer_size():
            self._unsent.append(frame_)
        else:
            self._door.report(frame_, delivered=not self._transport.is_closing())

    # --- endings ---

    def _stop_settling(self) -> None:
        if self._settling:
            self._settling.cancel()
            self._settling = None

    def _finish_when_answered(self) -> None:
        """Close as soon as nothing is owed: what comes after this cannot be understood."""
        self.hear_no_more()
        if not self._owed:
            self.close()

    def hear_no_more(self) -> None:
        """Read no further."""
        self._last_words = True
        self.pause()

    def pause(self) -> None:
        """Read nothing for the moment."""
        if self._transport and not self._transport.is_closing():
            self._transport.pause_reading()

    def hear_again(self) -> None:
        """Read on after a pause."""
        stays_quiet = self._last_words or self._congested
        if self._transport and not self._transport.is_closing() and not stays_quiet:
            self._transport.resume_reading()

    def check_idle(self, now: float) -> None:
        """End a connection that has been silent for too long within a message."""
        silent = now - self._heard_at > self._limits.idle_seconds
        if silent and self._deframer.unfinished and not self._owed:
            self.close()

    def close(self) -> None:
        """Close after what was written has gone."""
        if self._transport:
            self._transport.close()

    def cut(self) -> None:
        """Close at once."""
        if self._transport:
            self._transport.abort()
