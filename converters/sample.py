"""An invented endoscopy recording, for the demonstration and for trials: a moving lumen, a polyp, a running counter."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from converters.payload import media_name
from converters.remux import OUTPUT_OPTIONS
from converters.transcode import REPEATABLE

Plane = NDArray[np.float32]
Bytes = NDArray[np.uint8]

_SOUND_RATE = 48_000
_SOUND_FRAME = 1024

#: Pictures that are drawn ahead of the encoder.
_AHEAD = 6

#: The scope's picture is drawn at this fraction of the size: tissue is soft, and drawing must be quick.
_SHRINK = 4

#: Columns of five bytes a letter, the lowest bit on top.
_FONT = {
    " ": "0000000000", "-": "0808080808", ".": "0060600000", "/": "2010080402", ":": "0036360000", "#": "147f147f14",
    "0": "3e5149453e", "1": "00427f4000", "2": "4261514946", "3": "2141454b31", "4": "1814127f10", "5": "2745454539",
    "6": "3c4a494930", "7": "0171090503", "8": "3649494936", "9": "064949291e", "A": "7e1111117e", "B": "7f49494936",
    "C": "3e41414122", "D": "7f4141221c", "E": "7f49494941", "F": "7f09090901", "G": "3e4149497a", "H": "7f0808087f",
    "I": "00417f4100", "J": "2040413f01", "K": "7f08142241", "L": "7f40404040", "M": "7f020c027f", "N": "7f0408107f",
    "O": "3e4141413e", "P": "7f09090906", "Q": "3e4151215e", "R": "7f09192946", "S": "4649494931", "T": "01017f0101",
    "U": "3f4040403f", "V": "1f2040201f", "W": "3f4038403f", "X": "6314081463", "Y": "0708700807", "Z": "6151494543",
    "_": "4040404040", "^": "0402010204", "+": "08083e0808", ",": "0050300000",
}  # fmt: skip

#: Seven bars of 75 % as (Y, Cb, Cr), BT.709 limited range.
_BARS = ((180, 128, 128), (168, 44, 136), (145, 147, 44), (133, 63, 52), (63, 193, 204), (51, 109, 212), (28, 212, 120))


def draw_sample(
    path: Path, *, seconds: float = 20, size: tuple[int, int] = (1920, 1080), rate: int = 30, text: str = ""
) -> None:
    """Draw a recording that passes through untouched: H.264 High in MP4 with AAC 48 kHz stereo.

    Args:
        path: A new MP4 file.
        seconds: How long it lasts.
        size: Width and height in pixels, even.
        rate: Pictures in a second.
        text: Shown beside the picture, e.g. an accession number.

    Raises:
        av.FFmpegError: The file cannot be written.
    """
    frames = max(1, round(seconds * rate))
    scene = Scene(size, rate, text)
    with av.open(media_name(path), "w", format="mp4", options=OUTPUT_OPTIONS) as file:
        video, audio = _video(file, size, rate), _audio(file)
        sound = tone(round(frames / rate * _SOUND_RATE))
        heard = Fraction(0)
        for index, picture in enumerate(_drawn(scene, frames)):
            picture.pts, picture.time_base = index, Fraction(1, rate)
            file.mux(video.encode(picture))
            while heard <= Fraction(index, rate) and (piece := next(sound, None)) is not None:
                heard += Fraction(piece.samples, _SOUND_RATE)
                file.mux(audio.encode(piece))
        for piece in sound:
            file.mux(audio.encode(piece))
        file.mux(video.encode(None))
        file.mux(audio.encode(None))


def _drawn(scene: Scene, frames: int) -> Iterator[VideoFrame]:
    """Yield the pictures in order, a few drawn ahead beside the encoder."""
    with ThreadPoolExecutor(2) as pool:
        ahead = deque(pool.submit(scene.picture, index) for index in range(min(_AHEAD, frames)))
        for index in range(frames):
            if index + _AHEAD < frames:
                ahead.append(pool.submit(scene.picture, index + _AHEAD))
            yield ahead.popleft().result()


def _video(file: OutputContainer, size: tuple[int, int], rate: int) -> VideoStream:
    blocks = math.ceil(size[0] / 16) * math.ceil(size[1] / 16) * rate
    options = {
        "preset": "superfast", "crf": "23", "profile": "high", "level": "4.1" if blocks <= 245_760 else "4.2",  # noqa: PLR2004 - H.264 table A-1
        "g": str(rate), **REPEATABLE,
    }  # fmt: skip
    stream = file.add_stream("libx264", rate=rate, options=options)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = *size, "yuv420p"
    context.time_base, context.sample_aspect_ratio = Fraction(1, rate), Fraction(1)
    context.thread_count = 4
    context.flags |= Flags.closed_gop | Flags.bitexact
    context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1, 1
    return stream


def _audio(file: OutputContainer) -> AudioStream:
    stream = file.add_stream("aac", rate=_SOUND_RATE, layout="stereo")
    stream.bit_rate = 96_000
    stream.codec_context.flags |= Flags.bitexact
    return stream


def tone(samples: int) -> Iterator[AudioFrame]:
    """Yield a soft hum with a beep every second, as a monitor in the room gives it."""
    for start in range(0, samples, _SOUND_FRAME):
        at = np.arange(start, min(start + _SOUND_FRAME, samples), dtype=np.float64) / _SOUND_RATE
        beep = np.sin(2 * np.pi * 880 * at) * np.exp(-40 * (at % 1.0))
        wave = (0.02 * np.sin(2 * np.pi * 110 * at) + 0.05 * beep).astype(np.float32)
        frame = AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
        frame.sample_rate = _SOUND_RATE
        frame.pts, frame.time_base = start, Fraction(1, _SOUND_RATE)
        yield frame


class Scene:
    """Draws the pictures of one recording; equal arguments give equal pixels."""

    def __init__(self, size: tuple[int, int], rate: int, text: str) -> None:
        self._size = size
        self._rate = rate
        width, height = size
        self._side = max(16, height // _SHRINK // 2 * 2)
        grid = (np.arange(self._side, dtype=np.float32) + 0.5) / self._side * 2 - 1
        self._x, self._y = np.meshgrid(grid, grid)
        radius = np.hypot(self._x, self._y)
        self._mask = np.clip((0.985 - radius) * 40, 0, 1).astype(np.float32)
        self._vignette = (1 - 0.45 * radius**2).astype(np.float32)
        self._noise = _noise(256)
        places = np.arange(self._side) * 4 % 256
        self._lumps = self._noise[places][:, places]
        self._letter = max(1, height // 270)
        left = (width - height) // 2 if width > height * 3 // 2 else 0
        self._column = max(0, left // 8)
        self._scope = width - height - left // 4 if left else max(0, (width - height) // 2)
        self._scope -= self._scope % 2
        self._ground = self._background(text)

    def picture(self, index: int) -> VideoFrame:
        """Return the picture of that number as yuv420p, BT.709 limited range."""
        width, height = self._size
        side = min(height, width)
        small = VideoFrame.from_ndarray(self._tissue(index / self._rate), format="rgb24")
        large = small.reformat(
            side, side, format="yuv420p", src_colorspace=5, dst_colorspace=1, dst_color_range=1,
            interpolation=Interpolation.BICUBIC,
        ).to_ndarray()  # fmt: skip
        luma, chroma_b, chroma_r = (plane.copy() for plane in self._ground)
        at, half = self._scope, side // 2
        luma[:side, at : at + side] = large[:side]
        for plane, start in ((chroma_b, side), (chroma_r, side + side // 4)):
            plane[:half, at // 2 : at // 2 + half] = large[start : start + side // 4].reshape(half, half)
        seconds = index / self._rate
        clock = f"{int(seconds // 60):02d}:{seconds % 60:05.2f}"
        self._write(luma, 5, f"#{index:06d}", 2)
        self._write(luma, 8, clock, 2)
        data = np.concatenate([luma.ravel(), chroma_b.ravel(), chroma_r.ravel()])
        return VideoFrame.from_ndarray(data.reshape(height * 3 // 2, width), format="yuv420p")

    def _background(self, text: str) -> tuple[Bytes, Bytes, Bytes]:
        """Draw what never changes: black, the names and the colour bar."""
        width, height = self._size
        luma = np.full((height, width), 16, np.uint8)
        blue, red = (np.full((height // 2, width // 2), 128, np.uint8) for _ in range(2))
        self._write(luma, 1, "CINELINK", 2)
        self._write(luma, 3, "INVENTED SAMPLE", 1)
        for line, part in enumerate(text.upper().split("\n")):
            self._write(luma, 12 + 2 * line, part, 1)
        unit = 8 * self._letter
        top, step = height - 4 * unit, 2 * (unit // 2) or 2
        for number, (y, cb, cr) in enumerate(_BARS):
            x = self._column // 2 * 2 + number * step
            luma[top : top + 2 * unit, x : x + step] = y
            blue[top // 2 : top // 2 + unit, x // 2 : (x + step) // 2] = cb
            red[top // 2 : top // 2 + unit, x // 2 : (x + step) // 2] = cr
        return luma, blue, red

    def _write(self, luma: Bytes, line: int, text: str, scale: int) -> None:
        """Write a line of letters into the picture; what does not fit is left out."""
        size = self._letter * scale
        rows = [[byte >> row & 1 for letter in text for byte in (*_glyph(letter), 0)] for row in range(7)]
        ink = np.kron(np.array(rows, np.uint8), np.ones((size, size), np.uint8))
        top, left = line * 8 * self._letter, self._column
        place = luma[top : top + ink.shape[0], left : left + ink.shape[1]]
        place[:] = np.where(ink[: place.shape[0], : place.shape[1]] > 0, 210, 16)

    def _tissue(self, time: float) -> Bytes:
        """Draw the round picture: a tunnel of folds with vessels, a polyp that comes by, and wet highlights."""
        x = self._x - np.float32(0.22 * math.sin(0.7 * time))
        y = self._y - np.float32(0.16 * math.cos(0.53 * time) + 0.05)
        angle = np.arctan2(y, x)
        radius = np.hypot(x, y) + np.float32(1e-3)
        depth = 0.42 / radius + 0.03 * np.sin(3 * angle + time)
        travel = np.float32(0.45 * time)
        wave = np.sin(7.5 * (depth + travel) + 0.7 * np.sin(3 * angle + 0.4 * time))
        fold = np.exp(-2.2 * (1 - wave)).astype(np.float32)
        along = (depth + travel).astype(np.float32)
        vessels = self._vessels(angle, along)
        light = np.clip(1.42 * radius**0.62, 0, 1.22) * self._vignette * (0.80 + 0.20 * wave)
        red, green, blue = (0.88 * light, 0.49 * light, 0.40 * light)
        red, green, blue = red - 0.05 * vessels * light, green - 0.11 * vessels * light, blue - 0.07 * vessels * light
        red, green, blue = red + 0.10 * fold * light, green + 0.13 * fold * light, blue + 0.11 * fold * light
        red, green, blue = self._polyp((red, green, blue), time)
        shine = self._shine(angle, along, fold * light)
        picture = np.stack([red + shine, green + shine, blue + shine], axis=-1)
        picture = np.clip(picture, 0, 1) ** np.float32(0.9) * self._mask[..., None]
        return np.ascontiguousarray((picture * 255).astype(np.uint8))

    def _sample(self, angle: Plane, along: Plane, across_scale: int, along_scale: float) -> Plane:
        """Look the noise up around and along the tunnel; it repeats without a seam around."""
        column = ((angle / (2 * np.pi)) * 256 * across_scale).astype(np.int32) & 255
        row = (along * along_scale).astype(np.int32) & 255
        found: Plane = self._noise[row, column]
        return found

    def _vessels(self, angle: Plane, along: Plane) -> Plane:
        thin: Plane = np.clip(1 - np.abs(self._sample(angle, along, 2, 170.0) - 0.5) * 14, 0, 1)
        return thin

    def _shine(self, angle: Plane, along: Plane, fold: Plane) -> Plane:
        wet: Plane = np.clip(self._sample(angle, along, 3, 140.0) - 0.62, 0, 1) * 6 * np.clip(fold - 0.25, 0, 1)
        return np.clip(wet, 0, 0.9)

    def _polyp(self, colours: tuple[Any, Any, Any], time: float) -> tuple[Any, Any, Any]:
        """Put a rounded, redder bump on the wall, lit from the scope and casting a soft shadow."""
        come = 0.5 + 0.5 * math.sin(0.5 * time - 1.2)
        at = (0.40 + 0.14 * come, 0.26 + 0.16 * come)
        size = 0.15 + 0.13 * come
        x, y = (self._x - at[0]) / size, (self._y - at[1]) / (0.88 * size)
        lumps = self._lumps
        inside = (x**2 + y**2) * (0.86 + 0.28 * lumps)
        shadow = 1 - 0.5 * np.exp(-(((x - 0.35) ** 2 + (y - 0.35) ** 2) / 1.5))
        height = np.sqrt(np.clip(1 - inside, 0, 1))
        lit = np.clip(0.42 + 0.50 * height - 0.24 * (x + y), 0.15, 1.1) * (0.86 + 0.28 * lumps)
        edge = np.clip((1 - inside) * 4, 0, 1)
        glint = np.exp(-(((x + 0.34) ** 2 + (y + 0.38) ** 2) * 42)) * 0.75
        bump = (0.86 * lit + glint, 0.37 * lit + glint, 0.31 * lit + glint)
        red, green, blue = (
            (below * shadow) * (1 - edge) + above * edge for below, above in zip(colours, bump, strict=True)
        )
        return red, green, blue


def _glyph(letter: str) -> bytes:
    return bytes.fromhex(_FONT.get(letter, _FONT["-"]))


def _noise(side: int) -> Plane:
    """Return smooth noise that repeats at its edges, 0 to 1, always the same."""
    chance = np.random.default_rng(20)
    total = np.zeros((side, side), np.float32)
    for cells, weight in ((8, 1.0), (16, 0.6), (32, 0.35), (64, 0.2)):
        grid = chance.random((cells, cells), dtype=np.float32)
        at = np.arange(side) * cells / side
        low = at.astype(np.int32)
        part = (at - low).astype(np.float32)
        part = part * part * (3 - 2 * part)
        high = (low + 1) % cells
        rows = grid[low] * (1 - part[:, None]) + grid[high] * part[:, None]
        total += np.float32(weight) * (rows[:, low] * (1 - part) + rows[:, high] * part)
    total -= total.min()
    smooth: Plane = total / total.max()
    return smooth
