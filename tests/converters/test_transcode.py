from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from converters.planning import plan
from converters.probe import probe
from converters.transcode import Slots, choose_level, transcode
from mappings.tables import load_set
from models.errors import ConversionFailed
from models.order import Code
from models.plan import AudioPlan, PlanKind
from models.study import TransferSyntax
from tests.converters.clips import draw_clip
from tests.converters.jobs import bar_places, decoded, facts_of, make_clip, plan_for


def run(source, target, *, facts=None, **plan):
    found = facts_of(source, **(facts or {}))
    return transcode(source, target, found, plan_for(found, PlanKind.TRANSCODE, **plan))


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [("a.avi", "mjpeg", "yuvj422p"), ("a.mkv", "ffv1", "yuv444p"), ("a.avi", "mpeg4", "yuv420p"),
     ("a.mp4", "libx264", "yuv420p10le"), ("a.mov", "prores_ks", "yuv422p10le"), ("a.mpg", "mpeg2video", "yuv420p")],
)  # fmt: skip
def test_every_codec_becomes_high_profile_with_every_picture(tmp_path, name, codec, pix_fmt):
    source = make_clip(tmp_path / name, codec=codec, pix_fmt=pix_fmt)
    made = run(source, tmp_path / "out.mp4")
    assert made.frames == 30
    assert made.psnr > 40
    with av.open(str(tmp_path / "out.mp4")) as file:
        context = file.streams.video[0].codec_context
        assert (context.name, context.profile, context.level, context.pix_fmt) == ("h264", "High", 41, "yuv420p")
    assert bar_places(decoded(tmp_path / "out.mp4")) == list(range(30))


@pytest.mark.parametrize(("rotation", "corner"), [(90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_rotation_is_baked_in(tmp_path, rotation, corner):
    source = make_clip(tmp_path / "a.mp4", frames=3)
    size = {"width": 240, "height": 320} if rotation != 180 else {}
    run(source, tmp_path / "out.mp4", facts={"rotation": rotation}, **size)
    picture = decoded(tmp_path / "out.mp4")[0].to_ndarray(format="rgb24").astype(int)
    rows, columns = [slice(20, 40) if place == 0 else slice(-40, -20) for place in corner]
    red, green, blue = picture[rows, columns].mean((0, 1))
    assert green > red + 50, "the green corner of the source (top left) went where a clockwise turn takes it"
    assert green > blue + 50


def test_pixels_become_square_without_distortion(tmp_path):
    source = make_clip(tmp_path / "a.avi", codec="mpeg4", size=(320, 240), aspect=Fraction(4, 3))
    run(source, tmp_path / "out.mp4", facts={"pixel_aspect": "4:3"}, width=426, height=240)
    with av.open(str(tmp_path / "out.mp4")) as file:
        context = file.streams.video[0].codec_context
        assert (context.width, context.height) == (426, 240)
        assert context.sample_aspect_ratio in (None, 0, 1)


def test_a_picture_that_does_not_fill_the_planned_size_is_centred_on_black(tmp_path):
    source = make_clip(tmp_path / "a.mp4", size=(320, 240), frames=2)
    run(source, tmp_path / "out.mp4", width=640, height=240)
    luma = decoded(tmp_path / "out.mp4")[0].to_ndarray(format="gray")
    assert luma[:, :140].max() < 30
    assert luma[:, 180:460].mean() > 40
    assert luma[:, 500:].max() < 30


def test_an_odd_size_loses_at_most_one_row_and_column(tmp_path):
    source = make_clip(tmp_path / "a.mkv", codec="ffv1", pix_fmt="yuv444p", size=(321, 241), frames=3)
    run(source, tmp_path / "out.mp4", width=320, height=240)
    before = decoded(source)[0].to_ndarray(format="gray").astype(int)[8:232, 8:312]
    after = decoded(tmp_path / "out.mp4")[0].to_ndarray(format="gray").astype(int)[8:232, 8:312]
    assert np.abs(before - after).mean() < 2, "cropped, not rescaled"


def test_interlaced_pictures_are_deinterlaced_one_for_one(tmp_path):
    source = make_clip(tmp_path / "a.mpg", codec="mpeg2video", options={"flags": "+ilme+ildct", "top": "1"}, frames=25)
    made = run(source, tmp_path / "out.mp4", facts={"interlaced": True})
    assert made.frames == 25
    assert len(decoded(tmp_path / "out.mp4")) == 25


def test_full_range_becomes_limited_range_with_the_same_look(tmp_path):
    source = make_clip(tmp_path / "a.avi", codec="mjpeg", pix_fmt="yuvj420p", frames=3)
    run(source, tmp_path / "out.mp4")
    before = decoded(source)[0].to_ndarray(format="rgb24").astype(int)
    after = decoded(tmp_path / "out.mp4")[0].to_ndarray(format="rgb24").astype(int)
    assert np.abs(before.mean((0, 1)) - after.mean((0, 1))).max() < 3


def test_pictures_of_varying_rate_keep_their_time_and_none_is_lost(tmp_path):
    times = [0, 40, 80, 85, 90, 130, 600, 640, 680, 720]
    source = make_clip(tmp_path / "a.mkv", frames=10, times=times)
    made = run(source, tmp_path / "out.mp4", facts={"variable_rate": True, "fps": "25/1", "frames": 10}, fps="25/1")
    places = bar_places(decoded(tmp_path / "out.mp4"))
    assert made.frames == len(places)
    assert sorted(set(places)) == list(range(10)), "every source picture is there"
    assert places.index(6) == 15, "what was shown at 600 ms still is"
    assert places[6:15] == [5] * 9, "and the pause repeats the picture before it"


def test_slots_never_collide_and_a_clock_fault_is_no_pause():
    slots = Slots(Fraction(25), timed=True)
    assert [slots.place(Fraction(ms, 1000)) for ms in (0, 1, 2, 200)] == [0, 1, 2, 5]
    assert slots.place(Fraction(100_000)) == 6
    assert slots.place(Fraction(100_000) + Fraction(2, 25)) == 8
    assert slots.place(Fraction(5)) == 9
    assert slots.place(None) == 10


def test_a_change_of_size_within_the_recording_keeps_all_pictures(tmp_path):
    for name, size in (("1.ts", (320, 240)), ("2.ts", (640, 480))):
        make_clip(tmp_path / name, size=size, frames=12, options={"bf": "0"})
    (tmp_path / "a.ts").write_bytes((tmp_path / "1.ts").read_bytes() + (tmp_path / "2.ts").read_bytes())
    made = run(
        tmp_path / "a.ts", tmp_path / "out.mp4", facts={"frames": 24, "fps": "25/1", "width": 320, "height": 240}
    )
    assert made.frames == 24


@pytest.mark.parametrize("sound", ["aac", "pcm_s16le", "mp2"])
def test_sound_becomes_aac_48_khz_stereo(tmp_path, sound):
    source = make_clip(tmp_path / "a.mkv", frames=50, sound=sound)
    run(source, tmp_path / "out.mp4", audio=AudioPlan.ENCODE)
    with av.open(str(tmp_path / "out.mp4")) as file:
        audio = file.streams.audio[0]
        assert (audio.codec_context.name, audio.codec_context.sample_rate, audio.codec_context.channels) == (
            "aac", 48_000, 2,
        )  # fmt: skip
        assert float(audio.duration * audio.time_base) == pytest.approx(2.0, abs=0.1)


def test_the_last_pictures_come_out_too_when_the_sound_is_the_first_track(tmp_path):
    source = make_clip(tmp_path / "a.mp4", frames=50, sound="aac", sound_first=True)
    with av.open(str(source)) as file:
        assert file.streams.video[0].index == 1
    assert run(source, tmp_path / "out.mp4", audio=AudioPlan.ENCODE).frames == 50


def test_sound_that_is_dropped_is_gone(tmp_path):
    source = make_clip(tmp_path / "a.mp4", sound="aac")
    run(source, tmp_path / "out.mp4", audio=AudioPlan.DROP)
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert not file.streams.audio


def test_sound_that_is_kept_is_copied(tmp_path):
    source = make_clip(tmp_path / "a.mp4", sound="aac")
    run(source, tmp_path / "out.mp4", audio=AudioPlan.KEEP)
    with av.open(str(source)) as old, av.open(str(tmp_path / "out.mp4")) as new:
        before = [bytes(packet) for packet in old.demux(audio=0) if packet.size]
        assert [bytes(packet) for packet in new.demux(audio=0) if packet.size] == before


def test_equal_input_gives_equal_bytes(tmp_path):
    source = make_clip(tmp_path / "a.avi", codec="mpeg4", frames=60)
    for name in ("1.mp4", "2.mp4"):
        run(source, tmp_path / name)
    assert (tmp_path / "1.mp4").read_bytes() == (tmp_path / "2.mp4").read_bytes()


def test_a_damaged_picture_fails_with_its_place_and_not_the_files_name(tmp_path):
    source = make_clip(tmp_path / "MUSTER.mp4", frames=50, noise=True, options={"g": "5"})
    facts = facts_of(source)
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as file:
        entry = file.streams.video[0].index_entries[20]
    for place in range(entry.pos + entry.size // 4, entry.pos + entry.size, entry.size // 8):
        data[place] ^= 0x10
    source.write_bytes(data)
    with pytest.raises(ConversionFailed, match="damaged") as caught:
        transcode(source, tmp_path / "out.mp4", facts, plan_for(facts, PlanKind.TRANSCODE))
    assert "MUSTER" not in str(caught.value)


def test_missing_pictures_fail_with_their_number(tmp_path):
    source = make_clip(tmp_path / "a.mp4")
    with pytest.raises(ConversionFailed, match="only 30 of 31 pictures"):
        run(source, tmp_path / "out.mp4", facts={"frames": 31})


def test_the_level_follows_size_and_rate(tmp_path):
    facts = facts_of(make_clip(tmp_path / "a.mp4", frames=2))
    syntax = TransferSyntax.H264_HIGH_42_2D.value
    assert choose_level(plan_for(facts, width=1920, height=1080, fps="30/1")) == "4.1"
    assert choose_level(plan_for(facts, width=1920, height=1080, fps="60/1", transfer_syntax=syntax)) == "4.2"
    for planned in (
        plan_for(facts, width=1920, height=1080, fps="60/1"),
        plan_for(facts, width=3840, height=2160, fps="30/1", transfer_syntax=syntax),
        plan_for(facts, transfer_syntax=TransferSyntax.HEVC_MAIN_51.value),
    ):
        with pytest.raises(ConversionFailed, match="plan a smaller size or rate"):
            choose_level(planned)


def test_metadata_that_is_not_utf8_stops_no_conversion(tmp_path: Path) -> None:
    """A recorder of 2009 writes its operator's name in Latin-1; PyAV 18 refuses such a file, unless told."""
    drawn = draw_clip(tmp_path / "drawn.avi", codec="mpeg4", profile=None, metadata={"title": "Muell"})
    source = tmp_path / "latin.avi"
    source.write_bytes(drawn.read_bytes().replace(b"Muell", "Müll\0".encode("latin-1")))
    facts = probe(source)
    rows = load_set(0)
    archives = tuple(row for row in rows.destinations if row.kind == "dicom")
    planned = plan(facts, rows.procedure(Code(value="EGD", scheme="L"), ""), archives, mapping_version=0)
    assert transcode(source, tmp_path / "out.mp4", facts, planned).frames == facts.frames
