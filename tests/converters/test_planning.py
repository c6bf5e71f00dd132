from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from converters.conformance import Defect
from converters.planning import plan
from converters.probe import probe
from converters.transcode import choose_level
from models.errors import ConversionFailed
from models.mapping import DestinationRow, ProcedureRow
from models.plan import AudioPlan, PlanKind
from models.recording import PrivateBox, StreamFacts
from models.study import SopClass, TransferSyntax
from tests.converters.clips import draw_clip
from tests.converters.test_conformance import facts, hevc, mpeg2, sound

T = TransferSyntax
BOX = PrivateBox(offset=100, size=50, header=8, name="moov/udta")


def procedure(**changes: Any) -> ProcedureRow:
    found: dict[str, Any] = {
        "code": "COLO", "modality": "ES", "sop_class": "video-endoscopic", "region_code": "71854001",
        "region_meaning": "Colon", "audio": "drop",
    }  # fmt: skip
    return ProcedureRow(**{**found, **changes})


def archive(syntaxes="102|104|107", name="pacs", **changes: Any) -> DestinationRow:
    return DestinationRow(
        name=name, kind="dicom", host="127.0.0.1", port=104, ae_title="PACS", transfer_syntaxes=syntaxes, **changes
    )


def planned(stream: StreamFacts, *archives: DestinationRow, **row: Any):
    return plan(stream, procedure(**row), archives or (archive(),), mapping_version=7)


def refused(stream: StreamFacts, *archives: DestinationRow, **row: Any) -> str:
    with pytest.raises(ConversionFailed) as caught:
        planned(stream, *archives, **row)
    assert caught.value.stage == "plan"
    return str(caught.value)


def test_a_conforming_file_is_passed_through_and_says_under_what():
    found = planned(facts(level=31, level_needed=31, private_boxes=(BOX,)))
    assert found.kind is PlanKind.PASSTHROUGH
    assert found.reasons[0] == (
        "passed through: H.264 High at level 3.1 in MP4 conforms to MPEG-4 AVC/H.264 High Profile / Level 4.1 "
        "(PS3.5 8.2.7)"
    )
    assert (found.transfer_syntax, found.sop_class, found.modality) == (T.H264_HIGH_41, SopClass.VIDEO_ENDOSCOPIC, "ES")
    assert (found.width, found.height, found.fps, found.mapping_version) == (1920, 1080, "30000/1001", 7)
    assert (found.audio, found.blanked) == (AudioPlan.NONE, (BOX,))


def test_a_real_clip_with_kept_sound_is_passed_through(tmp_path):
    clip = draw_clip(tmp_path / "a.mp4", audio="aac", metadata={"title": "Erika"})
    found = planned(probe(clip), audio="keep")
    assert (found.kind, found.audio) == (PlanKind.PASSTHROUGH, AudioPlan.KEEP)
    assert [box.name for box in found.blanked] == ["moov/udta"]


def test_dropping_the_sound_moves_the_picture_untouched():
    found = planned(facts(audio=sound(), private_boxes=(BOX,)))
    assert (found.kind, found.audio, found.blanked) == (PlanKind.REMUX, AudioPlan.DROP, ())
    assert "the sound (AAC 48 kHz stereo) is left out" in found.reasons[-1]


def test_a_quicktime_file_is_moved_and_keeps_sound_that_is_allowed():
    found = planned(facts(container="mov", brand="qt  ", audio=sound()), audio="keep")
    assert (found.kind, found.audio) == (PlanKind.REMUX, AudioPlan.KEEP)
    assert found.reasons[0].startswith("moved into a new MP4, streams untouched: QuickTime file")


def test_sound_that_is_not_allowed_is_encoded_when_it_is_to_be_kept():
    found = planned(facts(audio=sound(rate=44100)), audio="keep")
    assert (found.kind, found.audio) == (PlanKind.TRANSCODE, AudioPlan.ENCODE)
    assert planned(facts(audio=sound(rate=44100))).kind is PlanKind.REMUX


def test_a_lower_profile_is_encoded_again_unless_every_destination_is_lenient():
    stream = facts(profile="Main")
    assert planned(stream).reasons == ("re-encoded: Main profile, DICOM needs High (PS3.5 8.2.7)",)
    lenient, strict = archive(lenient_profiles=True), archive(name="strict")
    assert planned(stream, lenient, strict).kind is PlanKind.TRANSCODE
    found = planned(stream, lenient)
    assert found.kind is PlanKind.PASSTHROUGH
    assert "taken for High" in found.reasons[0]


def test_only_a_transfer_syntax_that_all_destinations_take_is_chosen():
    both = (archive("102|104"), archive("104|107", name="far"))
    assert planned(facts(), *both).transfer_syntax == T.H264_HIGH_42_2D
    assert planned(facts(), archive("102.1")).transfer_syntax == T.H264_HIGH_41_FRAGMENTABLE
    assert planned(hevc(), archive("107")).kind is PlanKind.PASSTHROUGH


def test_a_stream_that_a_destination_does_not_take_is_encoded_to_one_that_it_does():
    found = planned(hevc(fps="30/1", width=1920, height=1080), archive("102"))
    assert (found.kind, found.transfer_syntax) == (PlanKind.TRANSCODE, T.H264_HIGH_41)
    assert "not all destinations take (pacs takes 102)" in found.reasons[0]


@pytest.mark.parametrize("sop_class", ["video-endoscopic", "us-multi-frame"])
def test_ten_bits_are_never_passed_through_because_no_sop_class_has_room_for_them(sop_class):
    modality = "US" if sop_class == "us-multi-frame" else "ES"
    stream = hevc(profile="Main 10", bit_depth=10)
    found = planned(stream, archive("102|104|108"), sop_class=sop_class, modality=modality)
    assert found.kind is PlanKind.TRANSCODE
    assert "10 bits" in found.reasons[0]


def test_what_no_plan_can_carry_is_refused_in_words():
    assert "no video transfer syntax in common" in refused(facts(), archive("102"), archive("107", name="far"))
    assert "102 or 104" in refused(facts(profile="Main"), archive("100|107"))
    assert "add one to the routes table" in refused(facts(), DestinationRow(name="x", kind="fhir", url="http://x"))
    assert "2 videos" in refused(facts(video_streams=2))
    assert "mirrored" in refused(facts(defects=(str(Defect.MIRRORED),)))
    assert "dynamic range (HLG)" in refused(hevc(profile="Main 10", bit_depth=10, hdr="hlg"))
    assert "two views" in refused(facts(stereo=True), archive("102|104"))


def test_hl7_and_fhir_destinations_have_no_say():
    other = DestinationRow(name="ehr", kind="fhir", url="http://ehr", transfer_syntaxes="100")
    assert planned(facts(), archive(), other).kind is PlanKind.PASSTHROUGH


SHAPES = [
    # coded size, aspect, rotation -> size of the result
    ((3840, 2160), "1:1", 0, (1920, 1080)),
    ((3840, 2160), "1:1", 90, (1080, 1920)),
    ((720, 576), "16:11", 0, (1048, 576)),
    ((720, 576), "16:11", 270, (576, 1048)),
    ((1440, 1080), "4:3", 0, (1920, 1080)),
    ((720, 480), "8:9", 0, (720, 540)),
    ((776, 1080), "3625:3627", 0, (776, 1080)),
    ((2560, 1024), "1:1", 0, (1920, 768)),
    ((641, 481), "1:1", 0, (642, 482)),
    ((8, 8), "1:1", 0, (16, 16)),
    ((640, 480), "65535:1", 0, (1920, 16)),
]


@pytest.mark.parametrize(("size", "aspect", "rotation", "expected"), SHAPES)
def test_an_encoded_picture_is_upright_square_even_and_within_full_hd(size, aspect, rotation, expected):
    stream = facts(profile="Main", width=size[0], height=size[1], pixel_aspect=aspect, rotation=rotation)
    found = planned(stream)
    assert (found.width, found.height) == expected
    shown = size if rotation in (0, 180) else size[::-1]
    assert any(reason.startswith("scaled from") for reason in found.reasons) == (expected != shown)


RATES = ["15/1", "25/1", "30000/1001", "30/1", "50/1", "60000/1001", "60/1", "120/1", "240/1"]


@pytest.mark.parametrize("syntaxes", ["102", "104", "102|104", "102.1"])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("size", [(640, 480), (1280, 720), (1920, 1080), (1080, 1920), (3840, 2160)])
def test_every_planned_size_and_rate_fits_the_level_that_is_encoded(size, rate, syntaxes):
    found = planned(facts(profile="Main", width=size[0], height=size[1], fps=rate), archive(syntaxes))
    assert choose_level(found) in ("4.1", "4.2")
    assert Fraction(found.fps) == Fraction(rate), "no picture of a constant rate is lost"
    assert abs(found.width / found.height - size[0] / size[1]) < 0.03


def test_full_hd_at_60_needs_104_and_loses_size_rather_than_pictures_without_it():
    stream = facts(profile="Main", fps="60/1")
    assert planned(stream).transfer_syntax == T.H264_HIGH_42_2D
    found = planned(stream, archive("102"))
    assert (found.transfer_syntax, found.fps) == (T.H264_HIGH_41, "60/1")
    assert found.width < 1920


def test_a_variable_rate_becomes_constant_and_says_what_that_means():
    found = planned(facts(variable_rate=True, fps="15/1", width=776, height=1080, frames=369, duration=29.1))
    assert (found.kind, found.fps) == (PlanKind.TRANSCODE, "15/1")
    assert any("each picture has a place of its own" in reason for reason in found.reasons)


def test_a_variable_rate_that_does_not_fit_gets_a_coarser_grid_and_keeps_its_size():
    stream = facts(variable_rate=True, fps="60/1", frames=200, duration=10.0)
    found = planned(stream, archive("102"))
    assert (found.width, found.height, found.fps) == (1920, 1080, "30/1")
    assert any("a little later" in reason for reason in found.reasons)


def test_encoding_again_writes_no_private_box_and_encodes_only_sound_that_needs_it():
    found = planned(facts(profile="Main", private_boxes=(BOX,), audio=sound()), audio="keep")
    assert (found.kind, found.audio, found.blanked) == (PlanKind.TRANSCODE, AudioPlan.KEEP, ())
    assert planned(facts(profile="Main", audio=sound("opus")), audio="keep").audio is AudioPlan.ENCODE


def test_mpeg2_stays_mpeg2_where_a_destination_takes_it():
    stream = mpeg2(fps="25/1")
    assert planned(stream, archive("101|102")).kind is PlanKind.PASSTHROUGH
    assert planned(stream, archive("102")).kind is PlanKind.TRANSCODE


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("a.mp4", {}, PlanKind.PASSTHROUGH),
        ("a.ts", {}, PlanKind.PASSTHROUGH),
        ("a.mov", {}, PlanKind.REMUX),
        ("a.mkv", {"options": {"bf": "2"}}, PlanKind.REMUX),
        ("f.mp4", {"movflags": "frag_keyframe+empty_moov"}, PlanKind.REMUX),
        ("a.avi", {"options": {"bf": "2"}}, PlanKind.TRANSCODE),
        ("a.h264", {"container_format": "h264"}, PlanKind.TRANSCODE),
        ("x.mp4", {"codec": "libx265", "level": "3.0"}, PlanKind.REMUX),
        ("v.mp4", {"times": [0, 40, 100, 120, 500], "frames": 5}, PlanKind.TRANSCODE),
        ("m.mpg", {"codec": "mpeg2video"}, PlanKind.TRANSCODE),
    ],
)
def test_drawn_recordings_are_planned_by_what_they_are(tmp_path, name, options, kind):
    found = planned(probe(draw_clip(tmp_path / name, **options)))
    assert found.kind is kind, found.reasons
