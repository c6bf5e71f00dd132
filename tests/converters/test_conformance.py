from __future__ import annotations

from typing import Any

import pytest

from converters.conformance import SYNTAXES, Defect, judge
from models.recording import AudioFacts, StreamFacts
from models.study import TransferSyntax

T = TransferSyntax


def facts(**changes: Any) -> StreamFacts:
    found: dict[str, Any] = {
        "container": "mp4", "brand": "isom", "size": 1000, "sha256": "00", "codec": "h264", "codec_tag": "avc1",
        "profile": "High", "level": 41, "level_needed": 40, "width": 1920, "height": 1080, "frames": 100,
        "fps": "30000/1001", "duration": 3.3,
    }  # fmt: skip
    return StreamFacts(**{**found, **changes})


def hevc(**changes: Any) -> StreamFacts:
    base = {"codec": "hevc", "codec_tag": "hvc1", "profile": "Main", "level": 153, "level_needed": 0}
    return facts(**{**base, "width": 3840, "height": 2160, "fps": "60/1", **changes})


def mpeg2(**changes: Any) -> StreamFacts:
    base = {"codec": "mpeg2video", "codec_tag": "", "profile": "Main", "level": 4, "level_needed": 0}
    return facts(**{**base, "container": "mpegts", "brand": "", **changes})


def sound(codec="aac", rate=48000, channels=2):
    return (AudioFacts(codec=codec, sample_rate=rate, channels=channels),)


def test_the_table_names_every_transfer_syntax_once():
    listed = [uid for syntax in SYNTAXES for uid in syntax.uids]
    assert sorted(listed) == sorted(TransferSyntax)


MPEG2_ML = {"level": 8, "width": 720, "height": 576, "fps": "25/1", "interlaced": True, "pixel_aspect": "64:45"}


@pytest.mark.parametrize(
    ("stream", "uid"),
    [
        (facts(), T.H264_HIGH_41),
        (facts(level=31, level_needed=31), T.H264_HIGH_41),
        (facts(interlaced=True), T.H264_HIGH_41),
        (facts(level=42, level_needed=42, fps="60/1"), T.H264_HIGH_42_2D),
        (facts(level=41, level_needed=42, fps="60/1"), T.H264_HIGH_42_2D),
        (facts(stereo=True), T.H264_HIGH_42_3D),
        (facts(stereo=True, profile="Stereo High"), T.H264_STEREO_42),
        (hevc(), T.HEVC_MAIN_51),
        (hevc(profile="Main 10", bit_depth=10), T.HEVC_MAIN10_51),
        (mpeg2(**MPEG2_ML), T.MPEG2_ML),
        (mpeg2(**MPEG2_ML | {"height": 480, "fps": "30000/1001", "pixel_aspect": "8:9"}), T.MPEG2_ML),
        (mpeg2(fps="30000/1001", interlaced=True), T.MPEG2_HL),
        (mpeg2(width=1280, height=720, fps="60000/1001"), T.MPEG2_HL),
    ],
)
def test_a_conforming_stream_gets_its_transfer_syntax(stream, uid):
    verdict = judge(stream)
    assert (verdict.transfer_syntax, verdict.reasons) == (uid, ())


def test_all_syntaxes_that_fit_are_named_and_fragmentable_ones_come_last():
    blu_ray = judge(facts(fps="24000/1001"))
    assert blu_ray.conforms_to[:3] == (T.H264_HIGH_41, T.H264_HIGH_42_2D, T.H264_BD_41)
    assert blu_ray.conforms_to[3:] == (
        T.H264_HIGH_41_FRAGMENTABLE, T.H264_HIGH_42_2D_FRAGMENTABLE, T.H264_BD_41_FRAGMENTABLE,
    )  # fmt: skip


@pytest.mark.parametrize("rate", ["25/1", "30000/1001", "30/1", "50/1"])
def test_blu_ray_formats_are_only_those_of_table_8_4(rate):
    assert T.H264_BD_41 not in judge(facts(fps=rate)).conforms_to


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (facts(profile="Main"), "Main profile, DICOM needs High (PS3.5 8.2.7)"),
        (facts(profile="Constrained Baseline"), "Constrained Baseline profile"),
        (facts(profile="High 10", bit_depth=10), "10 bits, DICOM needs 8"),
        (facts(profile="High 4:2:2", chroma="4:2:2"), "4:2:2 colour, DICOM needs 4:2:0"),
        (facts(level=51), "level 5.1, at most 4.2"),
        (facts(level=40, level_needed=52), "labelled level 4.0, but size, rate, references or bit rate need level 5.2"),
        (facts(level=40, level_needed=99), "more than any level"),
        (facts(level=0), "level 0.0"),
        (facts(pixel_aspect="4:3"), "pixels are not square (4:3)"),
        (facts(rotation=90), "turned by 90 degrees"),
        (facts(variable_rate=True), "the frame rate varies"),
        (facts(hdr="hlg"), "high dynamic range (HLG)"),
        (facts(edited=True), "an edit list hides or reorders pictures"),
        (facts(starts_with_key_frame=False), "does not start with a key frame"),
        (facts(stereo=True, profile="Multiview High"), "Multiview High profile"),
        (facts(codec="vp9"), "vp9 video, DICOM knows MPEG-2, H.264 and HEVC"),
        (hevc(profile="Main, High tier"), "Main, High tier profile"),
        (hevc(level=156), "level 5.2, at most 5.1"),
        (hevc(width=7680, height=4320), "more than level 5.1 holds"),
        (hevc(fps="120/1"), "more than level 5.1 holds"),
        (hevc(bit_depth=10), "10 bits, DICOM needs 8"),
        (mpeg2(width=1440), "no format of the standard's table (PS3.5 8.2.6)"),
        (mpeg2(level=6, fps="25/1"), "another level of MPEG-2"),
        (mpeg2(width=1280, height=720, fps="50/1", interlaced=True), "1280x720 interlaced"),
        (mpeg2(**MPEG2_ML | {"fps": "30/1"}), "no format"),
        (mpeg2(profile="4:2:2", chroma="4:2:2", fps="25/1"), "4:2:2 profile, DICOM needs Main"),
    ],
)
def test_what_does_not_conform_is_named_with_its_clause(stream, words):
    verdict = judge(stream)
    assert verdict.transfer_syntax is None
    assert any(words in reason for reason in verdict.reasons), verdict.reasons


@pytest.mark.parametrize("defect", Defect)
def test_a_defect_of_the_stream_needs_encoding_and_one_of_the_file_only_a_new_container(defect):
    stream = judge(facts(defects=(str(defect),)))
    assert (stream.transfer_syntax, stream.reasons) == (None, (str(defect),))
    file = judge(facts(defects=("a box claims too much",)))
    assert (file.transfer_syntax, file.remux_reasons) == (T.H264_HIGH_41, ("a box claims too much",))


@pytest.mark.parametrize("profile", ["Main", "Constrained Baseline"])
def test_lenient_destinations_take_lower_profiles_for_high_and_nothing_else(profile):
    assert judge(facts(profile=profile), lenient_profiles=True).transfer_syntax == T.H264_HIGH_41
    assert judge(facts(profile="Extended"), lenient_profiles=True).transfer_syntax is None
    assert judge(facts(profile=profile, stereo=True), lenient_profiles=True).transfer_syntax == T.H264_HIGH_42_3D
    assert judge(hevc(profile="Main 10", bit_depth=8), lenient_profiles=True).transfer_syntax is None


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (facts(container="mov", brand="qt  "), "QuickTime file"),
        (facts(container="matroska", brand=""), "Matroska file"),
        (facts(container="avi", brand=""), "AVI file"),
        (facts(container="mpeg", brand=""), "MPEG-PS file"),
        (facts(container="mpegts", brand="m2ts"), "192 bytes"),
        (facts(brand="3gp5"), "brand '3gp5' is not plain MP4"),
        (facts(fragmented=True), "fragmented MP4"),
        (facts(codec_tag="avc3"), "sample entry avc3"),
        (hevc(codec_tag="hev1"), "sample entry hev1"),
        (facts(other_streams=("tmcd",)), "other tracks beside picture and sound: tmcd"),
        (facts(audio=sound() * 2), "2 sound tracks"),
    ],
)
def test_a_stream_in_the_wrong_file_is_moved_and_not_encoded(stream, words):
    verdict = judge(stream)
    assert verdict.transfer_syntax is not None
    assert verdict.needs_remux
    assert any(words in reason for reason in verdict.remux_reasons), verdict.remux_reasons


@pytest.mark.parametrize("brand", ["isom", "mp42", "iso6", "avc1", "M4V ", "XAVC"])
def test_a_plain_mp4_needs_nothing(brand):
    assert not judge(facts(brand=brand)).needs_remux


def test_a_transport_stream_is_a_payload_for_avc_and_a_program_stream_only_for_mpeg2():
    assert not judge(facts(container="mpegts", brand="")).needs_remux
    assert not judge(mpeg2(container="mpeg", fps="25/1")).needs_remux


@pytest.mark.parametrize(
    ("stream", "allowed"),
    [
        (facts(), True),
        (facts(audio=sound()), True),
        (facts(audio=sound(channels=6)), True),
        (facts(audio=sound(rate=44100)), False),
        (facts(audio=sound(channels=1)), False),
        (facts(audio=sound("mp3", 44100)), True),
        (facts(audio=sound("mp2", 44100)), True),
        (facts(audio=sound("opus")), False),
        (facts(audio=sound("pcm_s16le")), False),
        (facts(audio=sound("ac3")), False),
        (facts(audio=sound("ac3"), container="mpegts", brand=""), True),
        (facts(audio=sound("ac3"), container="matroska", brand=""), False),
        (facts(audio=sound("ac3"), container="mpegts", brand="m2ts"), False),
        (mpeg2(audio=sound("mp2"), fps="25/1"), False),
        (mpeg2(audio=sound("mp3"), fps="25/1"), True),
    ],
)
def test_sound_is_allowed_as_section_8_2_12_says_for_the_file_that_will_be_the_payload(stream, allowed):
    verdict = judge(stream)
    assert verdict.audio_allowed is allowed
    assert allowed or "8.2.12" in verdict.audio_reason
