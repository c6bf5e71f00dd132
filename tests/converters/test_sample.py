from __future__ import annotations

from itertools import pairwise

import av
import numpy as np
import pytest

from converters.convert import convert
from converters.sample import Scene, draw_sample
from models.plan import AudioPlan
from tests.converters.jobs import decoded, make_job


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    path = tmp_path_factory.mktemp("sample") / "sample.mp4"
    draw_sample(path, seconds=1, size=(640, 360), text="ACC E1001")
    return path


def test_a_full_size_sample_conforms_to_high_profile_level_41(tmp_path):
    path = tmp_path / "sample.mp4"
    draw_sample(path, seconds=0.2)
    with av.open(str(path)) as file:
        video, audio = file.streams.video[0].codec_context, file.streams.audio[0].codec_context
        assert (video.name, video.profile, video.level) == ("h264", "High", 41)
        assert (video.width, video.height, str(file.streams.video[0].average_rate)) == (1920, 1080, "30")
        assert (audio.name, audio.sample_rate, audio.channels) == ("aac", 48_000, 2)
        assert file.streams.video[0].frames == 6


def test_the_sample_passes_through_untouched(sample, tmp_path):
    made = convert(make_job(sample, tmp_path / "a.dcm", plan={"audio": AudioPlan.KEEP}), lambda _: None)
    assert made.frames == 30
    assert made.stream_size == sample.stat().st_size


def test_the_sample_moves_and_shows_tissue_on_black(sample):
    first, *_, last = (frame.to_ndarray(format="rgb24").astype(int) for frame in decoded(sample))
    assert np.abs(first - last).mean() > 1
    red, _, blue = first[140:220, 420:500].mean((0, 1))
    assert red > blue + 20
    assert first[4:30, 600:].max() < 40


def test_the_counter_runs(sample):
    counters = [frame.to_ndarray(format="gray")[36:60, :150] for frame in decoded(sample)]
    assert all(np.abs(a.astype(int) - b).max() > 60 for a, b in pairwise(counters))


def test_equal_samples_have_equal_pixels():
    scenes = [Scene((320, 180), 30, "X") for _ in range(2)]
    for index in (0, 17):
        one, other = (scene.picture(index).to_ndarray() for scene in scenes)
        assert (one == other).all()


def test_the_sample_names_nobody(sample):
    with av.open(str(sample)) as file:
        assert set(file.metadata) <= {"major_brand", "minor_version", "compatible_brands"}


@pytest.mark.parametrize("size", [(320, 240), (240, 320), (1280, 720), (64, 64)])
def test_any_even_size_can_be_drawn(size):
    frame = Scene(size, 25, "TEXT\nTWO").picture(3)
    assert (frame.width, frame.height) == size
