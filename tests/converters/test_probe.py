from __future__ import annotations

import hashlib
from fractions import Fraction

import av
import pytest

from converters.coded_units import sized_units
from converters.conformance import Defect
from converters.parameter_sets import Parameters, level_needed
from converters.probe import probe
from models.recording import AudioFacts
from tests.converters.clips import draw_clip, rewrite


def u32(value):
    return (value & 0xFFFFFFFF).to_bytes(4, "big")


def decoded(path):
    with av.open(str(path)) as file:
        return sum(1 for _ in file.decode(video=0))


def test_a_plain_recording_is_read_to_the_last_fact(tmp_path):
    clip = draw_clip(tmp_path / "a.mp4", size=(640, 480), rate="30000/1001", frames=31, audio="aac", level="3.1")
    facts = probe(clip)
    assert (facts.container, facts.brand, facts.codec, facts.codec_tag) == ("mp4", "isom", "h264", "avc1")
    assert (facts.profile, facts.level, facts.level_needed) == ("High", 31, 30)
    assert (facts.width, facts.height, facts.chroma, facts.bit_depth) == (640, 480, "4:2:0", 8)
    assert (facts.frames, facts.fps, facts.variable_rate) == (31, "30000/1001", False)
    assert facts.duration == pytest.approx(31 * 1001 / 30000)
    assert facts.audio == (AudioFacts(codec="aac", sample_rate=48000, channels=2),)
    assert facts.sha256 == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert (facts.size, facts.defects, facts.moov_first, facts.edited) == (clip.stat().st_size, (), False, False)


CONTAINERS = {
    "a.mp4": {},
    "b.mov": {"audio": "pcm_s16le"},
    "c.mkv": {"options": {"bf": "2"}},
    "d.avi": {},
    "e.ts": {"audio": "mp2"},
    "f.mpg": {"codec": "mpeg2video"},
    "g.mp4": {"movflags": "frag_keyframe+empty_moov"},
    "h.mp4": {"codec": "libx265"},
    "i.mp4": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "j.h264": {"container_format": "h264"},
    "k.flv": {},
    "l.mp4": {"options": {"x264-params": "interlaced=1"}},
    "m.ts": {"options": {"x264-params": "interlaced=1"}},
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_frame_count_is_what_a_decoder_shows_in_every_container(tmp_path, name):
    clip = draw_clip(tmp_path / name, size=(160, 120), frames=23, **CONTAINERS[name])
    assert probe(clip).frames == decoded(clip) == 23


@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.flv", "a.mp4", "a.mov"])
@pytest.mark.parametrize("rate", ["24000/1001", "25/1", "30000/1001", "30/1", "50/1"])
def test_a_rate_survives_the_rounding_of_every_container(tmp_path, name, rate):
    facts = probe(draw_clip(tmp_path / name, size=(64, 64), frames=120, rate=rate))
    assert (facts.fps, facts.variable_rate) == (rate, False)


@pytest.mark.parametrize(
    ("name", "options", "container"),
    [
        ("a.mkv", {}, "matroska"),
        ("a.avi", {}, "avi"),
        ("a.ts", {}, "mpegts"),
        ("a.mpg", {"codec": "mpeg2video"}, "mpeg"),
        ("a.mov", {}, "mov"),
        ("video.txt", {"container_format": "mp4"}, "mp4"),
    ],
)
def test_the_content_says_what_a_container_is_and_not_its_name(tmp_path, name, options, container):
    assert probe(draw_clip(tmp_path / name, size=(160, 120), **options)).container == container


@pytest.mark.parametrize(
    ("options", "profile", "chroma", "depth"),
    [
        ({"profile": "main"}, "Main", "4:2:0", 8),
        ({"profile": "baseline"}, "Constrained Baseline", "4:2:0", 8),
        ({"profile": "high10", "pix_fmt": "yuv420p10le"}, "High 10", "4:2:0", 10),
        ({"profile": "high422", "pix_fmt": "yuv422p"}, "High 4:2:2", "4:2:2", 8),
        ({"profile": "high444", "pix_fmt": "yuv444p"}, "High 4:4:4 Predictive", "4:4:4", 8),
        ({"codec": "libx265"}, "Main", "4:2:0", 8),
        ({"codec": "libx265", "pix_fmt": "yuv420p10le"}, "Main 10", "4:2:0", 10),
    ],
)
def test_profile_chroma_and_depth_come_from_the_stream(tmp_path, options, profile, chroma, depth):
    facts = probe(draw_clip(tmp_path / "a.mp4", frames=5, **options))
    assert (facts.profile, facts.chroma, facts.bit_depth) == (profile, chroma, depth)


def test_a_container_that_lies_about_size_and_profile_is_not_believed(tmp_path):
    clip = draw_clip(tmp_path / "a.mp4", frames=5, profile="high422", pix_fmt="yuv422p")
    rewrite(clip, b"avc1", 24, b"\x07\x80\x04\x38", nth=1)
    rewrite(clip, b"avcC", 1, bytes([100]))
    facts = probe(clip)
    assert (facts.width, facts.height, facts.profile) == (320, 240, "High 4:2:2")
    assert facts.defects == ("the container gives another picture size than the stream, which counts",)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_high_dynamic_range_full_range_and_pixel_shape_are_seen(tmp_path, name):
    params = "fullrange=on:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
    clip = draw_clip(tmp_path / name, frames=5, aspect=Fraction(4, 3), options={"x264-params": params})
    facts = probe(clip)
    assert (facts.hdr, facts.full_range, facts.pixel_aspect) == ("pq", True, "4:3")


def test_hevc_usability_information_is_read_behind_all_its_tools(tmp_path):
    params = "log-level=none:transfer=arib-std-b67:range=full:scaling-list=default:bframes=8:ref=6"
    clip = draw_clip(
        tmp_path / "a.mp4", codec="libx265", size=(322, 242), aspect=Fraction(16, 11), options={"x265-params": params}
    )
    facts = probe(clip)
    assert (facts.hdr, facts.full_range, facts.pixel_aspect) == ("hlg", True, "16:11")
    assert (facts.width, facts.height) == (322, 242)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_frame_packing_is_stereo(tmp_path, name):
    facts = probe(draw_clip(tmp_path / name, frames=5, options={"x264-params": "frame-packing=3"}))
    assert facts.stereo


@pytest.mark.parametrize(("degrees", "matrix"), [(90, (0, 1, -1, 0)), (180, (-1, 0, 0, -1)), (270, (0, -1, 1, 0))])
def test_rotation_is_given_clockwise(tmp_path, degrees, matrix):
    clip = draw_clip(tmp_path / "a.mp4", frames=5)
    a, b, c, d = (value * 65536 for value in matrix)
    rewrite(clip, b"tkhd", 40, u32(a) + u32(b) + u32(0) + u32(c) + u32(d))
    assert probe(clip).rotation == degrees
    with av.open(str(clip)) as file:
        assert -next(file.decode(video=0)).rotation % 360 == degrees, "FFmpeg turns the same way"


def test_a_mirrored_recording_is_marked_because_sides_could_be_confused(tmp_path):
    clip = rewrite(draw_clip(tmp_path / "a.mp4", frames=5), b"tkhd", 40, u32(-65536))
    assert Defect.MIRRORED in probe(clip).defects


def test_a_variable_rate_gets_a_grid_with_a_place_for_every_picture(tmp_path):
    times = [0, 77, 155, 198, 280, 391, 450, 530, 610, 690]
    facts = probe(draw_clip(tmp_path / "a.mp4", frames=10, times=times))
    assert facts.variable_rate
    slots = [round(time * float(facts.rate) / 1000) for time in times]
    assert len(set(slots)) == 10


def test_a_pause_does_not_change_the_rate_of_the_other_pictures(tmp_path):
    times = [number * 40 + (2000 if number > 12 else 0) for number in range(25)]
    facts = probe(draw_clip(tmp_path / "a.mp4", frames=25, times=times))
    assert (facts.variable_rate, facts.fps) == (True, "25/1")


def test_an_edit_list_that_hides_pictures_is_counted_as_players_count(tmp_path):
    clip = draw_clip(tmp_path / "a.mp4", frames=25, options={"bf": "0"})
    rewrite(clip, b"elst", 8, u32(400) + u32(12800 // 25 * 5))
    facts = probe(clip)
    assert (facts.edited, facts.frames) == (True, 10)


def test_a_recording_that_does_not_start_with_a_key_frame_says_so(tmp_path):
    clip = draw_clip(tmp_path / "a.mp4", frames=25, options={"bf": "0", "g": "10", "sc_threshold": "0"})
    rewrite(clip, b"stss", 8, u32(2))
    facts = probe(clip)
    assert (facts.starts_with_key_frame, facts.frames) == (False, 24)


def test_a_change_of_size_inside_the_stream_is_found_though_the_header_knows_nothing(tmp_path):
    first = draw_clip(tmp_path / "a.ts", frames=10)
    second = draw_clip(tmp_path / "b.ts", size=(640, 480), frames=10)
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    assert Defect.CHANGES in probe(both).defects


def test_parameters_inside_the_stream_that_contradict_the_header_are_found(tmp_path):
    inside = {"x264-params": "repeat-headers=1"}
    clip = draw_clip(tmp_path / "a.mp4", frames=10, size=(320, 240), options=inside)
    other = draw_clip(tmp_path / "b.mp4", frames=10, size=(352, 240), options=inside).read_bytes()
    assert probe(clip).defects == ()
    start = other.index(b"avcC") + 4
    size = int.from_bytes(other[start + 6 : start + 8], "big")
    rewrite(clip, b"avcC", 6, other[start + 6 : start + 8 + size])
    assert Defect.CHANGES in probe(clip).defects


def test_a_cut_unit_is_left_out_and_not_misread():
    whole = b"\0\0\0\2ab"
    assert sized_units(whole + b"\0\0\0\5cde", 4) == [b"ab"]


def test_parameters_that_only_the_stream_holds_are_read_there(tmp_path):
    clip = draw_clip(tmp_path / "a.mp4", frames=10, options={"x264-params": "repeat-headers=1"})
    content = clip.read_bytes()
    place = content.index(b"avcC")
    # Make the configuration an empty one of the same length: no sets, the rest is free space.
    old = int.from_bytes(content[place - 4 : place], "big")
    empty = u32(15) + b"avcC" + content[place + 4 : place + 9] + b"\xe0\x00"
    clip.write_bytes(
        content[: place - 4] + empty + u32(old - 15) + b"free" + bytes(old - 23) + content[place - 4 + old :]
    )
    facts = probe(clip)
    assert (facts.width, Defect.SETS_IN_STREAM in facts.defects) == (320, True)


def test_pictures_of_a_raw_stream_carry_no_times(tmp_path):
    facts = probe(draw_clip(tmp_path / "a.h264", container_format="h264"))
    assert Defect.NO_TIMES in facts.defects


def test_avi_is_known_to_lose_the_order_of_reordered_pictures(tmp_path):
    assert Defect.NO_ORDER in probe(draw_clip(tmp_path / "a.avi", options={"bf": "2"})).defects


def test_packets_of_192_bytes_are_told_from_plain_ones(tmp_path):
    plain = draw_clip(tmp_path / "a.ts")
    assert probe(plain).brand == ""
    content = plain.read_bytes()
    wide = tmp_path / "a.m2ts"
    wide.write_bytes(b"".join(b"\0\0\0\0" + content[at : at + 188] for at in range(0, len(content), 188)))
    assert probe(wide).brand == "m2ts"


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("name", ["a.mp4", "a.ts", "a.mov"])
def test_sound_is_described_alike_in_all_containers(tmp_path, name, channels):
    clip = draw_clip(tmp_path / name, frames=5, audio="aac", audio_rate=44100, channels=channels)
    assert probe(clip).audio == (AudioFacts(codec="aac", sample_rate=44100, channels=channels),)


def test_a_sound_header_that_lies_does_not_beat_the_decoder_configuration(tmp_path):
    clip = draw_clip(tmp_path / "a.mp4", frames=5, audio="aac", audio_rate=44100, channels=1)
    rewrite(clip, b"mp4a", 16, b"\x00\x02")
    rewrite(clip, b"mp4a", 24, b"\xbb\x80")
    assert probe(clip).audio == (AudioFacts(codec="aac", sample_rate=44100, channels=1),)


def test_an_hour_of_uncompressed_sound_is_not_counted_one_by_one(tmp_path):
    clip = draw_clip(tmp_path / "a.mov", frames=5, audio="pcm_s16le")
    rewrite(clip, b"stsz", 8, u32(1 << 31), nth=1)
    assert probe(clip).frames == 5


@pytest.mark.parametrize(
    ("size", "rate", "references", "bits", "level"),
    [
        ((1920, 1088), 30, 4, 20_000_000, 40),
        ((1920, 1088), 30, 4, 40_000_000, 41),
        ((1920, 1088), 60, 4, 20_000_000, 42),
        ((1920, 1088), 30, 5, 20_000_000, 50),
        ((3840, 2160), 30, 1, 60_000_000, 51),
        ((1280, 720), 25, 4, 5_000_000, 31),
    ],
)
def test_the_level_is_computed_from_size_rate_references_and_peak(size, rate, references, bits, level):
    blocks = (size[0] // 16) * (size[1] // 16)
    sets = Parameters("h264", "High", 10, "4:2:0", 8, *size, blocks=blocks, references=references)
    assert level_needed(sets, Fraction(rate), bits) == level
