from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import av
import pytest

from converters.remux import remux
from models.errors import ConversionFailed
from tests.converters.jobs import bar_places, decoded, make_clip


def run(source, target, **options):
    return remux(source, target, **{"keep_audio": False, "on_progress": lambda _: None, **options})


def packets(path):
    with av.open(str(path)) as file:
        found = [packet for packet in file.demux(video=0) if packet.size]
        return [(packet.pts * packet.time_base, packet.dts * packet.time_base, packet.is_keyframe) for packet in found]


def test_the_first_pictures_of_a_matroska_stream_with_b_frames_are_not_lost(tmp_path):
    source = make_clip(tmp_path / "a.mkv", frames=50, options={"bf": "2"})
    assert run(source, tmp_path / "a.mp4") == 50
    shown, decoded_at, keys = zip(*packets(tmp_path / "a.mp4"), strict=True)
    assert keys[0], "the first packet is the key frame"
    assert {later - earlier for earlier, later in pairwise(decoded_at)} == {Fraction(1, 25)}
    assert sorted(shown) == [Fraction(index, 25) for index in range(50)]
    assert bar_places(decoded(tmp_path / "a.mp4")) == bar_places(decoded(source))


def test_a_transport_stream_starts_at_zero_afterwards(tmp_path):
    source = make_clip(tmp_path / "a.ts", frames=50, sound="mp2")
    run(source, tmp_path / "a.mp4", keep_audio=True)
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert file.streams.video[0].start_time == 0
        assert len(file.streams.audio) == 1
    assert len(decoded(tmp_path / "a.mp4")) == 50


def test_the_coded_pictures_are_the_same_to_the_last_pixel(tmp_path):
    source = make_clip(tmp_path / "a.mov")
    run(source, tmp_path / "a.mp4")
    before = [frame.to_ndarray().tobytes() for frame in decoded(source)]
    assert [frame.to_ndarray().tobytes() for frame in decoded(tmp_path / "a.mp4")] == before


def test_nothing_of_the_old_metadata_comes_along(tmp_path):
    source = tmp_path / "a.mov"
    make_clip(tmp_path / "plain.mp4")
    with av.open(str(tmp_path / "plain.mp4")) as old, av.open(str(source), "w") as new:
        new.metadata["title"] = "MUSTER^ERIKA"
        new.metadata["location"] = "+47.3-8.5/"
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    assert b"MUSTER" in source.read_bytes()
    run(source, tmp_path / "a.mp4")
    data = (tmp_path / "a.mp4").read_bytes()
    assert b"MUSTER" not in data
    assert b"Lavf" not in data


def test_the_index_comes_first_and_the_brand_is_mp4(tmp_path):
    run(make_clip(tmp_path / "a.mov"), tmp_path / "a.mp4")
    data = (tmp_path / "a.mp4").read_bytes()
    assert data[4:12] == b"ftypisom"
    assert data.find(b"moov") < data.find(b"mdat")


def test_a_fragmented_file_gets_a_whole_index(tmp_path):
    source = make_clip(tmp_path / "a.mp4", container_options={"movflags": "frag_keyframe+empty_moov"})
    assert run(source, tmp_path / "b.mp4") == 30
    with av.open(str(tmp_path / "b.mp4")) as file:
        assert file.streams.video[0].frames == 30


def test_hevc_is_named_as_dicom_readers_know_it(tmp_path):
    source = make_clip(tmp_path / "a.mkv", codec="libx265", options={"x265-params": "log-level=none"}, frames=10)
    run(source, tmp_path / "a.mp4")
    assert b"hvc1" in (tmp_path / "a.mp4").read_bytes()
    assert len(decoded(tmp_path / "a.mp4")) == 10


def test_equal_input_gives_equal_bytes(tmp_path):
    source = make_clip(tmp_path / "a.mkv")
    for name in ("1.mp4", "2.mp4"):
        run(source, tmp_path / name)
    assert (tmp_path / "1.mp4").read_bytes() == (tmp_path / "2.mp4").read_bytes()


def test_a_bare_elementary_stream_is_refused_with_a_sentence(tmp_path):
    source = make_clip(tmp_path / "a.h264")
    with pytest.raises(ConversionFailed, match="re-encode this recording"):
        run(source, tmp_path / "a.mp4")


def test_a_codec_that_mp4_does_not_know_is_refused_without_naming_the_file(tmp_path):
    source = make_clip(tmp_path / "MUSTER^ERIKA.avi", codec="wmv2")
    with pytest.raises(ConversionFailed, match="re-encode this recording") as caught:
        run(source, tmp_path / "a.mp4")
    assert "MUSTER" not in str(caught.value)


def test_a_playlist_dressed_as_a_video_is_not_followed(tmp_path):
    make_clip(tmp_path / "victim.mp4")
    (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile 'victim.mp4'\n")
    with pytest.raises(ConversionFailed):
        run(tmp_path / "a.mp4", tmp_path / "b.mp4")
