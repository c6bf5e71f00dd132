from __future__ import annotations

import json

import pytest
from pydicom import dcmread

from converters import convert as converting
from converters import transcode as encoding
from converters.convert import convert, leftovers
from converters.part10 import StreamReader, read
from models.errors import ConversionFailed, VerificationFailed
from models.plan import AudioPlan, PlanKind
from models.study import SopClass
from tests.converters.jobs import facts_of, judge, make_clip, make_job, sha256


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", container_options={"movflags": "+faststart"})


def run(job):
    told = []
    return convert(job, told.append), told


def payload(path):
    with StreamReader(path, read(path).spans) as reader:
        return reader.read()


@pytest.mark.parametrize("kind", list(PlanKind))
def test_the_payload_says_to_ffprobe_what_the_attributes_say(clip, tmp_path, kind):
    made, told = run(make_job(clip, tmp_path / "a.dcm", kind))
    dataset = dcmread(tmp_path / "a.dcm", stop_before_pixels=True)
    (tmp_path / "a.mp4").write_bytes(payload(tmp_path / "a.dcm"))
    found = judge(
        "ffprobe", "ffmpeg", "-v", "error", "-count_frames", "-show_streams", "-of", "json", tmp_path / "a.mp4"
    )
    video = json.loads(found.stdout)["streams"][0]
    assert (video["codec_name"], video["profile"]) == ("h264", "High")
    assert (video["width"], video["height"]) == (dataset.Columns, dataset.Rows) == (made.columns, made.rows)
    assert int(video["nb_read_frames"]) == dataset.NumberOfFrames == made.frames == 30
    assert video["r_frame_rate"] == "25/1"
    assert float(dataset.FrameTime) == 40
    assert told == sorted(told)
    assert told[-1] == 1
    assert all(check.passed for check in made.checks)


def test_a_passed_through_file_is_in_the_object_byte_for_byte(clip, tmp_path):
    made, _ = run(make_job(clip, tmp_path / "a.dcm"))
    assert payload(tmp_path / "a.dcm") == clip.read_bytes()
    assert made.stream_sha256 == sha256(clip)
    assert made.stream_size == clip.stat().st_size
    assert made.sha256 == sha256(tmp_path / "a.dcm")
    assert made.size == (tmp_path / "a.dcm").stat().st_size
    assert made.psnr is None


def test_a_transcode_reports_its_quality(clip, tmp_path):
    made, _ = run(make_job(clip, tmp_path / "a.dcm", PlanKind.TRANSCODE, sop_class=SopClass.US_MULTI_FRAME))
    assert made.psnr is not None
    assert made.psnr > 40


@pytest.mark.parametrize("kind", list(PlanKind))
def test_a_changed_source_fails_and_leaves_nothing(tmp_path, kind):
    source = make_clip(tmp_path / "a.mp4")
    job = make_job(source, tmp_path / "a.dcm", kind)
    data = bytearray(source.read_bytes())
    data[-1] ^= 1
    source.write_bytes(data)
    with pytest.raises(ConversionFailed, match="changed since it was probed") as caught:
        run(job)
    assert caught.value.stage == "source"
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4"}


@pytest.mark.parametrize("kind", list(PlanKind))
def test_the_source_is_never_changed_and_no_scratch_file_stays(tmp_path, kind):
    source = make_clip(tmp_path / "a.mp4")
    before = (sha256(source), source.stat().st_mtime_ns)
    run(make_job(source, tmp_path / "a.dcm", kind))
    assert (sha256(source), source.stat().st_mtime_ns) == before
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "a.dcm"}


def test_an_output_that_exists_is_never_touched(clip, tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"proven")
    with pytest.raises(ConversionFailed, match="exists already"):
        run(make_job(clip, tmp_path / "a.dcm"))
    assert (tmp_path / "a.dcm").read_bytes() == b"proven"


def test_what_an_interrupted_attempt_left_does_not_disturb_the_next(clip, tmp_path):
    for path in leftovers(tmp_path / "a.dcm"):
        path.write_bytes(b"half")
    run(make_job(clip, tmp_path / "a.dcm", PlanKind.REMUX))
    assert {path.name for path in tmp_path.iterdir()} == {"a.dcm"}


def test_an_object_that_fails_verification_is_never_published(clip, tmp_path):
    job = make_job(clip, tmp_path / "a.dcm", plan={"width": 322})
    with pytest.raises(VerificationFailed, match="rows and columns: 320x240 in the stream, 322x240"):
        run(job)
    assert list(tmp_path.iterdir()) == []


def test_too_few_pictures_in_a_remux_fail_with_the_figures(clip, tmp_path):
    with pytest.raises(ConversionFailed, match="30 pictures were copied, but 31 were probed"):
        run(make_job(clip, tmp_path / "a.dcm", PlanKind.REMUX, facts={"frames": 31}))


def test_a_missing_folder_fails_in_words(clip, tmp_path):
    with pytest.raises(ConversionFailed, match="check space and rights"):
        run(make_job(clip, tmp_path / "nowhere" / "a.dcm"))


def test_quality_below_the_threshold_is_tried_once_more_and_then_fails_with_the_figure(tmp_path, monkeypatch):
    source = make_clip(tmp_path / "a.mp4", noise=True, frames=5)
    qualities = []

    def poor(*arguments, crf, **options):
        qualities.append(crf)
        return encoding.transcode(*arguments, **{**options, "crf": 51})

    monkeypatch.setattr(converting, "transcode", poor)
    with pytest.raises(VerificationFailed, match=r"quality: \d+\.\d\d dB, at least 40 dB"):
        run(make_job(source, tmp_path / "a.dcm", PlanKind.TRANSCODE))
    assert qualities == [encoding.CRF, encoding.CRF_AGAIN]
    assert not (tmp_path / "a.dcm").exists()


def test_a_second_try_rescues_a_picture_too_fine_for_the_first(tmp_path, monkeypatch):
    source = make_clip(tmp_path / "a.mp4", frames=5)
    monkeypatch.setattr(converting, "CRF", 51)
    made, _ = run(make_job(source, tmp_path / "a.dcm", PlanKind.TRANSCODE))
    assert made.psnr is not None
    assert made.psnr > 40


def test_equal_jobs_give_equal_files(clip, tmp_path):
    for name in ("1.dcm", "2.dcm"):
        run(make_job(clip, tmp_path / name, PlanKind.TRANSCODE))
    assert (tmp_path / "1.dcm").read_bytes() == (tmp_path / "2.dcm").read_bytes()


def test_sound_is_encoded_where_the_plan_says_so(tmp_path):
    source = make_clip(tmp_path / "a.mp4", sound="aac")
    facts = facts_of(source)
    assert facts.audio[0].sample_rate == 44_100
    made, _ = run(make_job(source, tmp_path / "a.dcm", PlanKind.TRANSCODE, plan={"audio": AudioPlan.ENCODE}))
    assert next(check for check in made.checks if check.name == "sound").figure.startswith("aac 48000 Hz")
