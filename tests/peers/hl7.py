"""A foreign MLLP sender and receiver: python-hl7, in threads of their own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import hl7
from hl7.client import MLLPClient
from hl7.mllp import start_hl7_server


class ForeignReceiver:
    """An EHR made of python-hl7: it parses what it gets and answers AA."""

    def __init__(self) -> None:
        self.port = 0
        self.received: list[bytes] = []
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._up.wait(20), "python-hl7's server did not start"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(start_hl7_server(self._serve, host="127.0.0.1", port=self.port))
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(server.wait_closed())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _serve(self, reader, writer) -> None:
        try:
            while not writer.is_closing():
                message = await reader.readmessage()
                self.received.append(str(message).encode())
                writer.writemessage(message.create_ack())
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)


@contextlib.contextmanager
def foreign_receiver(folder: Path) -> Iterator[ForeignReceiver]:
    """Run a receiver until the block ends."""
    del folder
    receiver = ForeignReceiver()
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


def foreign_send(port: int, messages: list[bytes]) -> list[bytes]:
    """Send messages with python-hl7's own client; return the answers."""
    with MLLPClient("127.0.0.1", port) as client:
        return [client.send_message(hl7.parse(message.decode())).strip(b"\x0b\x1c\r") for message in messages]
