"""Files that want to hang, exhaust or mislead: each gives a refusal in words or honest facts, and nothing else."""

from __future__ import annotations

import os
import random
import struct
import time
import tracemalloc

import pytest

from converters.conformance import judge
from converters.probe import completeness, probe
from models.errors import RecordingRejected
from tests.converters.clips import draw_clip, rewrite


def u32(value):
    return struct.pack(">I", value)


def box(kind, payload=b""):
    return u32(len(payload) + 8) + kind + payload


def refusal(path):
    with pytest.raises(RecordingRejected) as caught:
        probe(path)
    return caught.value.code


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    tiny = {"size": (160, 120), "frames": 8}
    return {
        "mp4": draw_clip(folder / "a.mp4", audio="aac", metadata={"title": "x"}, **tiny).read_bytes(),
        "mov": draw_clip(folder / "a.mov", audio="pcm_s16le", **tiny).read_bytes(),
        "frag.mp4": draw_clip(folder / "f.mp4", movflags="frag_keyframe+empty_moov", **tiny).read_bytes(),
        "hevc.mp4": draw_clip(folder / "h.mp4", codec="libx265", **tiny).read_bytes(),
        "mkv": draw_clip(folder / "a.mkv", **tiny).read_bytes(),
        "avi": draw_clip(folder / "a.avi", audio="mp2", **tiny).read_bytes(),
        "ts": draw_clip(folder / "a.ts", **tiny).read_bytes(),
        "mpg": draw_clip(folder / "a.mpg", codec="mpeg2video", **tiny).read_bytes(),
    }


def file(tmp_path, content, name="a.mp4"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_an_empty_file_is_refused(tmp_path):
    assert refusal(file(tmp_path, b"")) == "empty"


def test_a_folder_a_link_a_pipe_and_nothing_are_no_files(tmp_path, drawn):
    real = file(tmp_path, drawn["mp4"])
    link, pipe = tmp_path / "link.mp4", tmp_path / "pipe.mp4"
    link.symlink_to(real)
    os.mkfifo(pipe)
    for path in (tmp_path, link, pipe, tmp_path / "missing.mp4"):
        assert refusal(path) == "not-a-file"
        assert completeness(path)


PLAYLISTS = {
    "concat": b"ffconcat version 1.0\nfile 'secret.mp4'\n",
    "hls": b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n",
    "dash": b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>",
    "sdp": b"v=0\nm=video 5004 RTP/AVP 96\nc=IN IP4 127.0.0.1\na=rtpmap:96 H264/90000\n",
    "json": b'{"a": 1}',
    "text": b"Dear colleague, thank you for the video.\n" * 50,
    "png": b"\x89PNG\r\n\x1a\n" + bytes(64),
    "zip": b"PK\x03\x04" + bytes(200),
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("ending", ["mp4", "m3u8", "avi"])
def test_a_file_that_points_elsewhere_is_not_followed(tmp_path, drawn, kind, ending):
    file(tmp_path, drawn["mp4"], "secret.mp4")
    file(tmp_path, drawn["ts"], "secret.ts")
    assert refusal(file(tmp_path, PLAYLISTS[kind], f"a.{ending}")) == "not-a-video"


def test_a_name_that_looks_like_a_protocol_is_only_a_name(tmp_path, drawn, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = file(tmp_path, drawn["mkv"], "concat:a|b.mkv")
    assert probe(path.relative_to(tmp_path)).frames == 8


def test_a_still_picture_and_pure_sound_are_no_videos(tmp_path, drawn):
    heic = box(b"ftyp", b"heic0000mif1heic") + box(b"meta", bytes(40)) + box(b"mdat", bytes(40))
    assert refusal(file(tmp_path, heic)) == "not-a-video"
    assert refusal(rewrite(file(tmp_path, drawn["mp4"]), b"hdlr", 8, b"text")) == "no-video-stream"


@pytest.mark.parametrize("size", [(16000, 16000), (8192, 8192)])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_pictures_beyond_8k_are_refused_before_they_are_decoded(tmp_path, name, size):
    clip = draw_clip(tmp_path / name, size=(160, 120), frames=2, options={"x264-params": "repeat-headers=1"})
    content = clip.read_bytes()
    small = content[content.index(b"\x67\x64") :][:40]
    clip.write_bytes(content.replace(small[:12], huge_set(size)[:12]))
    before = time.monotonic()
    assert refusal(clip) in ("too-large-picture", "damaged", "not-a-video")
    assert time.monotonic() - before < 5


def huge_set(size):
    """Write an H.264 parameter set of that size, in the High profile."""
    bits = "".join(f"{byte:08b}" for byte in (100, 0, 62)) + golomb(0) + golomb(1) + golomb(0) * 2 + "00"
    bits += golomb(0) * 2 + golomb(0) + golomb(1) + "0"
    bits += golomb(size[0] // 16 - 1) + golomb(size[1] // 16 - 1) + "11001"
    bits += "0" * (-len(bits) % 8)
    return b"\x67" + int(bits, 2).to_bytes(len(bits) // 8, "big")


def golomb(value):
    digits = f"{value + 1:b}"
    return "0" * (len(digits) - 1) + digits


CUTS = [0.25, 0.5, 0.75, 0.9, 0.99, 0.999]


@pytest.mark.parametrize("part", CUTS)
@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv", "avi"])
def test_a_cut_file_is_refused_as_truncated(tmp_path, drawn, kind, part):
    content = drawn[kind]
    assert refusal(file(tmp_path, content[: int(len(content) * part)], f"a.{kind}")) == "truncated"


@pytest.mark.parametrize("part", CUTS)
def test_a_cut_file_whose_index_comes_first_is_refused_too(tmp_path, part):
    clip = draw_clip(tmp_path / "a.mp4", movflags="faststart")
    content = clip.read_bytes()
    assert refusal(file(tmp_path, content[: int(len(content) * part)])) == "truncated"


def test_a_box_that_only_claims_too_much_is_told_from_missing_pictures(tmp_path):
    clip = draw_clip(tmp_path / "a.mp4", movflags="faststart")
    content = clip.read_bytes()
    place = content.index(b"mdat") - 4
    size = int.from_bytes(content[place : place + 4], "big")
    facts = probe(file(tmp_path, content[:place] + u32(size + 5000) + content[place + 4 :]))
    assert (facts.frames, facts.defects) == (25, ("a box claims bytes beyond the end of the file",))


LIES = {
    "time scale 0": (b"mdhd", 12, u32(0)),
    "2^31 samples": (b"stsz", 8, u32(1 << 31)),
    "2^31 samples of one size": (b"stsz", 4, u32(1) + u32(1 << 31)),
    "2^32 descriptions": (b"stsd", 4, u32(0xFFFFFFFF)),
    "no descriptions": (b"stsd", 4, u32(0)),
    "chunk table of 2^32": (b"stco", 4, u32(0xFFFFFFFF)),
    "samples beyond the end": (b"stco", 8, u32(0x7FFFFFFF)),
    "chunk 0": (b"stsc", 8, u32(0)),
    "durations of 2^32": (b"stts", 4, u32(0xFFFFFFFF)),
    "one picture for 13 years": (b"stts", 12, u32(0x7FFFFFFF)),
    "impossible rate": (b"mdhd", 12, u32(0xFFFFFFFF)),
    "no parameters": (b"avcC", 5, b"\xe0"),
    "cut parameters": (b"avcC", 6, b"\xff\xff"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_figure_that_cannot_be_is_refused(tmp_path, lie):
    kind, at, data = LIES[lie]
    clip = rewrite(draw_clip(tmp_path / "a.mp4", frames=8), kind, at, data)
    assert refusal(clip) in ("damaged", "truncated")


def test_boxes_nested_without_end_are_refused(tmp_path):
    content = b""
    for _ in range(3000):
        content = box(b"trak", content)
    assert refusal(file(tmp_path, box(b"ftyp", b"isom0000") + box(b"moov", content))) == "damaged"


def test_millions_of_boxes_are_refused_in_bounded_time_and_memory(tmp_path):
    inside = box(b"ftyp", b"isom0000") + box(b"moov", box(b"free") * 2_000_000)
    outside = box(b"ftyp", b"isom0000") + box(b"free") * 400_000
    for content in (inside, outside):
        path = file(tmp_path, content)
        before = time.monotonic()
        assert refusal(path) == "damaged"
        assert time.monotonic() - before < 10


@pytest.mark.parametrize("size", [0, 1, 7, 0xFFFFFFFF])
def test_a_box_with_a_bad_size_is_refused(tmp_path, drawn, size):
    content = bytearray(drawn["mp4"])
    place = content.index(b"mvhd") - 4
    content[place : place + 4] = u32(size)
    assert refusal(file(tmp_path, bytes(content))) == "damaged"


def test_thousands_of_edits_do_not_multiply_with_the_pictures(tmp_path):
    edits = u32(0) + u32(4000) + (u32(1) + u32(1024) + u32(1 << 16)) * 4000
    clip = draw_clip(tmp_path / "a.mp4", frames=8)
    content = clip.read_bytes()
    place = content.index(b"elst") - 4
    old = content[place : place + 28]
    path = grown(content, old, box(b"elst", edits), clip)
    facts = probe(path)
    assert (facts.edited, facts.frames <= 8) == (True, True)


def grown(content, old, new, clip):
    """Replace a box of an index at the end of a file and correct the sizes of the boxes around it."""
    more = len(new) - len(old)
    content = content.replace(old, new, 1)
    for kind in (b"moov", b"trak", b"edts"):
        place = content.index(kind) - 4
        content = content[:place] + u32(int.from_bytes(content[place : place + 4], "big") + more) + content[place + 4 :]
    clip.write_bytes(content)
    return clip


@pytest.mark.parametrize("kind", ["mp4", "mov", "frag.mp4", "hevc.mp4", "mkv", "avi", "ts", "mpg"])
def test_whatever_bytes_are_wrong_there_is_a_refusal_or_facts(tmp_path, drawn, kind):
    chance = random.Random(kind)  # noqa: S311 - the same files every time
    original = drawn[kind]
    index = max(0, original.find(b"moov"))
    outcomes = set()
    wrong = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1")
    for _ in range(60):
        content = bytearray(original)
        for _ in range(chance.choice((1, 2, 6))):
            place = min(len(content) - 4, index + chance.randrange(1600)) if index else chance.randrange(len(content))
            content[place : place + 4] = chance.choice((*wrong, chance.randbytes(4)))
        path = file(tmp_path, bytes(content), f"a.{kind}")
        completeness(path)
        try:
            judge(probe(path))
            outcomes.add("facts")
        except RecordingRejected as error:
            outcomes.add(error.code if str(error).strip() else "no words")
    assert len(outcomes - {"no words"}) > 1, "the damage is felt"
    assert "no words" not in outcomes


def test_a_large_file_needs_no_more_memory_than_its_index(tmp_path):
    clip = draw_clip(tmp_path / "a.mp4", movflags="faststart")
    with clip.open("ab") as tail:
        tail.write(u32(1) + b"free" + struct.pack(">Q", 16 + (300 << 20)))
        tail.truncate(tail.tell() + (300 << 20))
    tracemalloc.start()
    facts = probe(clip)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert facts.frames == 25
    assert peak < 8 << 20


def test_a_file_that_changes_while_it_is_read_is_not_taken(tmp_path, monkeypatch):
    clip = draw_clip(tmp_path / "a.mp4")
    real = os.pread

    def growing(handle, length, at):
        with clip.open("ab") as tail:
            tail.write(b"\0")
        return real(handle, length, at)

    monkeypatch.setattr(os, "pread", growing)
    assert refusal(clip) == "truncated"
