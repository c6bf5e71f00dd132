"""The MLLP door: frames in, answers out, and nothing answered before the receiver has taken it.

One asyncio loop in a daemon thread reads all connections; one writer thread hands whatever is waiting to the receiver
in one batch (group commit) and gives back its answers in order. All state below belongs to the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from interfaces.hl7.connection import Connection, Limits, Waiting
from models.errors import DeliveryFailed, SettingsError

log = logging.getLogger("cinelink." + __name__)

#: Messages in one batch; more only makes a commit longer.
MOST_IN_BATCH = 256

#: How much may wait for the receiver before we stop reading from the senders.
MOST_WAITING = 1024
MOST_WAITING_BYTES = 64 * 1024 * 1024

#: How long ``stop`` lets the messages at hand be answered.
_GRACE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One received message: its bytes without VT and FS, and the address that it came from (``host:port``)."""

    payload: bytes
    peer: str


class Receiver(Protocol):
    """Who takes the messages. Every call comes from one writer thread, never two at a time."""

    def receive(self, batch: Sequence[Frame]) -> Sequence[bytes | None]:
        """Keep a batch (at most 256 frames) and return one answer each, in order, after the commit.

        None closes that frame's connection without an answer. An exception closes those of the whole batch: trouble
        of ours must not be answered, because a NAK is not sent again while silence is (Mirth, OIE). After an error
        other than DeliveryFailed and OSError, which pass by themselves, the frames are tried one by one, so that a
        message that breaks the receiver does not stop its neighbours.
        """

    def answered(self, frame: Frame, delivered: bool) -> None:  # noqa: FBT001 - one word for each frame
        """Hear what became of an answer: True when the operating system took it, False when the sender was gone."""

    def quarantine(self, payload: bytes, peer: str, why: str) -> None:
        """Take bytes that never became a message (at most the greatest message); they are not answered as taken."""


class MllpListener:
    """Listens for HL7 messages.

    Args:
        host: Address to listen on.
        port: Port; 0 takes a free one.
        receiver: Takes the messages.
        max_bytes: The greatest message; a greater one is answered AR and quarantined.
        idle_seconds: How long a connection may be silent within an unfinished message. A connection that waits between
            messages is left alone: senders keep theirs open for days, and keep-alive finds the dead ones.
        max_connections: More than these are refused.
    """

    def __init__(
        self,
        host: str,
        port: int,
        receiver: Receiver,
        *,
        max_bytes: int = 16 * 1024 * 1024,
        idle_seconds: float = 60.0,
        max_connections: int = 1000,
    ) -> None:
        self._address = (host, port)
        self._receiver = receiver
        self._limits = Limits(max_bytes, idle_seconds, max_connections)
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mllp-writer")
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._work = asyncio.Event()
        self._quiet = asyncio.Event()
        self._held: set[Connection] = set()
        self._waiting: deque[Waiting] = deque()
        self._waiting_bytes = 0
        self._connections: set[Connection] = set()

    # --- life: called from the owner's thread ---

    def start(self) -> int:
        """Open the door and return its port.

        Raises:
            SettingsError: The address cannot be listened on.
        """
        host, port = self._address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listening = socket.create_server((host, port), family=family, backlog=512)
        except OSError as error:
            raise SettingsError(
                f"the HL7 door cannot open {host}:{port} ({error.strerror or error}): free the port or change hl7.port"
            ) from error
        port = int(listening.getsockname()[1])
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(loop, listening), name="mllp", daemon=True)
        self._thread.start()
        return port

    def stop(self) -> None:
        """Take nothing more, answer what is at hand, and close the door."""
        if self._loop is None or self._thread is None or not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._writer.shutdown()

    def _run(self, loop: asyncio.AbstractEventLoop, listening: socket.socket) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._serve(loop, listening))

    async def _serve(self, loop: asyncio.AbstractEventLoop, listening: socket.socket) -> None:
        server = await loop.create_server(lambda: Connection(self, self._limits), sock=listening)
        tasks = [loop.create_task(self._pump()), loop.create_task(self._sweep(loop))]
        await self._stopping.wait()
        server.close()
        for connection in tuple(self._connections):
            connection.hear_no_more()
        self._work.set()
        await asyncio.wait(tasks[:1], timeout=_GRACE_SECONDS)
        await self._close_all()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _close_all(self) -> None:
        """Close every connection after its last answer has gone, and cut off those that do not read it."""
        for connection in tuple(self._connections):
            connection.close()
        for end in (_GRACE_SECONDS, 1.0):
            if self._connections:
                self._quiet.clear()
                await asyncio.wait([asyncio.ensure_future(self._quiet.wait())], timeout=end)
            for connection in tuple(self._connections):
                connection.cut()

    async def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            await asyncio.sleep(min(1.0, self._limits.idle_seconds / 4))
            now = loop.time()
            for connection in tuple(self._connections):
                connection.check_idle(now)

    # --- what connections report: on the loop's thread ---

    def opened(self, connection: Connection) -> bool:
        """Count a connection in; False when there are too many, or the door is closing."""
        if len(self._connections) >= self._limits.max_connections or self._stopping.is_set():
            log.warning("connection refused", extra={"action": "hl7.too_many_connections"})
            return False
        self._connections.add(connection)
        return True

    def closed(self, connection: Connection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        self._held.discard(connection)
        if not self._connections:
            self._quiet.set()

    def enqueue(self, waiting: Waiting) -> None:
        """Take a message, or a refusal that has to keep its place among the answers."""
        self._waiting.append(waiting)
        self._waiting_bytes += len(waiting.payload)
        self._work.set()

    def hold(self, connection: Connection) -> None:
        """Let a sender wait while too much waits for the receiver."""
        if self._full:
            self._held.add(connection)
            connection.pause()

    @property
    def _full(self) -> bool:
        return len(self._waiting) >= MOST_WAITING or self._waiting_bytes >= MOST_WAITING_BYTES

    def report(self, frame: Frame, *, delivered: bool) -> None:
        """Pass on what became of an answer."""
        self._in_writer(self._receiver.answered, frame, delivered)

    def quarantine(self, data: bytes, peer: str, why: str) -> None:
        """Pass on bytes that are no message."""
        log.warning("bytes quarantined: %s", why, extra={"action": "hl7.quarantined", "peer": peer})
        self._in_writer(self._receiver.quarantine, data[: self._limits.max_bytes], peer, why)

    def _in_writer(self, call: Callable[..., None], *arguments: object) -> None:
        future: Future[None] = self._writer.submit(call, *arguments)
        future.add_done_callback(lambda done: _log_failure(done.exception()))

    # --- the pump ---

    async def _pump(self) -> None:
        """Hand over what is waiting, batch by batch, until the door is closed and nothing waits."""
        while self._waiting or not self._stopping.is_set():
            if not self._waiting:
                self._work.clear()
                await self._work.wait()
                continue
            batch = [self._waiting.popleft() for _ in range(min(MOST_IN_BATCH, len(self._waiting)))]
            self._waiting_bytes -= sum(len(item.payload) for item in batch)
            await self._hand_over(batch)
            if self._held and not self._full:
                held, self._held = self._held, set()
                for connection in held:
                    connection.hear_again()

    async def _hand_over(self, batch: list[Waiting]) -> None:
        frames = [Frame(item.payload, item.connection.peer) for item in batch]
        taken = [frame for item, frame in zip(batch, frames, strict=True) if item.refusal is None]
        answers = iter(await self._receive(taken) if taken else ())
        for item, frame in zip(batch, frames, strict=True):
            if item.refusal is None:
                item.connection.answer(next(answers), frame)
            else:
                item.connection.answer(item.refusal, None)

    async def _receive(self, frames: list[Frame]) -> Sequence[bytes | None]:
        answers, trouble = await self._try(frames)
        if answers is not None:
            return answers
        if isinstance(trouble, (DeliveryFailed, OSError)) or len(frames) == 1:
            return [None] * len(frames)
        return await self._one_by_one(frames)

    async def _one_by_one(self, frames: list[Frame]) -> list[bytes | None]:
        """Find the message that breaks the receiver; two failures in a row are no message's fault."""
        found: list[bytes | None] = []
        failed_before = False
        for frame in frames:
            answers, _ = await self._try([frame])
            found.append(answers[0] if answers else None)
            if answers is None and failed_before:
                break
            failed_before = answers is None
        return found + [None] * (len(frames) - len(found))

    async def _try(self, frames: list[Frame]) -> tuple[Sequence[bytes | None] | None, BaseException | None]:
        """Call the receiver; whatever goes wrong in there is trouble of ours, and no reason to stop listening."""
        call = asyncio.get_running_loop().run_in_executor(self._writer, self._receiver.receive, frames)
        (result,) = await asyncio.gather(call, return_exceptions=True)
        if isinstance(result, BaseException):
            _log_failure(result)
            return None, result
        if len(result) != len(frames):
            log.error("%d answers for %d messages", len(result), len(frames), extra={"action": "hl7.receiver_failed"})
            return None, None
        return result, None


def _log_failure(error: BaseException | None) -> None:
    """Log what kind of error it was, never its text: that may quote a message."""
    if error is not None:
        log.error("the receiver failed: %s", type(error).__name__, extra={"action": "hl7.receiver_failed"})
