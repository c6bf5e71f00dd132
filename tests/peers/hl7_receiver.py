"""A python-hl7 receiver that closes every connection before it ends: warnings about leaks are errors in our tests."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from hl7.mllp import start_hl7_server


class ForeignReceiver:
    """A python-hl7 server in a thread; ``received`` are the messages that it parsed and answered, oldest first."""

    def __init__(self) -> None:
        self.port = 0
        self.received: list[bytes] = []
        self._opened = threading.Event()
        self._ended = asyncio.Event()
        self._talks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="foreign-hl7", daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._opened.wait(20), "python-hl7's server did not start"

    def stop(self) -> None:
        assert self._loop
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await start_hl7_server(self._talk, "127.0.0.1", 0, encoding="utf-8", limit=16 * 1024 * 1024)
        self.port = server.sockets[0].getsockname()[1]
        self._opened.set()
        await self._ended.wait()
        server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _talk(self, reader: Any, writer: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    message = await reader.readmessage()
                    self.received.append(str(message).encode())
                    writer.writemessage(message.create_ack())
                    await writer.drain()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@contextlib.contextmanager
def quiet_receiver() -> Iterator[ForeignReceiver]:
    """Run a receiver on a free loopback port until the block ends."""
    receiver = ForeignReceiver()
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()
