"""The Part 10 file around a bit stream, written and read in chunks: 20 GB need no more memory than 20 MB.

The stream lies in one item of encapsulated Pixel Data after an empty Basic Offset Table (PS3.5 A.4, 8.2.5 to 8.2.11).
Only a transfer syntax that allows fragments continues a longer stream in further items.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filewriter import dcmwrite

from models.errors import ConversionFailed, VerificationFailed
from models.study import TransferSyntax

#: Bytes that are read and written at a time.
CHUNK = 1 << 20

#: The longest item that a 32-bit even length can name (PS3.5 7.5).
MAX_ITEM = 0xFFFFFFFE

#: Transfer syntaxes whose stream may lie in several items (PS3.5 A.4.4 to A.4.11, Supplement 225).
FRAGMENTABLE = frozenset(
    {
        TransferSyntax.MPEG2_ML_FRAGMENTABLE,
        TransferSyntax.MPEG2_HL_FRAGMENTABLE,
        TransferSyntax.H264_HIGH_41_FRAGMENTABLE,
        TransferSyntax.H264_BD_41_FRAGMENTABLE,
        TransferSyntax.H264_HIGH_42_2D_FRAGMENTABLE,
        TransferSyntax.H264_HIGH_42_3D_FRAGMENTABLE,
        TransferSyntax.H264_STEREO_42_FRAGMENTABLE,
        TransferSyntax.HEVC_MAIN_51,
        TransferSyntax.HEVC_MAIN10_51,
    }
)

#: Pixel Data (7FE0,0010) OB of undefined length up to the first fragment, with an empty Basic Offset Table.
_PIXEL_DATA = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0)
_DELIMITER = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
_ITEM = struct.Struct("<HHI")


@dataclass(frozen=True)
class Span:
    """A piece of the bit stream: where it lies in the file and how long it is, in bytes."""

    offset: int
    length: int


@dataclass(frozen=True)
class Encapsulated:
    """A Part 10 file that was read: its attributes without the pixel data, and where the bit stream lies.

    Attributes:
        dataset: With ``file_meta``; (7FE0,0010) is left out.
        spans: The fragments in order, cut at ``length``.
        length: Bytes of the bit stream without padding, by (7FE0,0003) when present.
        padding: The bytes that follow it in the last item.
        offset_table: Bytes of the Basic Offset Table; 0 is right for video.
    """

    dataset: Dataset
    spans: tuple[Span, ...]
    length: int
    padding: bytes
    offset_table: int


def item_lengths(size: int, transfer_syntax: str, *, largest: int = MAX_ITEM) -> tuple[int, ...]:
    """Return how many bytes of the stream go into each item (PS3.5 8.2.5 to 8.2.11).

    Raises:
        ConversionFailed: The stream is longer than an item, and the transfer syntax knows only one.
    """
    if size > largest and transfer_syntax not in FRAGMENTABLE:
        raise ConversionFailed(
            "encapsulate",
            f"the stream has {size:,} bytes, but transfer syntax {transfer_syntax} holds at most {largest:,}: "
            "cut the recording into parts below 4 GiB, or route it to a destination that takes fragments or HEVC",
        )
    full, rest = divmod(size, largest)
    return (largest,) * full + ((rest,) if rest else ())


def write(
    path: Path, dataset: Dataset, chunks: Iterable[bytes], size: int, on_bytes: Callable[[int], None] = lambda _: None
) -> None:
    """Write the Part 10 file and sync it to the disk.

    Args:
        path: A new file.
        dataset: All attributes with ``file_meta``, without Pixel Data.
        chunks: The bit stream.
        size: Bytes of the bit stream; the chunks must give exactly as many.
        on_bytes: Told after each chunk how many bytes of the stream are written.

    Raises:
        ConversionFailed: The stream is too long for one item, or the chunks do not give ``size`` bytes.
        OSError: The file cannot be written.
    """
    lengths = item_lengths(size, str(dataset.file_meta.TransferSyntaxUID))
    header = io.BytesIO()
    dcmwrite(header, dataset, enforce_file_format=True)
    with path.open("xb", buffering=0) as file:
        _write_all(file, header.getbuffer())
        _write_all(file, _PIXEL_DATA)
        _write_items(file, chunks, lengths, on_bytes)
        _write_all(file, _DELIMITER)
        os.fsync(file.fileno())


def _write_items(
    file: io.RawIOBase, chunks: Iterable[bytes], lengths: tuple[int, ...], on_bytes: Callable[[int], None]
) -> None:
    """Write the items: each header as its turn comes, then as much of the stream as it holds."""
    waiting = list(lengths)
    room = done = 0
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            if not room:
                if not waiting:
                    raise _changed(sum(lengths))
                room = waiting.pop(0)
                _write_all(file, _ITEM.pack(0xFFFE, 0xE000, room + room % 2))
            piece = rest[:room]
            _write_all(file, piece)
            room -= len(piece)
            rest = rest[len(piece) :]
        done += len(chunk)
        on_bytes(done)
    if room or waiting:
        raise _changed(sum(lengths))
    if lengths[-1] % 2:
        _write_all(file, b"\0")


def _changed(size: int) -> ConversionFailed:
    return ConversionFailed(
        "source", f"the file no longer has {size:,} bytes: it changed while it was read; send it again when complete"
    )


def _write_all(file: io.RawIOBase, data: bytes | memoryview) -> None:
    """Write all of the data: an unbuffered write may take less than it is given."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that a new or renamed file in it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path) -> Encapsulated:
    """Read the attributes of a Part 10 file and find its bit stream, without reading the stream.

    Raises:
        VerificationFailed: It is no Part 10 file with encapsulated pixel data, or it is cut short.
    """
    try:
        with path.open("rb") as file:
            dataset = dcmread(file, stop_before_pixels=True)
            table, items = _items(file)
            return _encapsulated(file, dataset, table, items)
    except InvalidDicomError as error:
        raise VerificationFailed(
            "verify", f"{path.name} is no DICOM Part 10 file: name an object that Cinelink or a PACS wrote"
        ) from error
    except (OSError, struct.error, EOFError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise VerificationFailed("verify", f"{path.name} cannot be read as encapsulated DICOM: {why}") from error


def _items(file: BinaryIO) -> tuple[int, list[Span]]:
    """Return the length of the offset table and the fragments; the file stands at (7FE0,0010)."""
    group, element, representation, _, length = struct.unpack("<HH2sHI", file.read(12))
    if (group, element, representation, length) != (0x7FE0, 0x0010, b"OB", 0xFFFFFFFF):
        raise ValueError("there is no encapsulated Pixel Data (7FE0,0010) OB of undefined length")
    end = os.fstat(file.fileno()).st_size
    spans: list[Span] = []
    while True:
        group, element, length = _ITEM.unpack(file.read(_ITEM.size))
        if (group, element) == (0xFFFE, 0xE0DD):
            break
        if (group, element) != (0xFFFE, 0xE000) or file.tell() + length > end:
            raise ValueError("the items of Pixel Data are broken or the file is cut short")
        spans.append(Span(file.tell(), length))
        file.seek(length, os.SEEK_CUR)
    if len(spans) < 2:  # noqa: PLR2004 - the offset table and one fragment
        raise ValueError("Pixel Data holds no bit stream")
    return spans[0].length, spans[1:]


def _encapsulated(file: BinaryIO, dataset: Dataset, table: int, items: list[Span]) -> Encapsulated:
    """Cut the fragments at the length that (7FE0,0003) gives, so that padding is not taken for stream."""
    stored = sum(item.length for item in items)
    length = int(dataset.get("EncapsulatedPixelDataValueTotalLength", stored))
    last = items[-1]
    pad = stored - length
    if not 0 <= pad <= last.length:
        raise ValueError(f"(7FE0,0003) says {length:,} bytes, but the items hold {stored:,}")
    file.seek(last.offset + last.length - pad)
    padding = file.read(min(pad, 16))
    spans = (*items[:-1], Span(last.offset, last.length - pad))
    return Encapsulated(dataset, spans, length, padding, table)


class StreamReader(io.RawIOBase):
    """The bit stream of a Part 10 file as a readable, seekable file: nothing is copied out."""

    def __init__(self, path: Path, spans: tuple[Span, ...]) -> None:
        super().__init__()
        self._file = path.open("rb", buffering=0)
        self._spans = spans
        self._size = sum(span.length for span in spans)
        self._at = 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be positioned."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a byte of the stream and return its number."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Return the number of the next byte."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes, never beyond the end of the stream; fewer only there."""
        wanted = self._size - self._at if size < 0 else min(size, self._size - self._at)
        pieces: list[bytes] = []
        while wanted > 0:
            offset, room = self._place()
            self._file.seek(offset)
            piece = self._file.read(min(wanted, room)) or b""
            if not piece:
                break
            pieces.append(piece)
            self._at += len(piece)
            wanted -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _place(self) -> tuple[int, int]:
        """Return where the next byte lies in the file and how many follow it in its item."""
        before = 0
        for span in self._spans:
            if self._at < before + span.length:
                inside = self._at - before
                return span.offset + inside, span.length - inside
            before += span.length
        return 0, 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
