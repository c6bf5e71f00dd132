from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

import pytest

from converters.convert import convert
from converters.dataset import build, decimal
from converters.payload import Payload
from models.errors import ConversionFailed
from models.mapping import StationRow
from models.order import Code
from models.patient import Identifier, Patient, PersonName
from models.plan import AudioPlan, PlanKind
from models.study import SopClass, TransferSyntax
from tests.converters.jobs import CET, facts_of, judge, make_clip, make_job, order, procedure


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", sound="aac")


def dataset(clip, *, rate=Fraction(30_000, 1001), psnr=None, **changes):
    job = make_job(clip, clip.with_name("out.dcm"), **changes)
    payload = Payload(path=clip, size=1001, frames=30, rows=240, columns=320, rate=rate, psnr=psnr)
    return build(job, payload)


def errors_of(path):
    return [line for line in judge("dciodvfy", "dicom3tools", "-new", path).stderr.splitlines() if "Error" in line]


@pytest.mark.parametrize("kind", [PlanKind.PASSTHROUGH, PlanKind.TRANSCODE])
@pytest.mark.parametrize("sop_class", list(SopClass))
def test_dciodvfy_finds_no_error_in_any_kind_of_object(clip, tmp_path, sop_class, kind):
    audio = AudioPlan.KEEP if kind is PlanKind.PASSTHROUGH else AudioPlan.NONE
    convert(make_job(clip, tmp_path / "a.dcm", kind, sop_class=sop_class, plan={"audio": audio}), lambda _: None)
    assert errors_of(tmp_path / "a.dcm") == []
    assert judge("dcmftest", "dcmtk", tmp_path / "a.dcm").stdout.startswith("yes")


@pytest.mark.parametrize("sop_class", list(SopClass))
@pytest.mark.parametrize("side", ["R", "L", "B"])
def test_dciodvfy_accepts_a_paired_organ(clip, tmp_path, sop_class, side):
    paired = procedure(sop_class, paired=True, body_part="KNEE", region_code="72696002", region_meaning="Knee")
    job = make_job(
        clip, tmp_path / "a.dcm", sop_class=sop_class, plan={"audio": AudioPlan.KEEP}, procedure=paired,
        order=order(laterality=side, modality=paired.modality),
    )  # fmt: skip
    convert(job, lambda _: None)
    assert errors_of(tmp_path / "a.dcm") == []


def test_dciodvfy_accepts_an_order_that_says_little(clip, tmp_path):
    bare = order(
        patient=Patient(identifier=Identifier(value="1")), accession="", requested_procedure_id="",
        scheduled_step_id="", procedure=Code(), scheduled_at=None, reason="", visit_number=None,
        referrer=PersonName(), performer=PersonName(),
    )  # fmt: skip
    job = make_job(clip, tmp_path / "a.dcm", order=bare, station=None, started_at=None, plan={"audio": AudioPlan.KEEP})
    convert(job, lambda _: None)
    assert errors_of(tmp_path / "a.dcm") == []


def test_the_patient_carries_issuer_type_and_other_ids(clip):
    found = dataset(clip, issuer_of_patient_id="HOSPITAL-PACS")
    assert (found.PatientID, found.IssuerOfPatientID, found.TypeOfPatientID) == ("4711", "HOSPITAL-PACS", "TEXT")
    qualifiers = found.IssuerOfPatientIDQualifiersSequence[0]
    assert (qualifiers.UniversalEntityID, qualifiers.UniversalEntityIDType) == ("1.2.3.4", "ISO")
    assert qualifiers.IdentifierTypeCode == "MR"
    other = found.OtherPatientIDsSequence[0]
    assert (other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID) == ("756.1234", "NAT", "TEXT")
    assert (found.PatientBirthDate, found.PatientSex) == ("19700102", "F")


@pytest.mark.parametrize(
    ("family", "given"), [("山田", "太郎"), ("Σωκράτους", "Ελένη"), ("محمد", "فاطمة"), ("Łukasiewicz-Müller", "Zoë")]
)
def test_names_of_every_script_survive_into_the_file(clip, tmp_path, family, given):
    patient = Patient(identifier=Identifier(value="1"), name=PersonName(family=family, given=given))
    job = make_job(clip, tmp_path / "a.dcm", order=order(patient=patient), plan={"audio": AudioPlan.KEEP})
    convert(job, lambda _: None)
    dump = judge("dcmdump", "dcmtk", "+P", "PatientName", "+P", "SpecificCharacterSet", tmp_path / "a.dcm").stdout
    assert f"[{family}^{given}]" in dump
    assert "ISO_IR 192" in dump


def test_the_study_and_the_request_say_what_was_ordered(clip):
    found = dataset(clip, issuer_of_accession="RIS-A")
    item = found.RequestAttributesSequence[0]
    assert (found.AccessionNumber, found.StudyID, found.StudyInstanceUID) == ("E1001", "RP-7", "2.25.41")
    assert (item.AccessionNumber, item.RequestedProcedureID) == ("E1001", "RP-7")
    assert item.ScheduledProcedureStepID == "SPS-7"
    assert item.RequestedProcedureCodeSequence[0].CodeValue == "COLO"
    assert item.RequestedProcedureCodeSequence[0].CodingSchemeDesignator == "99HOSP"
    assert item.ReasonForTheRequestedProcedure == "Bleeding"
    issuer = found.IssuerOfAccessionNumberSequence[0]
    assert (issuer.LocalNamespaceEntityID, issuer.UniversalEntityID) == ("RIS-A", "1.2.3.9")
    assert found.ProcedureCodeSequence[0].CodeMeaning == "Colonoscopy"
    assert found.AnatomicRegionSequence[0].CodeValue == "71854001"
    assert str(found.ReferringPhysicianName) == "Ruf^Rita"
    assert str(found.PerformingPhysicianName) == "Tun^Theo"
    assert found.AdmissionID == "V-1"


@pytest.mark.parametrize(
    "change",
    [
        {"accession": "A" * 17},
        {"requested_procedure_id": "R" * 17},
        {"scheduled_step_id": "S" * 17},
        {"accession": "A\\B"},
        {"accession": " A1"},
        {"patient": Patient(identifier=Identifier(value="9" * 65))},
    ],
)
def test_an_identifier_that_does_not_fit_holds_the_recording_and_is_never_cut(clip, change):
    with pytest.raises(ConversionFailed, match="does not fit"):
        dataset(clip, order=order(**change))


def test_a_code_that_no_item_can_carry_is_left_out_but_its_text_stays(clip):
    found = dataset(clip, order=order(procedure=Code(value="X", meaning="Long scheme", scheme="S" * 17)))
    assert "ProcedureCodeSequence" not in found
    assert found.StudyDescription == "Long scheme"


def test_a_long_code_keeps_every_character(clip):
    found = dataset(clip, order=order(procedure=Code(value="C" * 30, meaning="Long", scheme="99A")))
    assert found.ProcedureCodeSequence[0].LongCodeValue == "C" * 30


@pytest.mark.parametrize("side", ["R", "L", "B"])
def test_a_paired_organ_carries_the_side_of_the_order(clip, side):
    found = dataset(clip, procedure=procedure(paired=True, body_part="KNEE"), order=order(laterality=side))
    assert found.ImageLaterality == side
    assert "Laterality" not in found


def test_a_paired_organ_without_a_side_is_never_guessed(clip):
    with pytest.raises(ConversionFailed, match="names no side"):
        dataset(clip, procedure=procedure(paired=True))


def test_an_unpaired_organ_has_no_side_at_all(clip):
    found = dataset(clip, order=order(laterality="R"))
    assert "ImageLaterality" not in found
    assert "Laterality" not in found


def test_the_frame_time_is_the_exact_rational_in_sixteen_characters(clip):
    found = dataset(clip)
    assert str(found.FrameTime) == "33.3666666667"
    assert (found.CineRate, found.RecommendedDisplayFrameRate) == (30, 30)
    assert found.FrameIncrementPointer == 0x00181063


@pytest.mark.parametrize("value", [Fraction(1000, 3), Fraction(10**9, 7), Fraction(1, 3000), Fraction(40), 0.1])
def test_a_decimal_never_exceeds_sixteen_characters(value):
    assert len(decimal(value)) <= 16
    assert float(decimal(value)) == pytest.approx(float(value), rel=1e-4)


def test_times_are_in_the_recorders_zone_and_name_it(clip):
    found = dataset(clip, written_at=datetime(2026, 3, 2, 23, 30, tzinfo=UTC))
    assert found.TimezoneOffsetFromUTC == "+0100"
    assert (found.ContentDate, found.ContentTime) == ("20260302", "093005")
    assert found.AcquisitionDateTime == "20260302093005+0100"
    assert (found.InstanceCreationDate, found.InstanceCreationTime) == ("20260303", "003000")


def test_utc_is_written_as_plus_zero(clip):
    found = dataset(clip, started_at=datetime(2026, 3, 2, 8, 30, tzinfo=UTC))
    assert found.TimezoneOffsetFromUTC == "+0000"


def test_an_unknown_start_leaves_acquisition_times_out(clip):
    station = StationRow(station="E", time_zone="Asia/Kolkata")
    found = dataset(clip, started_at=None, station=station, written_at=datetime(2026, 3, 2, 20, 0, tzinfo=UTC))
    assert "AcquisitionDateTime" not in found
    assert found.ContentDate == ""
    assert found.TimezoneOffsetFromUTC == "+0530"
    assert found.InstanceCreationDate == "20260303"


def test_all_recordings_of_a_scheduled_day_share_one_study_time(clip):
    early = dataset(clip)
    late = dataset(clip, started_at=datetime(2026, 3, 2, 10, 45, tzinfo=CET))
    assert (early.StudyDate, early.StudyTime) == (late.StudyDate, late.StudyTime) == ("20260302", "090000")


def test_a_study_done_on_another_day_says_the_day_it_was_done(clip):
    assert dataset(clip, started_at=datetime(2026, 3, 5, 10, 45, tzinfo=UTC)).StudyDate == "20260305"


def test_an_untouched_stream_is_an_original_with_one_compression(clip):
    found = dataset(clip)
    facts = facts_of(clip)
    assert list(found.ImageType) == ["ORIGINAL", "PRIMARY"]
    assert found.LossyImageCompressionMethod == "ISO_14496_10"
    assert float(found.LossyImageCompressionRatio) == pytest.approx(320 * 240 * 3 * 30 / facts.size, rel=0.01)
    assert found.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "MEDIM"


def test_a_transcode_is_derived_and_keeps_the_history_of_both_compressions(clip):
    found = dataset(clip, kind=PlanKind.TRANSCODE, facts={"codec": "mjpeg"})
    assert list(found.ImageType) == ["DERIVED", "PRIMARY"]
    assert list(found.LossyImageCompressionMethod) == ["ISO_10918_1", "ISO_14496_10"]
    assert len(found.LossyImageCompressionRatio) == 2
    assert "as the test wants it" in found.DerivationDescription
    assert found.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "109102"


def test_a_lossless_source_is_no_lossy_step(clip):
    found = dataset(clip, kind=PlanKind.TRANSCODE, facts={"codec": "ffv1"})
    assert found.LossyImageCompressionMethod == "ISO_14496_10"


def test_ten_bit_hevc_says_ten_bits(clip):
    found = dataset(clip, plan={"transfer_syntax": TransferSyntax.HEVC_MAIN10_51.value})
    assert (found.BitsAllocated, found.BitsStored, found.HighBit) == (16, 10, 9)


def test_kept_sound_is_described(clip):
    item = dataset(clip, plan={"audio": AudioPlan.KEEP}).MultiplexedAudioChannelsDescriptionCodeSequence[0]
    assert (item.ChannelIdentificationCode, item.ChannelMode) == (1, "MONO")
    assert item.ChannelSourceSequence[0].CodeValue == "109112"


def test_without_sound_the_empty_sequence_is_written_only_on_demand(clip):
    name = "MultiplexedAudioChannelsDescriptionCodeSequence"
    assert name not in dataset(clip)
    assert len(dataset(clip, empty_audio_sequence=True)[name].value) == 0


def test_nobody_claims_anything_about_burned_in_names(clip):
    assert "BurnedInAnnotation" not in dataset(clip)


def test_control_characters_of_an_order_never_reach_the_object(clip):
    found = dataset(clip, order=order(reason="line\r\nnext\\part\x00", procedure=Code(value="A", meaning="x" * 90)))
    assert found.RequestAttributesSequence[0].ReasonForTheRequestedProcedure == "line  next part"
    assert len(found.StudyDescription) == 64
