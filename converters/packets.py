"""Containers other than plain MP4, and codecs that DICOM does not know: facts from FFmpeg's packets and one picture."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from io import FileIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame

from converters.boxes import clean_text, damaged
from converters.coded_units import Record, avc_halves, is_frame_packed, most_adverse, parameters_in, read_record
from converters.conformance import Defect
from converters.parameter_sets import MAX_PIXELS, Parameters, mpeg2_pictures, read_mpeg2, require_size
from converters.payload import TEXT_OPTIONS
from converters.reading import Coded, describe_source, pace_of, peak_bits, sane
from models.errors import RecordingRejected
from models.recording import AudioFacts, StreamFacts

#: What FFmpeg may open and how: video files only, no playlists, no network, no picture bombs.
_OPTIONS = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf,mxf,dv,h264,hevc,mpegvideo,flv",
    "protocol_whitelist": "file",
    "codec_whitelist": (
        "h264,hevc,mpeg2video,mpeg1video,mpeg4,msmpeg4,msmpeg4v1,msmpeg4v2,vc1,wmv1,wmv2,wmv3,mjpeg,dvvideo,prores,"
        "dnxhd,vp8,vp9,libdav1d,av1,ffv1,huffyuv,cinepak,rawvideo,h263,flv,theora,svq3,indeo5,cfhd,jpeg2000,"
        "aac,aac_latm,mp3,mp3float,mp2,mp2float,ac3,eac3,opus,vorbis,flac,alac,wmav1,wmav2,wmapro,amrnb,dca,"
        "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_u8,pcm_alaw,pcm_mulaw,pcm_bluray,adpcm_ms,"
        "adpcm_ima_wav"
    ),
    "max_pixels": str(MAX_PIXELS),
}

#: Codecs that show pictures in another order than they are coded.
_REORDERED = frozenset({"h264", "hevc", "mpeg2video"})

_COVER = Disposition.attached_pic
_HEAD = 4096
_MOST_KEYS = 4096
_MOST_PACKETS = 5_000_000


@contextmanager
def _media(path: Path) -> Iterator[InputContainer]:
    try:
        container = av.open(f"file:{path}", options=_OPTIONS, **TEXT_OPTIONS)
    except (av.FFmpegError, UnicodeDecodeError) as error:
        raise RecordingRejected(
            "not-a-video", "the file is no video of a known kind: export it as MP4, MOV, MKV, AVI, MPEG-TS or MPEG-PS"
        ) from error
    with container:
        yield container


def _video_of(container: InputContainer) -> list[Any]:
    """Return the video streams that are no covers."""
    videos = [stream for stream in container.streams.video if not stream.disposition & _COVER]
    if not videos:
        raise RecordingRejected("no-video-stream", "the file holds no video: send the recording itself")
    if videos[0].codec_context is None:
        raise RecordingRejected("not-a-video", "the video is coded in a way that is not known: export it as H.264")
    return videos


def read_packet_facts(path: Path, file: FileIO, size: int) -> StreamFacts:
    """Read any container by its packets, and the codec from its own headers or from the first picture."""
    look = _first_picture(path)
    with _media(path) as container:
        videos = _video_of(container)
        video = videos[0]
        coded = _coded_packets(container, video, look)
        name = container.format.name.split(",")[0]
        facts = {
            "container": name,
            "brand": "m2ts" if name == "mpegts" and _has_wide_packets(file) else "",
            "rotation": look.rotation,
            "video_streams": len(videos),
            "audio": tuple(_sound_of(stream) for stream in container.streams.audio),
            "other_streams": tuple(
                stream.type for stream in container.streams if stream.type not in ("video", "audio")
            ),
            **describe_source({clean_text(k): clean_text(v) for k, v in container.metadata.items()}, 0),
        }
    sets = coded.parameters
    if name == "avi" and sets.codec in _REORDERED and sets.profile != "Constrained Baseline":
        coded = replace(coded, defects=(*coded.defects, Defect.NO_ORDER))
    return StreamFacts.model_validate({"size": size, "sha256": "", **coded.facts(), **facts})


def _has_wide_packets(file: FileIO) -> bool:
    """Tell packets of 192 bytes (m2ts) from plain ones of 188."""
    head = os.pread(file.fileno(), 400, 0)
    return head[:1] != b"G" and head[4:5] == b"G" and head[196:197] == b"G"


def _sound_of(stream: Any) -> AudioFacts:
    context = stream.codec_context
    if context is None:
        return AudioFacts(codec="unknown", sample_rate=0, channels=0)
    name = context.codec.canonical_name if context.codec else context.name
    return AudioFacts(codec=name or "unknown", sample_rate=context.sample_rate or 0, channels=context.channels or 0)


@dataclass(frozen=True)
class _Look:
    """What the first decoded picture shows and headers of some codecs do not say."""

    rotation: int = 0
    interlaced: bool = False
    full_range: bool = False
    transfer: str = ""
    stereo: bool = False


def _first_picture(path: Path) -> _Look:
    """Decode one picture; an unreadable one leaves everything to the headers."""
    with _media(path) as container:
        video = _video_of(container)[0]
        require_size(video.codec_context.width, video.codec_context.height)
        video.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        try:
            frame = next((one for one in container.decode(video) if isinstance(one, VideoFrame)), None)
        except (av.FFmpegError, UnicodeDecodeError):
            return _Look()
        if frame is None:
            return _Look()
        sides: Any = frame.side_data  # gives the data up to version 18 of FFmpeg's bindings, their types from 19 on
        return _Look(
            rotation=-round(frame.rotation / 90) * 90 % 360,
            interlaced=bool(frame.interlaced_frame),
            full_range=int(frame.color_range) == 2 or frame.format.name.startswith("yuvj"),  # noqa: PLR2004 - JPEG
            transfer={16: "pq", 18: "hlg"}.get(int(frame.color_trc), ""),
            stereo=any(getattr(kind, "type", kind).name == "STEREO3D" for kind in sides),
        )


class _Packets:
    """What the packets of a stream tell, gathered one by one."""

    def __init__(self, codec: str, extra: bytes) -> None:
        self._codec = codec
        self._record = read_record(codec, extra) if codec in ("h264", "hevc") else Record()
        self.sets = parameters_in(codec, self._record.units) if codec in ("h264", "hevc") else []
        if codec in ("mpeg2video", "mpeg1video") and (found := read_mpeg2(extra)):
            self.sets = [found]
        self.times, self.decoded, self.sizes = array("q"), array("q"), array("q")
        self.keys = 0
        self.first_key: int | None = None
        self.starts_with_key = False
        self.untimed = self.changes = self.discards = self.field_coded = False
        self.halves = 0
        self.progressive = True

    def add(self, packet: Any) -> None:
        """Take the next packet in decoding order."""
        if len(self.sizes) >= _MOST_PACKETS:
            raise damaged(f"it has more than {_MOST_PACKETS:,} pictures")
        time = packet.pts if packet.pts is not None else packet.dts
        self.untimed |= time is None
        time = len(self.sizes) if time is None else time
        if packet.is_keyframe:
            self.keys += 1
            self.starts_with_key |= not len(self.sizes)
            self.first_key = time if self.first_key is None else self.first_key
        self.sizes.append(packet.size)
        self.decoded.append(packet.dts if packet.dts is not None else time)
        if packet.is_discard:
            self.discards = True
        else:
            self.times.append(time)
        self._look_inside(packet)

    def _look_inside(self, packet: Any) -> None:
        if self._codec in ("mpeg2video", "mpeg1video"):
            self._look_at_mpeg2(bytes(packet))
        elif self._codec in ("h264", "hevc"):
            in_fields = self._codec == "h264" and self.sets and not self.sets[0].progressive
            if in_fields:
                self._count(avc_halves(self._record.split(bytes(packet)), self.sets[0]))
            if packet.is_keyframe and self.keys <= _MOST_KEYS:
                units = self._record.split(bytes(memoryview(packet)[:_HEAD]), cut=packet.size > _HEAD)
                self._compare(parameters_in(self._codec, units))
                if self.keys == 1 and self._codec == "h264" and self.sets and is_frame_packed(units):
                    self.sets[0] = replace(self.sets[0], stereo=True)

    def _look_at_mpeg2(self, data: bytes) -> None:
        halves = 0
        for count, progressive in mpeg2_pictures(data):
            halves += count
            self.progressive &= progressive
        self._count(halves or 2)
        found = read_mpeg2(data[:_HEAD])
        self._compare([found] if found else [])

    def _count(self, halves: int) -> None:
        self.halves += halves
        self.field_coded |= halves != 2  # noqa: PLR2004 - one whole picture

    def _compare(self, found: list[Parameters]) -> None:
        if found and not self.sets:
            self.sets = found[:1]
        self.changes |= any(one.shape != self.sets[0].shape for one in found)


def _coded_packets(container: InputContainer, video: Any, look: _Look) -> Coded:
    context = video.codec_context
    codec = context.codec.canonical_name if context.codec else context.name
    packets = _Packets(codec, bytes(context.extradata or b""))
    for packet in container.demux(video):
        if packet.size:
            packets.add(packet)
    sets = most_adverse(packets.sets) if packets.sets else _from_context(codec, context, look)
    aspect = _fraction(video.sample_aspect_ratio) if sets.aspect is None else sets.aspect
    progressive = packets.progressive if codec == "mpeg2video" else sets.progressive
    sets = replace(
        sets, aspect=aspect, progressive=progressive, full_range=sets.full_range or look.full_range,
        transfer=sets.transfer or look.transfer, stereo=sets.stereo or look.stereo,
    )  # fmt: skip
    base = _fraction(video.time_base) or Fraction(1, 1000)
    times, sizes, decoded = (np.array(one, np.int64) for one in (packets.times, packets.sizes, packets.decoded))
    if not packets.starts_with_key and packets.first_key is not None:
        times = times[times >= packets.first_key]
    frames = (packets.halves + 1) // 2 if packets.field_coded else len(times)
    guess = sets.rate or _fraction(video.average_rate) or _fraction(video.base_rate)
    if packets.untimed:
        base, times = 1 / sane(guess), np.arange(len(times), dtype=np.int64)
    pace = replace(pace_of(times, base, 0, guess), peak_bits=peak_bits(sizes, decoded, base))
    flags = (
        (packets.changes, Defect.CHANGES),
        (packets.untimed, Defect.NO_TIMES),
        (packets.field_coded, Defect.FIELDS),
    )
    return Coded(
        sets, pace, min(frames, len(times)), packets.starts_with_key, packets.discards,
        tuple(defect for applies, defect in flags if applies),
    )  # fmt: skip


def _from_context(codec: str, context: Any, look: _Look) -> Parameters:
    """Return what FFmpeg read of a codec that DICOM does not know: it is encoded again anyway."""
    require_size(context.width, context.height)
    if not context.width or not context.height:
        raise damaged(f"the pictures ({codec}) have no size")
    kind = context.format
    chroma, depth = "4:2:0", 8
    if kind is not None and kind.components:
        shifts = (16 // max(1, kind.chroma_width(16)), 16 // max(1, kind.chroma_height(16)))
        chroma = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}.get(shifts, "4:2:0")
        chroma = "4:0:0" if len(kind.components) == 1 and not kind.has_palette else chroma
        depth = max(component.bits for component in kind.components)
    return Parameters(
        codec=codec, profile=str(context.profile or ""), level=max(0, context.level or 0), chroma=chroma, depth=depth,
        width=context.width, height=context.height, progressive=not look.interlaced,
    )  # fmt: skip


def _fraction(value: Any) -> Fraction | None:
    """Return FFmpeg's rational as a fraction; None where it is unset (None or 0)."""
    return Fraction(value.numerator, value.denominator) if value and value.denominator else None
