"""The coded pictures and sound untouched in a new, plain MP4: index first, nothing of the old container's metadata.

Measured traps that are handled here: Matroska gives no decoding time for the first packets of a stream with B-frames
(dropping them loses the key frame); transport streams start at an offset; an edit list can leave times out of order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from converters.payload import INPUT_OPTIONS, TEXT_OPTIONS, exact, media_name, reason
from models.errors import ConversionFailed

#: Options of every MP4 that is written: index first, no encoder name, no dates; equal input gives equal bytes.
OUTPUT_OPTIONS = {"movflags": "+faststart", "fflags": "+bitexact"}

#: Packets that are looked at before the first is written: deeper than any reordering (H.264 allows 16 pictures).
_LOOK_AHEAD = 48

#: Sample entries that DICOM readers know: parameter sets in the header (ISO/IEC 14496-15).
_TAGS = {"h264": "avc1", "hevc": "hvc1"}


def remux(source: Path, output: Path, *, keep_audio: bool, on_progress: Callable[[float], None]) -> int:
    """Write the first video stream, and the first sound if wanted, into a plain MP4.

    Args:
        source: Any container with a stream that may stay as it is.
        output: A new file.
        keep_audio: Copy the sound too.
        on_progress: Told the part that is done, 0 to 1.

    Returns:
        The number of pictures.

    Raises:
        ConversionFailed: The stream has no usable times, hides pictures by an edit list, or cannot be written.
    """
    try:
        with (
            av.open(media_name(source), options=INPUT_OPTIONS, **TEXT_OPTIONS) as old,
            av.open(media_name(output), "w", format="mp4", options=OUTPUT_OPTIONS) as new,
        ):
            return _copy(old, new, keep_audio=keep_audio, on_progress=on_progress)
    except MemoryError:
        raise  # the limit of the child process, not the recording
    except (av.FFmpegError, UnicodeDecodeError, ValueError) as error:
        raise ConversionFailed(
            "remux", f"the streams cannot be moved into an MP4 ({reason(error)}): re-encode this recording"
        ) from error


def _copy(old: InputContainer, new: OutputContainer, *, keep_audio: bool, on_progress: Callable[[float], None]) -> int:
    """Copy the packets and return the number of pictures."""
    video = old.streams.video[0]
    wanted: list[Stream] = [video, *(old.streams.audio[:1] if keep_audio else ())]
    outputs = {stream.index: new.add_stream_from_template(stream) for stream in wanted}
    if tag := _TAGS.get(video.codec_context.name):
        outputs[video.index].codec_context.codec_tag = tag
    packets = (packet for packet in old.demux(wanted) if packet.size)
    head = [packet for _, packet in zip(range(_LOOK_AHEAD), packets, strict=False)]
    timing = Timing.of([packet for packet in head if packet.stream_index == video.index])
    pictures = 0
    for packet in chain(_with_decoding_times(head, video), packets):
        if not timing.place(packet, is_video=packet.stream_index == video.index):
            continue
        pictures += packet.stream_index == video.index
        if pictures % 64 == 0 and old.size:
            on_progress(min(1.0, max(0, packet.pos or 0) / old.size))
        packet.stream = outputs[packet.stream_index]
        new.mux(packet)
    return pictures


def _with_decoding_times(head: list[Packet[Stream]], video: Stream) -> Iterator[Packet[Stream]]:
    """Yield the first packets, the missing decoding times counted back from the first that is known."""
    of_video = [packet for packet in head if packet.stream_index == video.index]
    known = next((index for index, packet in enumerate(of_video) if packet.dts is not None), None)
    if known is None or any(packet.pts is None for packet in of_video):
        raise ConversionFailed("remux", "the pictures carry no times: re-encode this recording")
    step = frame_step(video)
    first = of_video[known].dts or 0
    for index in range(known):
        of_video[index].dts = first - step * (known - index)
    yield from head


def frame_step(video: Stream) -> int:
    """Return the duration of one picture in ticks of the stream, at least 1."""
    rate = exact(video.average_rate or video.base_rate, Fraction(25))
    return max(1, round(1 / (rate * exact(video.time_base))))


class Timing:
    """Moves all times so that the first picture is shown at zero and none is decoded after it is shown."""

    def __init__(self, start: Fraction, late: Fraction) -> None:
        self._start = start
        self._late = late
        self._last = Fraction(-(1 << 62))

    @classmethod
    def of(cls, head: list[Packet[Stream]]) -> Timing:
        """Read the shifts, in seconds, from the first video packets."""
        if not head:
            raise ConversionFailed("remux", "the video stream is empty: send the recording again")
        bases = [exact(packet.time_base) for packet in head]
        shown = [packet.pts * base for packet, base in zip(head, bases, strict=True) if packet.pts is not None]
        late = [
            (packet.dts - packet.pts) * base
            for packet, base in zip(head, bases, strict=True)
            if packet.dts is not None and packet.pts is not None
        ]
        return cls(min(shown, default=Fraction(0)), max([Fraction(0), *late]))

    def place(self, packet: Packet[Stream], *, is_video: bool) -> bool:
        """Shift the packet's times; False for sound before the first picture, but for what primes its decoder.

        Raises:
            ConversionFailed: A picture is hidden by an edit list or has no time.
        """
        base = exact(packet.time_base)
        start = round(self._start / base)
        if not is_video:
            return self._place_sound(packet, start)
        if packet.is_discard or packet.pts is None or packet.dts is None:
            raise ConversionFailed(
                "remux", "an edit list hides pictures, or pictures carry no times: re-encode this recording"
            )
        packet.pts -= start
        packet.dts -= start + round(self._late / base)
        return True

    @staticmethod
    def _place_sound(packet: Packet[Stream], start: int) -> bool:
        if packet.pts is None:
            raise ConversionFailed("remux", "the sound carries no times: drop it or re-encode this recording")
        packet.pts -= start
        packet.dts = packet.pts
        return packet.pts + 2 * (packet.duration or 0) > 0
