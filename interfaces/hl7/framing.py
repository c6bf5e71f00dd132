"""MLLP frames out of a stream of bytes, and into one (MLLP Release 1: VT message FS CR).

No sockets here: bytes go in, events come out. Memory is bounded by the greatest message, and the search for the end
goes on where it stopped, so a big message that comes in small pieces is not searched again and again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

VT, FS = 0x0B, 0x1C
_AFTER_THE_END = b"\r\n\x0b"
_BLANK = b"\r\n\t \x1c\x00"
_BOM = b"\xef\xbb\xbf"

#: More bytes than this without a start block are no accident.
MOST_NOISE = 4096

#: How many times the greatest message we read on, to find the end of one that is too large and answer it.
_PATIENCE = 4
_NO_START = "these bytes came without an MLLP start block (0x0B)"

#: A start block within a message starts a new one when a header follows it; elsewhere it is part of a text.
#: Its blanks are counted, so that a flood of them costs no more than its length.
_STARTS_AGAIN = re.compile(rb"\x0b[ \t\r\n]{0,8}(?:\xef\xbb\xbf)?(?=(?:MSH|FHS|BHS)[^A-Za-z0-9\s])")


@dataclass(frozen=True, slots=True)
class Payload:
    """A whole message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Noise:
    """Bytes that are no message; ``fatal`` when nothing after them can be trusted to be one."""

    data: bytes
    why: str
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class TooLarge:
    """A message that was larger than allowed has ended; ``data`` is its beginning."""

    data: bytes


Event = Payload | Noise | TooLarge


def frame(message: bytes) -> bytes:
    """Return a message between VT and FS CR."""
    return b"\x0b" + message + b"\x1c\r"


class Deframer:
    """Takes a stream apart.

    An FS ends a message when CR, LF or VT follows it. When nothing follows yet, ``ends_perhaps`` is True: the owner
    waits a moment and calls ``settle``, for senders that leave the CR out. An FS that is followed by anything else
    belongs to the message, so a stray one never cuts an order in two.

    Args:
        max_bytes: The greatest message that is taken.
    """

    def __init__(self, max_bytes: int) -> None:
        self._most = max_bytes
        self._buffer = bytearray()
        self._inside = False
        self._searched = 0
        self._head = b""
        self._dropped = 0
        self._events: list[Event] = []

    @property
    def unfinished(self) -> bool:
        """Something has begun and not ended."""
        return self._inside or bool(self._buffer)

    @property
    def ends_perhaps(self) -> bool:
        """The last byte so far is an FS within a message: it may be whole."""
        return self._inside and self._buffer[-1:] == bytes((FS,))

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes and return what has become whole."""
        self._buffer += data
        while self._close_next() if self._inside else self._open_next():
            pass
        return self._taken()

    def settle(self) -> list[Event]:
        """Take an FS at the very end as the end of the message."""
        if self.ends_perhaps:
            self._close(len(self._buffer) - 1)
        return self._taken()

    def finish(self) -> list[Event]:
        """Return what is left when no more bytes will come."""
        events = self.settle()
        rest, inside = self._head if self._dropped else bytes(self._buffer), self._inside
        self._buffer.clear()
        self._inside = False
        if rest.strip(_BLANK):
            within = "the connection ended within this message: it was neither taken nor answered"
            events.append(Noise(rest, within if inside else _NO_START, fatal=True))
        return events

    def _taken(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    # --- outside a message ---

    def _open_next(self) -> bool:
        """Go on to the next start block; what stands before it is noise, unless it is blank."""
        start = self._buffer.find(VT)
        if start < 0:
            self._judge_noise()
            return False
        before = bytes(self._buffer[:start])
        del self._buffer[: start + 1]
        self._inside, self._searched = True, 0
        if _has_text(before):
            self._events.append(Noise(before[: self._most], "text before the MLLP start block (0x0B)"))
        return True

    def _judge_noise(self) -> None:
        if not self._buffer.strip(_BLANK):
            self._buffer.clear()
        elif _has_text(self._buffer) and (FS in self._buffer or len(self._buffer) > MOST_NOISE):
            self._events.append(Noise(bytes(self._buffer[: self._most]), _NO_START, fatal=True))
            self._buffer.clear()

    # --- inside a message ---

    def _close_next(self) -> bool:
        """Go on to the end of the message at hand."""
        end = self._buffer.find(FS, self._searched)
        while 0 <= end < len(self._buffer) - 1:
            if self._buffer[end + 1] in _AFTER_THE_END:
                self._close(end)
                return True
            end = self._buffer.find(FS, end + 1)
        self._searched = end if end >= 0 else len(self._buffer)
        self._bound()
        return False

    def _close(self, end: int) -> None:
        data = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._inside = False
        if self._dropped or len(data) > self._most:
            self._too_large(data)
            return
        restart = 0
        for found in _STARTS_AGAIN.finditer(data):
            restart = found.end()
        if _has_text(before := data[:restart].rstrip(b"\x0b")):
            self._events.append(Noise(before, "a message without an end, before a new start"))
        self._events.append(Payload(data[restart:]))

    def _too_large(self, data: bytes) -> None:
        self._events.append(TooLarge(self._head or data[: self._most]))
        self._head, self._dropped = b"", 0

    def _bound(self) -> None:
        """Keep the beginning of a message that is too large, and drop what follows until its end."""
        if len(self._buffer) <= self._most and not self._dropped:
            return
        if not self._dropped:
            self._head = bytes(self._buffer[: self._most])
        keep = 1 if self.ends_perhaps else 0
        self._dropped += len(self._buffer) - keep
        del self._buffer[: len(self._buffer) - keep]
        self._searched = 0
        if self._dropped > _PATIENCE * self._most:
            why = f"more than {_PATIENCE} times the greatest message ({self._most} bytes) without an end"
            self._events.append(Noise(self._head, why, fatal=True))
            self._head = b""


def _has_text(data: bytes | bytearray) -> bool:
    rest = data.strip(_BLANK)
    return bool(rest) and not _BOM.startswith(bytes(rest[:4]))
