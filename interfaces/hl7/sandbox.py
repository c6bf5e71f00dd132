"""A receiver of results to try things with: every message is a file; and a reader for files of messages."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from interfaces.hl7.acks import build_ack
from interfaces.hl7.header import read_header
from interfaces.hl7.mllp import Frame, MllpListener
from models.errors import MessageRefused

_MESSAGE_START = re.compile(rb"(?:^|[\r\n\x0b\x1c])[ \t\x0b]{0,8}(?:\xef\xbb\xbf)?(?=MSH[^A-Za-z0-9\s])")
_BATCH_LINE = re.compile(rb"(?:FHS|BHS|BTS|FTS)(?:[^A-Za-z0-9]|$)")
_LINE_END = re.compile(rb"\r\n|\r|\n")


class SandboxReceiver:
    """An MLLP receiver with a store of its own: ``NNNN.hl7``, and ``NNNN.repeat-K.hl7`` for a repeat of MSH-10.

    Args:
        host: Address to listen on.
        port: Port; 0 takes a free one.
        folder: Where the messages are kept; what is there already counts.
    """

    def __init__(self, host: str, port: int, folder: Path) -> None:
        self._folder = folder
        self._listener = MllpListener(host, port, self)
        self._numbers: dict[str, str] = {}

    def start(self) -> int:
        """Begin to listen and return the port.

        Raises:
            SettingsError: The address cannot be listened on.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._files():
            self._numbers[_control_id(path.read_bytes()) or path.stem] = path.stem
        return self._listener.start()

    def stop(self) -> None:
        """Answer what is at hand and close."""
        self._listener.stop()

    def _files(self) -> list[Path]:
        return sorted(
            (path for path in self._folder.glob("*.hl7") if path.stem.isdigit()), key=lambda path: int(path.stem)
        )

    @property
    def received(self) -> tuple[bytes, ...]:
        """Every message, each once, in the order in which they came."""
        return tuple(path.read_bytes() for path in self._files())

    @property
    def repeats(self) -> int:
        """How many messages came again with an MSH-10 that was known."""
        return len(list(self._folder.glob("*.repeat-*.hl7")))

    # --- Receiver ---

    def receive(self, batch: Sequence[Frame]) -> list[bytes | None]:
        """Keep every message as a file, then answer it."""
        return [self._take(frame.payload) for frame in batch]

    def _take(self, payload: bytes) -> bytes:
        at = datetime.now(tz=UTC)
        try:
            control_id = read_header(payload).control_id
        except MessageRefused as refusal:
            return build_ack(payload, "AR", text=str(refusal), error_code=refusal.code, control_id="SB0", at=at)
        number = self._numbers.get(control_id) if control_id else None
        if number is None:
            number = f"{len(self._numbers) + 1:04d}"
            self._write(f"{number}.hl7", payload)
            self._numbers[control_id or number] = number
        else:
            before = len(list(self._folder.glob(f"{number}.repeat-*.hl7")))
            self._write(f"{number}.repeat-{before + 1}.hl7", payload)
        return build_ack(payload, "AA", control_id=f"SB{number}", at=at)

    def _write(self, name: str, payload: bytes) -> None:
        scratch = self._folder / f".{name}.new"
        with scratch.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self._folder / name)

    def answered(self, frame: Frame, delivered: bool) -> None:  # noqa: FBT001 - the listener's signature
        """Nothing depends on it here: a sender that missed its answer sends again."""

    def quarantine(self, payload: bytes, peer: str, why: str) -> None:
        """Keep what was no message beside the messages, after a line that says why."""
        del peer
        count = len(list(self._folder.glob("noise-*.bin"))) + 1
        self._write(f"noise-{count:04d}.bin", why.encode() + b"\n" + payload)


def _control_id(raw: bytes) -> str:
    try:
        return read_header(raw).control_id
    except MessageRefused:
        return ""


def split_messages(data: bytes) -> list[bytes]:
    """Return the messages of a file: one, several, a batch (FHS, BHS) or a recording of MLLP frames.

    Line ends become CR, as HL7 wants them (2.5.1 2.3.4), because editors and version control change them; the rest
    stays as it is, to the byte.
    """
    starts = [found.end() for found in _MESSAGE_START.finditer(data)]
    return [_tidy(data[start:end]) for start, end in pairwise([*starts, len(data)])]


def _tidy(message: bytes) -> bytes:
    lines = _LINE_END.split(message.rstrip(b"\x0b\x1c\r\n \t"))
    kept = [line for line in lines if line.strip(b"\x0b\x1c \t\xef\xbb\xbf") and not _BATCH_LINE.match(line)]
    return b"\r".join(kept) + b"\r"
