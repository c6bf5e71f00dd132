from __future__ import annotations

import struct

import pytest

from converters.probe import completeness
from tests.converters.clips import draw_clip

WHOLE = {
    "a.mp4": {"audio": "aac"},
    "fast.mp4": {"movflags": "faststart"},
    "frag.mp4": {"movflags": "frag_keyframe+empty_moov"},
    "a.mov": {"audio": "pcm_s16le"},
    "a.mkv": {},
    "a.avi": {},
    "a.ts": {},
    "a.mpg": {"codec": "mpeg2video"},
    "a.wmv": {"codec": "wmv2"},
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_is_complete(tmp_path, name):
    assert completeness(draw_clip(tmp_path / name, size=(160, 120), **WHOLE[name])) == ""


@pytest.mark.parametrize("name", [name for name in WHOLE if not name.endswith((".ts", ".mpg"))])
def test_a_growing_copy_is_incomplete_until_its_last_byte(tmp_path, name):
    content = draw_clip(tmp_path / name, size=(160, 120), **WHOLE[name]).read_bytes()
    copy = tmp_path / f"copy-{name}"
    copy.write_bytes(b"")
    assert completeness(copy)
    steps = [max(1, len(content) * part // 40) for part in range(1, 40)]
    if name == "frag.mp4":  # a fragmented file is whole at the end of any fragment: nothing says how many there are
        steps = steps[:20]
    for length in steps:
        copy.write_bytes(content[:length])
        assert completeness(copy), f"{length} of {len(content)} bytes"
    copy.write_bytes(content)
    assert completeness(copy) == ""


def test_a_copy_that_reserved_its_space_first_is_incomplete(tmp_path):
    content = draw_clip(tmp_path / "a.mp4").read_bytes()
    for part in (0, 1, len(content) // 2, content.index(b"mvhd") - 4, content.index(b"stbl") - 4):
        copy = tmp_path / "copy.mp4"
        copy.write_bytes(content[:part] + bytes(len(content) - part))
        assert completeness(copy)


@pytest.mark.parametrize("name", ["a.ts", "a.mpg"])
def test_streams_without_an_end_mark_leave_the_decision_to_the_clock(tmp_path, name):
    content = draw_clip(tmp_path / name, size=(160, 120), **WHOLE[name]).read_bytes()
    copy = tmp_path / f"copy-{name}"
    copy.write_bytes(content[: len(content) // 2])
    assert completeness(copy) == ""


def test_a_recorder_that_writes_its_size_at_the_end_is_waited_for(tmp_path):
    content = bytearray(draw_clip(tmp_path / "a.avi", size=(160, 120)).read_bytes())
    content[4:8] = bytes(4)
    copy = tmp_path / "copy.avi"
    copy.write_bytes(content)
    assert "never written" in completeness(copy)


def test_damage_is_not_waited_for(tmp_path):
    clip = tmp_path / "a.mp4"
    wrong = struct.pack(">I4s", 3, b"mvhd")
    clip.write_bytes(struct.pack(">I4s8s", 16, b"ftyp", b"isom0000") + struct.pack(">I4s", 16, b"moov") + wrong)
    assert completeness(clip) == ""
