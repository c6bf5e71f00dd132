"""Encoding again, for what no DICOM reader takes as it is: H.264 High 4:2:0 8 bit in MP4 (PS3.5 8.2.7, 8.2.9).

Every source picture keeps a slot of its own. The result has a constant rate, square pixels, its rotation baked in and
no interlacing; every picture is decoded, and what cannot be decoded fails the conversion instead of being hidden.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.codec.context import Flags
from av.container import InputContainer, OutputContainer
from av.filter import Graph
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from converters.look import Look, build_graph
from converters.payload import INPUT_OPTIONS, TEXT_OPTIONS, exact, media_name, reason
from converters.remux import OUTPUT_OPTIONS
from converters.sound import CopiedSound, EncodedSound, sound_track
from models.errors import ConversionFailed
from models.plan import ConversionPlan
from models.recording import StreamFacts
from models.study import TransferSyntax

#: Quality of the first try and of the second, when the first is below the threshold (video.md 3: 20 gives >= 42 dB).
CRF = 20
CRF_AGAIN = 14

#: Encoder threads, the same on every machine: their number changes the bytes.
_THREADS = 8

#: Bits a second that High allows at level 4.1 and 4.2 (H.264 table A-1, times 1.25).
PEAK = 62_500_000

#: A longer gap between two pictures is a fault of the recorder's clock, not a pause to be shown.
_LONGEST_GAP = 10

#: Level -> macroblocks in a picture and in a second (H.264 table A-1).
_LEVELS = {"4.1": (8192, 245_760), "4.2": (8704, 522_240)}
_ALLOWED = {
    TransferSyntax.H264_HIGH_41: ("4.1",),
    TransferSyntax.H264_HIGH_41_FRAGMENTABLE: ("4.1",),
    TransferSyntax.H264_HIGH_42_2D: ("4.1", "4.2"),
    TransferSyntax.H264_HIGH_42_2D_FRAGMENTABLE: ("4.1", "4.2"),
}

#: Macroblock-tree rate control reads beyond its rows (seen with libx264 core 165), so that the bytes would depend on
#: what was in memory before; without it equal input gives equal bytes, 10 to 30 % more of them.
REPEATABLE = {"x264-params": "mbtree=0"}

_CAP = {"maxrate": str(PEAK), "bufsize": str(PEAK)}


@dataclass(frozen=True)
class Encoded:
    """What was encoded.

    Attributes:
        frames: Pictures.
        psnr: Mean of all their samples against the encoder's input, in dB.
        peak: The most bits in any one second.
    """

    frames: int
    psnr: float
    peak: int


def transcode(
    source: Path,
    output: Path,
    facts: StreamFacts,
    plan: ConversionPlan,
    *,
    crf: int = CRF,
    capped: bool = False,
    on_progress: Callable[[float], None] = lambda _: None,
) -> Encoded:
    """Decode the whole recording and encode it as planned.

    Args:
        source: The recording.
        output: A new MP4 file.
        facts: What probing found: rotation, interlacing, aspect, rate.
        plan: Size in pixels, rate, transfer syntax and what happens to the sound.
        crf: x264 quality, lower is better.
        capped: Keep below ``PEAK``. Only where it is needed, for a cap makes the bytes depend on the threads' luck.
        on_progress: Told the part that is done, 0 to 1.

    Raises:
        ConversionFailed: A picture cannot be decoded, pictures are missing, or the plan exceeds its transfer syntax.
    """
    level = choose_level(plan)
    try:
        with (
            av.open(media_name(source), options=INPUT_OPTIONS, **TEXT_OPTIONS) as old,
            av.open(media_name(output), "w", format="mp4", options=OUTPUT_OPTIONS) as new,
        ):
            x264 = {"crf": str(crf), "level": level, **(_CAP if capped else {})}
            pictures = _Pictures(old.streams.video[0], new, facts, plan, x264)
            return _run(old, pictures, sound_track(old, new, plan.audio), facts, on_progress)
    except MemoryError:
        raise  # the limit of the child process, not the recording
    except av.ExternalError as error:
        raise ConversionFailed("transcode", "the encoder could not start: give conversions more memory") from error
    except (av.FFmpegError, UnicodeDecodeError, ValueError) as error:
        raise ConversionFailed("transcode", f"the recording cannot be re-encoded: {reason(error)}") from error


def choose_level(plan: ConversionPlan) -> str:
    """Return the lowest H.264 level of the transfer syntax that holds the planned size and rate.

    Raises:
        ConversionFailed: There is none.
    """
    blocks = math.ceil(plan.width / 16) * math.ceil(plan.height / 16)
    for level in _ALLOWED.get(TransferSyntax(plan.transfer_syntax), ()):
        most, each_second = _LEVELS[level]
        if blocks <= most and blocks * Fraction(plan.fps) <= each_second:
            return level
    raise ConversionFailed(
        "transcode",
        f"{plan.width}x{plan.height} at {plan.fps} frames/s cannot be encoded under {plan.transfer_syntax}: "
        "plan a smaller size or rate",
    )


def _run(
    old: InputContainer,
    pictures: _Pictures,
    sound: CopiedSound | EncodedSound | None,
    facts: StreamFacts,
    on_progress: Callable[[float], None],
) -> Encoded:
    """Lead every packet to its track and return what came out."""
    streams: list[Stream] = [pictures.stream, *([sound.stream] if sound else [])]
    early: list[Packet[Stream]] = []  # sound that comes before the first picture: the file needs both tracks to begin
    for packet in old.demux(streams):
        if sound and packet.stream is sound.stream:  # the flush packets at the end carry no index
            early.append(packet)
        else:
            pictures.feed(packet)
        while sound and early and pictures.begun:
            sound.feed(early.pop(0))
        if facts.frames:
            on_progress(min(1.0, pictures.decoded / facts.frames))
    pictures.finish()
    if sound:
        sound.finish()
    if not pictures.decoded or pictures.decoded < facts.frames:
        raise ConversionFailed(
            "transcode",
            f"only {pictures.decoded} of {facts.frames} pictures can be decoded: send the recording again",
        )
    return Encoded(pictures.slots.count, pictures.quality.psnr, pictures.quality.peak)


class Slots:
    """Gives each picture a place of its own in a constant rate: the n-th the n-th, or by its time where that varies."""

    def __init__(self, rate: Fraction, *, timed: bool) -> None:
        self._rate = rate
        self._timed = timed
        self._origin: Fraction | None = None
        self._before = Fraction(0)
        self.count = 0

    def place(self, time: Fraction | None) -> int:
        """Return the slot of the next picture; slots that are left free repeat the picture before.

        Args:
            time: When it is shown, in seconds; None when unknown.
        """
        slot = self.count
        if self._timed and time is not None:
            if self._origin is None or not 0 <= time - self._before <= _LONGEST_GAP:
                self._origin = time - slot / self._rate
            slot = max(slot, round((time - self._origin) * self._rate))
            self._before = time
        self.count = slot + 1
        return slot


class _Quality:
    """Sums what the encoder reports with each picture: squared errors (``quality_stats`` side data) and size."""

    def __init__(self, width: int, height: int, rate: Fraction) -> None:
        self._samples = width * height * 3 // 2
        self._second: deque[int] = deque(maxlen=max(1, math.ceil(rate)))
        self.peak = 0
        self._errors = 0
        self._pictures = 0

    def add(self, packet: Packet[Stream]) -> None:
        """Add one coded picture: quality u32, type u8, planes u8, u16, then a u64 for each plane."""
        stats = bytes(packet.get_sidedata("quality_stats"))
        planes = stats[5]
        self._errors += sum(struct.unpack_from(f"<{planes}Q", stats, 8))
        self._pictures += 1
        self._second.append(packet.size * 8)
        self.peak = max(self.peak, sum(self._second))

    @property
    def psnr(self) -> float:
        """Mean over all samples in dB; 100 stands for "no difference"."""
        if not self._errors:
            return 100.0
        return min(100.0, 10 * math.log10(255 * 255 * self._samples * self._pictures / self._errors))


class _Pictures:
    """The video track: decodes, filters, places and encodes."""

    def __init__(
        self, stream: VideoStream, new: OutputContainer, facts: StreamFacts, plan: ConversionPlan, x264: dict[str, str]
    ) -> None:
        self.stream = stream
        self.decoded = 0
        self._rate = Fraction(plan.fps)
        self.quality = _Quality(plan.width, plan.height, self._rate)
        timed = facts.variable_rate or self._rate != facts.rate
        self.slots = Slots(self._rate, timed=timed)
        self._waiting: deque[int] = deque()
        self._facts, self._plan, self._new = facts, plan, new
        self._x264 = x264
        self._encoder: VideoStream | None = None
        self._graph: Graph | None = None
        self._shape: tuple[int, int, str] = (0, 0, "")
        self._next = 0
        self._shown: VideoFrame | None = None
        stream.thread_type = "AUTO"
        stream.thread_count = 4
        stream.codec_context.options = {"max_pixels": INPUT_OPTIONS["max_pixels"]}

    @property
    def begun(self) -> bool:
        """The encoder is open."""
        return self._encoder is not None

    def feed(self, packet: Packet[Stream]) -> None:
        """Take one packet; an empty one at the end flushes the decoder."""
        try:
            frames = packet.decode()
        except av.InvalidDataError as error:
            raise self._damaged() from error
        for frame in frames:
            if not isinstance(frame, VideoFrame):
                continue
            if frame.is_corrupt:
                raise self._damaged()
            self.decoded += 1
            self._filter(frame)

    def _damaged(self) -> ConversionFailed:
        at = float(self.decoded / self._facts.rate) if self._facts.rate else 0.0
        return ConversionFailed(
            "transcode",
            f"the picture after the first {self.decoded} (at about {at:.1f} s) is damaged and cannot be decoded: "
            "send the recording again, or cut the damaged part away",
        )

    def _filter(self, frame: VideoFrame) -> None:
        """Push one decoded picture through the graph; a change of size within the recording builds a new one."""
        shape = (frame.width, frame.height, frame.format.name)
        if self._graph is None or shape != self._shape:
            self._drain()
            look = Look.of(frame, self._facts, self._plan)
            self._graph, self._shape = build_graph(frame, look.filters), shape
            if self._encoder is None:
                self._encoder = self._open_encoder(look)
        time = None if frame.pts is None or not frame.time_base else frame.pts * exact(frame.time_base)
        self._waiting.append(self.slots.place(time))
        frame.pts = self.decoded
        self._graph.push(frame)
        self._pull()

    def _pull(self) -> None:
        """Encode everything that the graph has ready."""
        if self._graph is None:
            return
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            if isinstance(frame, VideoFrame):
                self._encode(frame, self._waiting.popleft())

    def _drain(self) -> None:
        if self._graph is not None:
            self._graph.push(None)
            self._pull()

    def _encode(self, frame: VideoFrame, slot: int) -> None:
        """Encode a picture into its slot, and the one before into the slots that were left free."""
        while self._next < slot and self._shown is not None:
            self._encode_at(self._shown)
        self._encode_at(frame)
        self._shown = frame

    def _encode_at(self, frame: VideoFrame) -> None:
        if self._encoder is None:
            return
        frame.pts, frame.time_base = self._next, 1 / self._rate
        frame.pict_type = 0  # the source's picture types are not to be repeated
        self._next += 1
        self._mux(self._encoder.encode(frame))

    def _mux(self, packets: list[Packet[Stream]]) -> None:
        for packet in packets:
            self.quality.add(packet)
            self._new.mux(packet)

    def finish(self) -> None:
        """Flush the graph and the encoder."""
        self._drain()
        if self._encoder is not None:
            self._mux(self._encoder.encode(None))

    def _open_encoder(self, look: Look) -> VideoStream:
        """Open x264 High with closed groups of pictures of two seconds."""
        options = {
            "preset": "veryfast", "profile": "high",
            "g": str(max(1, round(2 * self._rate))), **REPEATABLE, **self._x264,
        }  # fmt: skip
        stream = self._new.add_stream("libx264", rate=self._rate, options=options)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = self._plan.width, self._plan.height, "yuv420p"
        context.time_base = 1 / self._rate
        context.sample_aspect_ratio = Fraction(1)
        context.thread_count = _THREADS
        context.flags |= Flags.closed_gop | Flags.psnr | Flags.bitexact
        context.color_range = 1
        context.colorspace, context.color_primaries, context.color_trc = look.colour
        return stream
