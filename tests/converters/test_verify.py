from __future__ import annotations

import pytest
from pydicom import dcmread

from converters.convert import convert
from converters.part10 import StreamReader, read, write
from converters.verify import Expected, require, verify_object
from models.errors import VerificationFailed
from models.plan import AudioPlan, PlanKind
from models.study import SopClass, TransferSyntax
from tests.converters.jobs import make_clip, make_job, sha256


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    clip = make_clip(
        folder / "clip.mp4",
        frames=60,
        options={"g": "12"},
        sound="aac",
        container_options={"movflags": "+faststart"},
    )
    convert(make_job(clip, folder / "good.dcm", plan={"audio": AudioPlan.KEEP}), lambda _: None)
    return folder / "good.dcm"


def rewritten(good, target, *, syntax=None, stream=None, drop=(), **values):
    """Write the object again with something wrong."""
    found = read(good)
    with StreamReader(good, found.spans) as reader:
        data = reader.read() if stream is None else stream
    for name, value in values.items():
        setattr(found.dataset, name, value)
    for name in drop:
        delattr(found.dataset, name)
    if syntax:
        found.dataset.file_meta.TransferSyntaxUID = syntax
    found.dataset.EncapsulatedPixelDataValueTotalLength = len(data)
    write(target, found.dataset, [data], len(data))
    return target


def failed(path, **expected):
    return {check.name: check.figure for check in verify_object(path, Expected(**expected)) if not check.passed}


def test_a_good_object_passes_every_check_with_figures(good):
    checks = verify_object(good)
    require(checks)
    assert {check.name for check in checks} == {
        "fragments", "offset table", "stream length", "required attributes", "bit stream", "codec",
        "rows and columns", "frame rate", "sound", "number of frames",
    }  # fmt: skip
    assert all(check.figure for check in checks)


@pytest.mark.parametrize("every", [False, True])
def test_a_wrong_number_of_frames_is_found(good, tmp_path, every):
    path = rewritten(good, tmp_path / "a.dcm", NumberOfFrames=61)
    assert "60" in failed(path, decode_all=every)["number of frames"]


@pytest.mark.parametrize(
    ("values", "name"),
    [({"Rows": 242}, "rows and columns"), ({"Columns": 16}, "rows and columns"), ({"FrameTime": "33.3"}, "frame rate")],
)
def test_an_attribute_that_contradicts_the_stream_is_found(good, tmp_path, values, name):
    assert name in failed(rewritten(good, tmp_path / "a.dcm", **values))


@pytest.mark.parametrize("syntax", [TransferSyntax.HEVC_MAIN_51, TransferSyntax.MPEG2_ML, "1.2.840.10008.1.2.4.50"])
def test_a_transfer_syntax_of_another_codec_is_found(good, tmp_path, syntax):
    assert "codec" in failed(rewritten(good, tmp_path / "a.dcm", syntax=syntax))


def test_a_level_above_the_transfer_syntax_is_found(good, tmp_path):
    clip = make_clip(tmp_path / "a.mp4", frames=60, options={"level": "5.1"}, sound="aac")
    path = rewritten(good, tmp_path / "a.dcm", stream=clip.read_bytes())
    assert "level 51" in failed(path)["codec"]


def test_a_profile_that_dicom_does_not_know_is_found(good, tmp_path):
    clip = make_clip(tmp_path / "a.mp4", frames=60, pix_fmt="yuv444p", sound="aac")
    assert "High 4:4:4" in failed(rewritten(good, tmp_path / "a.dcm", stream=clip.read_bytes()))["codec"]


@pytest.mark.parametrize("name", ["ImageType", "PatientName", "Manufacturer", "AnatomicRegionSequence"])
def test_a_missing_required_attribute_is_named(good, tmp_path, name):
    assert failed(rewritten(good, tmp_path / "a.dcm", drop=[name])) == {"required attributes": f"missing {name}"}


def test_sound_that_nobody_described_is_found(good, tmp_path):
    path = rewritten(good, tmp_path / "a.dcm", drop=["MultiplexedAudioChannelsDescriptionCodeSequence"])
    assert "sound" in failed(path)


def test_a_stream_that_is_not_the_payload_is_found(good):
    assert failed(good, stream_sha256=sha256(good)).keys() == {"bit stream"}


def test_one_flipped_bit_on_the_disk_is_found(good, tmp_path):
    found = read(good)
    expected = next(check for check in verify_object(good) if check.name == "bit stream").figure.split()[-1]
    data = bytearray(good.read_bytes())
    data[found.spans[0].offset + found.length // 2] ^= 4
    (tmp_path / "a.dcm").write_bytes(data)
    assert "bit stream" in failed(tmp_path / "a.dcm", stream_sha256=expected)


def test_an_undecodable_last_key_frame_is_found(good, tmp_path):
    found = read(good)
    with StreamReader(good, found.spans) as reader:
        data = bytearray(reader.read())
    data[len(data) * 2 // 3 :] = bytes(len(data) - len(data) * 2 // 3)
    assert "number of frames" in failed(rewritten(good, tmp_path / "a.dcm", stream=bytes(data)))


def test_a_stream_that_is_no_video_is_found(good, tmp_path):
    assert "codec" in failed(rewritten(good, tmp_path / "a.dcm", stream=b"no video at all" * 100))


def test_low_quality_is_found_with_its_figure(good):
    assert failed(good, psnr=39.99) == {"quality": "39.99 dB, at least 40 dB"}


def test_a_failed_check_is_raised_with_its_figure(good):
    with pytest.raises(VerificationFailed, match=r"quality: 12.00 dB, at least 40 dB\): it is not sent"):
        require(verify_object(good, Expected(psnr=12.0)))


def test_an_offset_table_and_odd_padding_are_found(good, tmp_path):
    data = good.read_bytes()
    found = read(good)
    table = found.spans[0].offset - 16
    (tmp_path / "a.dcm").write_bytes(data[: table + 4] + b"\4\0\0\0" + bytes(4) + data[table + 8 :])
    assert failed(tmp_path / "a.dcm").keys() == {"offset table"}


def test_an_ultrasound_object_needs_no_anatomic_region(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", frames=10)
    convert(make_job(clip, tmp_path / "a.dcm", PlanKind.REMUX, sop_class=SopClass.US_MULTI_FRAME), lambda _: None)
    path = rewritten(tmp_path / "a.dcm", tmp_path / "b.dcm", drop=["AnatomicRegionSequence"])
    assert failed(path) == {}
    assert dcmread(path, stop_before_pixels=True).Modality == "US"


def test_a_dicom_file_without_video_is_refused_in_words(good, tmp_path):
    dataset = dcmread(good, stop_before_pixels=True)
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(VerificationFailed, match="cannot be read as encapsulated DICOM"):
        verify_object(tmp_path / "a.dcm")
