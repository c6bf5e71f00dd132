"""Draws clips for tests: a moving pattern and a hum, tiny and fast; nothing in them is real."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import av
import numpy as np

_NONE: Mapping[str, str] = MappingProxyType({})
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def draw_clip(
    path: Path,
    *,
    codec: str = "libx264",
    profile: str | None = "high",
    level: str | None = None,
    size: tuple[int, int] = (320, 240),
    rate: str = "25",
    frames: int = 25,
    pix_fmt: str = "yuv420p",
    audio: str | None = None,
    audio_rate: int = 48000,
    channels: int = 2,
    options: Mapping[str, str] = _NONE,
    metadata: Mapping[str, str] = _NONE,
    container_format: str | None = None,
    times: list[int] | None = None,
    aspect: Fraction = Fraction(1),
    movflags: str = "",
) -> Path:
    """Write a clip and return its path.

    Args:
        path: A new file; its ending chooses the container unless ``container_format`` does.
        codec: An FFmpeg encoder; ``profile`` and ``level`` (as ``4.1``) are for libx264 and libx265 only.
        audio: An FFmpeg encoder, e.g. ``aac``; None for no sound.
        options: Of the video encoder.
        metadata: Of the container.
        times: When each frame is shown, in milliseconds; None for a constant rate.
        aspect: Shape of a pixel.
        movflags: Of the MP4 and MOV writers.
    """
    container_options = {"movflags": movflags} if movflags else {}
    with av.open(str(path), "w", format=container_format, options=container_options) as file:
        file.metadata.update(metadata)
        video: Any = file.add_stream(codec, rate=Fraction(rate), options=_settings(codec, profile, level, options))
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        context = video.codec_context
        context.time_base = Fraction(1, 1000) if times else 1 / Fraction(rate)
        context.sample_aspect_ratio = aspect
        sound = file.add_stream(audio, rate=audio_rate, layout=_LAYOUTS[channels]) if audio else None
        for number, picture in enumerate(_pictures(size, frames)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = (times[number] if times else number), context.time_base
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        if sound is not None:
            _hum(file, sound, frames / float(Fraction(rate)))
    return path


def _settings(codec: str, profile: str | None, level: str | None, options: Mapping[str, str]) -> dict[str, str]:
    chosen: dict[str, str] = {}
    if codec in ("libx264", "libx265"):
        chosen["preset"] = "veryfast"
        if codec == "libx265":
            chosen["x265-params"] = "log-level=none" + (f":level-idc={level}" if level else "")
        elif level:
            chosen["level"] = level
        if profile and (codec == "libx264" or profile != "high"):
            chosen["profile"] = profile
    return {**chosen, **options}


def _pictures(size: tuple[int, int], frames: int) -> Iterator[np.ndarray]:
    width, height = size
    across = np.broadcast_to((np.arange(width) % 256).astype(np.uint8), (height, width))
    for number in range(frames):
        grey = across + np.uint8(number * 3 % 256)
        yield np.ascontiguousarray(np.stack([grey, np.roll(grey, number, axis=1), 255 - grey], axis=2))


def _hum(file: Any, sound: Any, seconds: float) -> None:
    """Encode a quiet 440 Hz tone on every channel, in the encoder's own sample format."""
    context = sound.codec_context
    kind, rate, layout = context.format, context.sample_rate, context.layout
    total, step = round(rate * seconds), context.frame_size or 1024
    for start in range(0, total, step):
        moments = np.arange(start, min(start + step, total)) / rate
        wave = np.sin(2 * np.pi * 440 * moments) * 0.1
        planes = np.tile(_samples(wave, kind.name), (layout.nb_channels, 1))
        shaped = planes if kind.is_planar else planes.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(shaped), format=kind.name, layout=layout.name)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        file.mux(sound.encode(frame))
    file.mux(sound.encode(None))


def _samples(wave: np.ndarray, kind: str) -> np.ndarray:
    if "flt" in kind:
        return wave.astype(np.float32)
    return (wave * (1 << 31)).astype(np.int32) if "32" in kind else (wave * (1 << 15)).astype(np.int16)


def rewrite(path: Path, box: bytes, at: int, data: bytes, *, nth: int = 0) -> Path:
    """Overwrite bytes of an MP4's box: ``at`` counts from the byte after the box's type, of its n-th occurrence."""
    content = bytearray(path.read_bytes())
    place = content.index(box)
    for _ in range(nth):
        place = content.index(box, place + 4)
    content[place + 4 + at : place + 4 + at + len(data)] = data
    path.write_bytes(content)
    return path
