"""Long recordings, made at the speed of the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

from tests.converters.clips import draw_clip

#: A recorder's constant rate: 50 Mbit/s at 25 pictures a second, below the 62.5 Mbit/s of High at level 4.1.
PICTURE_BYTES = 250_000
PICTURES = 25


def long_video(path: Path, megabytes: int) -> Path:
    """Write a conforming MP4 of about so many million bytes and return its path.

    One drawn second is repeated, and each picture is filled up to a constant bit rate with filler data as a hardware
    encoder does it (H.264 7.3.2.7): every byte belongs to a sample of the index, and every picture can be decoded.
    """
    drawn = draw_clip(path.with_suffix(".second.mp4"), size=(640, 480), frames=PICTURES, level="4.1")
    with av.open(str(drawn)) as source, av.open(str(path), "w", format="mp4") as target:
        video = source.streams.video[0]
        pictures = [packet for packet in source.demux(video) if packet.size]
        stream = target.add_stream_from_template(video)
        second = round(1 / video.time_base)
        coded = [(bytes(packet), packet.pts, packet.dts, packet.is_keyframe) for packet in pictures]
        filled = [(data + _filler(PICTURE_BYTES - len(data)), pts, dts, key) for data, pts, dts, key in coded]
        for number in range(max(1, round(megabytes * 1e6 / (PICTURE_BYTES * PICTURES)))):
            for data, pts, dts, key in filled:
                packet: Any = av.Packet(data)
                packet.stream, packet.time_base, packet.is_keyframe = stream, video.time_base, key
                packet.pts, packet.dts = pts + number * second, dts + number * second
                target.mux(packet)
    drawn.unlink()
    return path


def _filler(size: int) -> bytes:
    """Return a filler data NAL unit of so many bytes, its length in front as MP4 wants it."""
    return (size - 4).to_bytes(4) + b"\x0c" + b"\xff" * (size - 6) + b"\x80"
