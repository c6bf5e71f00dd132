"""The written object read back: what it holds against what it says, for no DICOM tool compares the two (dicom.md 2)."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from pydicom.dataset import Dataset

from converters.part10 import CHUNK, FRAGMENTABLE, Encapsulated, StreamReader, read
from converters.payload import INPUT_OPTIONS, reason
from models.errors import VerificationFailed
from models.plan import Check
from models.study import SopClass, TransferSyntax

#: Mean PSNR that a transcode must reach, in dB.
LEAST_PSNR = 40.0

#: Containers that a video object may hold (PS3.5 8.2.7: MP4 or MPEG-2 TS; MPEG-2 streams are not bound to one).
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,mpegts,mpeg,mpegvideo"

_READ_BUFFER = 1 << 16

#: Profiles that a decoder of High can decode (H.264 A.2.4).
_UP_TO_HIGH = frozenset({"High", "Main", "Constrained Baseline", "Constrained High", "Progressive High"})


@dataclass(frozen=True)
class _Syntax:
    """What a transfer syntax allows: codec, profiles and the highest level as FFmpeg counts it."""

    codec: str
    profiles: frozenset[str]
    level: int


_H264_41 = _Syntax("h264", _UP_TO_HIGH, 41)
_H264_42 = _Syntax("h264", _UP_TO_HIGH, 42)
_STEREO = _Syntax("h264", frozenset({"Stereo High", *_UP_TO_HIGH}), 42)
_MPEG2 = _Syntax("mpeg2video", frozenset({"Main", "Simple"}), 99)
_T = TransferSyntax
_SYNTAXES = {
    _T.MPEG2_ML: _MPEG2, _T.MPEG2_ML_FRAGMENTABLE: _MPEG2, _T.MPEG2_HL: _MPEG2, _T.MPEG2_HL_FRAGMENTABLE: _MPEG2,
    _T.H264_HIGH_41: _H264_41, _T.H264_HIGH_41_FRAGMENTABLE: _H264_41,
    _T.H264_BD_41: _H264_41, _T.H264_BD_41_FRAGMENTABLE: _H264_41,
    _T.H264_HIGH_42_2D: _H264_42, _T.H264_HIGH_42_2D_FRAGMENTABLE: _H264_42,
    _T.H264_HIGH_42_3D: _H264_42, _T.H264_HIGH_42_3D_FRAGMENTABLE: _H264_42,
    _T.H264_STEREO_42: _STEREO, _T.H264_STEREO_42_FRAGMENTABLE: _STEREO,
    _T.HEVC_MAIN_51: _Syntax("hevc", frozenset({"Main"}), 153),
    _T.HEVC_MAIN10_51: _Syntax("hevc", frozenset({"Main", "Main 10"}), 153),
}  # fmt: skip

#: Type 1 attributes of all our objects: present with a value (PS3.3 A.32.5 to A.32.7, A.7).
_TYPE_1 = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "ImageType",
    "NumberOfFrames", "FrameIncrementPointer", "FrameTime", "SamplesPerPixel", "PhotometricInterpretation",
    "PlanarConfiguration", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "LossyImageCompression",
)  # fmt: skip

#: Type 2 attributes: present, if need be empty.
_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "StudyID", "SeriesNumber", "Manufacturer", "InstanceNumber", "PatientOrientation",
    "PixelRepresentation",
)  # fmt: skip

#: Further ones of the visible-light objects (C.8.12.1, C.7.6.14).
_VISIBLE_LIGHT_1 = ("AnatomicRegionSequence",)
_VISIBLE_LIGHT_2 = ("AcquisitionContextSequence",)


@dataclass(frozen=True)
class Expected:
    """What the converter knows and the file alone cannot tell.

    Attributes:
        stream_sha256: Of the payload as it was written.
        decode_all: Decode every picture (transcodes), not only the first and the last key frame.
        psnr: As the encoder measured it; None for an untouched stream.
    """

    stream_sha256: str = ""
    decode_all: bool = False
    psnr: float | None = None
    least_psnr: float = LEAST_PSNR


@dataclass(frozen=True)
class Hashes:
    """SHA-256 of the whole file and of the bit stream, hex."""

    file: str
    stream: str


def verify_object(
    path: Path, expected: Expected = Expected(), *, on_progress: Callable[[float], None] = lambda _: None
) -> tuple[Check, ...]:
    """Read a video object back and check it; nothing is copied out of it.

    Args:
        path: A Part 10 file.
        expected: What is known beside the file; the default checks the file against itself.
        on_progress: Told the part that is done, 0 to 1.

    Returns:
        Every check with its figure, also those that failed: ``require`` turns them into an error.

    Raises:
        VerificationFailed: The file cannot be read as a DICOM video at all.
    """
    return inspect(path, expected, on_progress=on_progress)[0]


def inspect(
    path: Path, expected: Expected = Expected(), *, on_progress: Callable[[float], None] = lambda _: None
) -> tuple[tuple[Check, ...], Hashes]:
    """As ``verify_object``, with the hashes that were computed on the way."""
    found = read(path)
    hashes = hash_object(path, found, on_progress)
    checks = [
        *_structure(found),
        _attributes(found.dataset),
        _stream_hash(hashes.stream, expected.stream_sha256),
        *_stream(path, found, expected),
    ]
    if expected.psnr is not None:
        figure = f"{expected.psnr:.2f} dB, at least {expected.least_psnr:.0f} dB"
        checks.append(Check(name="quality", passed=expected.psnr >= expected.least_psnr, figure=figure))
    on_progress(1.0)
    return tuple(checks), hashes


def require(checks: tuple[Check, ...]) -> None:
    """Raise on the checks that failed.

    Raises:
        VerificationFailed: Names each with its figure.
    """
    if failed := [check for check in checks if not check.passed]:
        words = "; ".join(f"{check.name}: {check.figure}" for check in failed)
        raise VerificationFailed("verify", f"the written object is not what was planned ({words}): it is not sent")


def hash_object(path: Path, found: Encapsulated, on_progress: Callable[[float], None]) -> Hashes:
    """Hash the file and the bit stream within it in one pass."""
    whole, stream = hashlib.sha256(), hashlib.sha256()
    size, at = path.stat().st_size, 0
    with path.open("rb", buffering=0) as file:
        for span in (*found.spans, None):
            gap = (span.offset if span else size) - at
            at += _feed(file, gap, (whole,))
            if span:
                at += _feed(file, span.length, (whole, stream), partial(_part, on_progress, at, size))
    return Hashes(whole.hexdigest(), stream.hexdigest())


def _part(on_progress: Callable[[float], None], before: int, size: int, done: int) -> None:
    on_progress((before + done) / size)


def _feed(
    file: io.FileIO, length: int, digests: tuple[hashlib._Hash, ...], on_bytes: Callable[[int], None] = lambda _: None
) -> int:
    """Feed ``length`` bytes to the digests and return how many there were."""
    done = 0
    while done < length and (chunk := file.read(min(CHUNK, length - done))):
        for digest in digests:
            digest.update(chunk)
        done += len(chunk)
        on_bytes(done)
    return done


def _structure(found: Encapsulated) -> Iterator[Check]:
    """Check the shape of the encapsulation (PS3.5 A.4, 8.2)."""
    syntax = str(found.dataset.file_meta.TransferSyntaxUID)
    single = len(found.spans) == 1 or syntax in FRAGMENTABLE
    yield Check(name="fragments", passed=single, figure=f"{len(found.spans)} under {syntax}")
    yield Check(
        name="offset table", passed=found.offset_table == 0, figure=f"{found.offset_table} bytes, empty for video"
    )
    padded = len(found.padding) <= 1 and not found.padding.strip(b"\0")
    yield Check(
        name="stream length", passed=padded, figure=f"{found.length:,} bytes and {len(found.padding)} of padding"
    )


def _attributes(dataset: Dataset) -> Check:
    """Check that the Type 1 and Type 2 attributes are there."""
    light = dataset.get("SOPClassUID") != SopClass.US_MULTI_FRAME
    needed = _TYPE_1 + (_VISIBLE_LIGHT_1 if light else ())
    present = _TYPE_2 + (_VISIBLE_LIGHT_2 if light else ())
    missing = [name for name in needed if name not in dataset or dataset[name].is_empty]
    missing += [name for name in present if name not in dataset]
    figure = f"missing {', '.join(missing)}" if missing else f"{len(needed) + len(present)} present"
    return Check(name="required attributes", passed=not missing, figure=figure)


def _stream_hash(found: str, expected: str) -> Check:
    figure = f"SHA-256 {found}" if not expected or found == expected else f"SHA-256 {found}, expected {expected}"
    return Check(name="bit stream", passed=not expected or found == expected, figure=figure)


@contextmanager
def _opened(path: Path, found: Encapsulated) -> Iterator[InputContainer]:
    """Open the bit stream inside the object."""
    reader = StreamReader(path, found.spans)
    try:
        options = {"format_whitelist": _CONTAINERS, "max_pixels": INPUT_OPTIONS["max_pixels"]}
        with av.open(reader, mode="r", options=options, buffer_size=_READ_BUFFER) as container:
            yield container
    finally:
        reader.close()


def _stream(path: Path, found: Encapsulated, expected: Expected) -> list[Check]:
    """Check the stream against the attributes and the transfer syntax."""
    dataset = found.dataset
    try:
        with _opened(path, found) as container:
            if not container.streams.video:
                return [Check(name="codec", passed=False, figure="there is no video in the bit stream")]
            video = container.streams.video[0]
            checks = [
                _codec(video, dataset),
                _size(video, dataset),
                _rate(video, dataset),
                _sound(container, dataset),
            ]
        checks.append(_frames(path, found, every=expected.decode_all or _in_fields(dataset)))
    except MemoryError:
        raise  # the limit of the child process, not the recording
    except (av.FFmpegError, UnicodeDecodeError) as error:
        return [Check(name="codec", passed=False, figure=f"the bit stream cannot be opened: {reason(error)}")]
    return checks


def _in_fields(dataset: Dataset) -> bool:
    """Tell whether only decoding counts the pictures: MPEG-2 ones may be coded as two fields."""
    return _syntax(dataset) is _MPEG2


def _syntax(dataset: Dataset) -> _Syntax | None:
    uid = str(dataset.file_meta.TransferSyntaxUID)
    return _SYNTAXES[TransferSyntax(uid)] if uid in set(TransferSyntax) else None


def _codec(video: VideoStream, dataset: Dataset) -> Check:
    """Check codec, profile and level against the transfer syntax (PS3.5 8.2.5 to 8.2.11)."""
    context = video.codec_context
    found = f"{context.name} {context.profile or 'without profile'} level {context.level or 0}"
    uid, syntax = dataset.file_meta.TransferSyntaxUID, _syntax(dataset)
    if syntax is None:
        return Check(name="codec", passed=False, figure=f"{uid} is no video transfer syntax")
    fits = context.name == syntax.codec and context.profile in syntax.profiles and (context.level or 0) <= syntax.level
    return Check(name="codec", passed=fits, figure=f"{found} under {uid}")


def _size(video: VideoStream, dataset: Dataset) -> Check:
    context = video.codec_context
    said = (int(dataset.get("Columns") or 0), int(dataset.get("Rows") or 0))
    found = (context.width, context.height)
    return Check(
        name="rows and columns", passed=said == found,
        figure=f"{found[0]}x{found[1]} in the stream, {said[0]}x{said[1]} in the attributes",
    )  # fmt: skip


def _rate(video: VideoStream, dataset: Dataset) -> Check:
    """Compare the mean rate with Frame Time, within one percent; one or two pictures have no rate to measure."""
    frame_time = float(dataset.get("FrameTime") or 0)
    rates = [float(rate) for rate in (video.average_rate, video.base_rate) if rate]
    said = 1000 / frame_time if frame_time else 0.0
    short = int(dataset.get("NumberOfFrames") or 0) <= 2  # noqa: PLR2004 - no rate without three pictures
    close = any(abs(rate - said) <= said / 100 for rate in rates)
    found = f"{rates[0]:.3f}/s" if rates else "no rate"
    return Check(name="frame rate", passed=short or close, figure=f"{found} in the stream, {said:.3f}/s in Frame Time")


def _sound(container: InputContainer, dataset: Dataset) -> Check:
    """Check that sound is described if, and only if, it is there (C.7.6.5.1.3)."""
    described = len(dataset.get("MultiplexedAudioChannelsDescriptionCodeSequence") or [])
    found = [f"{stream.codec_context.name} {stream.codec_context.sample_rate} Hz" for stream in container.streams.audio]
    return Check(
        name="sound", passed=bool(found) == bool(described),
        figure=f"{', '.join(found) or 'none'} in the stream, {described} described",
    )  # fmt: skip


def _frames(path: Path, found: Encapsulated, *, every: bool) -> Check:
    """Count the pictures, by decoding all or by the index with a look at the first and the last key frame."""
    said = int(found.dataset.get("NumberOfFrames") or 0)
    try:
        if every:
            with _opened(path, found) as container:
                count, how = _decode_all(container), "decoded"
        else:
            with _opened(path, found) as container:
                count, how = _count(container, found.length), "in the stream, first and last key frame decoded"
            with _opened(path, found) as container:
                _decode_ends(container)
    except MemoryError:
        raise  # the limit of the child process, not the recording
    except (av.FFmpegError, VerificationFailed) as error:
        return Check(name="number of frames", passed=False, figure=f"a picture cannot be decoded: {reason(error)}")
    return Check(name="number of frames", passed=count == said, figure=f"{count} {how}, {said} in the attributes")


def _decode_all(container: InputContainer) -> int:
    video = container.streams.video[0]
    video.thread_type = "AUTO"
    video.thread_count = 4
    return sum(1 for frame in container.decode(video) if _whole(frame))


def _count(container: InputContainer, length: int) -> int:
    """Return the number of pictures that are shown: from the index when it is whole, else by reading every packet.

    The bytes are proven by their hash, so reading them again just to count would prove nothing more.
    """
    video = container.streams.video[0]
    entries = video.index_entries
    if video.frames and len(entries) == video.frames:
        shown = [entry for entry in entries if not entry.is_discard]
        return sum(1 for entry in shown if entry.pos + entry.size <= length)
    return sum(1 for packet in container.demux(video) if packet.size and not packet.is_discard)


def _decode_ends(container: InputContainer) -> None:
    """Decode the first and the last key frame.

    Raises:
        VerificationFailed: One of them gives no picture.
    """
    video = container.streams.video[0]
    if not _whole(next(container.decode(video), None)):
        raise VerificationFailed("verify", "the first key frame gives no whole picture")
    if video.duration:
        container.seek((video.start_time or 0) + video.duration, stream=video)
        if not _whole(next(container.decode(video), None)):
            raise VerificationFailed("verify", "the last key frame gives no whole picture")


def _whole(frame: VideoFrame | None) -> bool:
    """Tell whether a picture came out, and without parts that the decoder had to invent."""
    return frame is not None and not frame.is_corrupt
