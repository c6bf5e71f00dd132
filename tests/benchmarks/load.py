"""Many MLLP senders at once: each connection sends, waits for its answer, and only then sends the next message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_AGAIN_AFTER = 0.1
_LONGEST_ANSWER = 30.0
_BROKEN = (OSError, asyncio.IncompleteReadError, TimeoutError)


@dataclass
class Load:
    """What the senders saw.

    Attributes:
        accepted: Messages that were answered AA to their own control id.
        refused: Any other answer.
        repeats: How often a message was sent again, because no answer came.
        latencies: Seconds from the sending to the answer, one for each message.
        seconds: From the first message to the last answer.
    """

    accepted: int = 0
    refused: list[bytes] = field(default_factory=list)
    repeats: int = 0
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    @property
    def p99(self) -> float:
        """In milliseconds."""
        return sorted(self.latencies)[len(self.latencies) * 99 // 100] * 1000


def send_all(port: Callable[[], int], messages: list[bytes], *, connections: int, load: Load | None = None) -> Load:
    """Send every message once, over so many connections, again and again until it is answered.

    Args:
        port: Where to connect; asked again after each break.
        load: Counted up while it runs; a new one when None.
    """
    load = load or Load()
    started = time.perf_counter()
    asyncio.run(_all(port, messages, connections, load))
    load.seconds = time.perf_counter() - started
    return load


async def _all(port: Callable[[], int], messages: list[bytes], connections: int, load: Load) -> None:
    waiting = iter(messages)
    await asyncio.gather(*(_Sender(port, load).run(waiting) for _ in range(connections)))


class _Sender:
    def __init__(self, port: Callable[[], int], load: Load) -> None:
        self._port = port
        self._load = load
        self._talk: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self, messages: Iterator[bytes]) -> None:
        for message in messages:
            while True:
                try:
                    await self._send(message)
                    break
                except _BROKEN:
                    self._load.repeats += 1
                    self._close()
                    await asyncio.sleep(_AGAIN_AFTER)
        self._close()

    async def _send(self, message: bytes) -> None:
        if self._talk is None:
            self._talk = await asyncio.open_connection("127.0.0.1", self._port())
        reader, writer = self._talk
        started = time.perf_counter()
        writer.write(b"\x0b" + message + b"\x1c\r")
        answer = await asyncio.wait_for(reader.readuntil(b"\x1c\r"), _LONGEST_ANSWER)
        self._load.latencies.append(time.perf_counter() - started)
        if b"MSA|AA|" + message.split(b"|", 10)[9] in answer:
            self._load.accepted += 1
        else:
            self._load.refused.append(answer)

    def _close(self) -> None:
        if self._talk is not None:
            self._talk[1].close()
            self._talk = None
