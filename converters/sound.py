"""The sound of a re-encoded recording: copied, or made AAC 48 kHz stereo (PS3.5 8.2.12), starting with the pictures."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from converters.payload import exact
from models.plan import AudioPlan

log = logging.getLogger("cinelink." + __name__)

_SOUND_RATE = 48_000
_SOUND_FRAME = 1024


def sound_track(old: InputContainer, new: OutputContainer, plan: AudioPlan) -> CopiedSound | EncodedSound | None:
    """Return the track of the first sound as planned."""
    if plan not in (AudioPlan.KEEP, AudioPlan.ENCODE) or not old.streams.audio:
        return None
    video = old.streams.video[0]
    start = (video.start_time or 0) * exact(video.time_base)
    kind = CopiedSound if plan is AudioPlan.KEEP else EncodedSound
    return kind(old.streams.audio[0], new, start)


class CopiedSound:
    """Sound that stays as it is, moved so that the pictures start at zero."""

    def __init__(self, stream: AudioStream, new: OutputContainer, start: Fraction) -> None:
        self.stream = stream
        self._new = new
        self._output = new.add_stream_from_template(stream)
        self._start = start

    def feed(self, packet: Packet[Stream]) -> None:
        """Copy one packet."""
        if not packet.size or packet.pts is None:
            return
        packet.pts -= round(self._start / exact(packet.time_base))
        packet.dts = packet.pts
        if packet.pts + 2 * (packet.duration or 0) > 0:
            packet.stream = self._output
            self._new.mux(packet)

    def finish(self) -> None:
        """Nothing is held back."""


class EncodedSound:
    """Sound that becomes AAC 48 kHz stereo (PS3.5 8.2.12)."""

    def __init__(self, stream: AudioStream, new: OutputContainer, start: Fraction) -> None:
        self.stream = stream
        self._new = new
        self._start = start
        self._next: int | None = None
        self._damaged = 0
        self._resampler = av.AudioResampler("fltp", "stereo", _SOUND_RATE, frame_size=_SOUND_FRAME)
        self._output = new.add_stream("aac", rate=_SOUND_RATE, layout="stereo")
        self._output.bit_rate = 160_000
        self._output.codec_context.flags |= Flags.bitexact

    def feed(self, packet: Packet[Stream]) -> None:
        """Decode and encode one packet; a damaged one is left out and counted."""
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            self._damaged += 1
            return
        for frame in frames:
            if not isinstance(frame, AudioFrame):
                continue
            if self._next is None:
                first = self._start if frame.pts is None else frame.pts * exact(frame.time_base)
                self._next = round((first - self._start) * _SOUND_RATE)
            frame.pts = None
            self._encode(iter(self._resampler.resample(frame)))

    def _encode(self, frames: Iterator[AudioFrame]) -> None:
        for frame in frames:
            at = self._next or 0
            self._next = at + frame.samples
            if self._next <= 0:
                continue
            frame.pts, frame.time_base = max(at, 0), Fraction(1, _SOUND_RATE)
            for packet in self._output.encode(frame):
                self._new.mux(packet)

    def finish(self) -> None:
        """Flush the resampler and the encoder."""
        if self._next is not None:
            self._encode(iter(self._resampler.resample(None)))
            for packet in self._output.encode(None):
                self._new.mux(packet)
        if self._damaged:
            log.warning("%d damaged packets of sound were left out", self._damaged)
