"""A sidecar gives claims and a start time; whatever is wrong with it is a sentence and never an error."""

import json
import os
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interfaces.files.sidecar import read_sidecar

WHOLE = {
    "accession": "E1001",
    "placer": "P1001",
    "filler": "F1001",
    "study_uid": "1.2.840.99.1",
    "scheduled_step_id": "S1001",
    "patient_id": "M1001",
    "family": "Muster",
    "given": "Anna",
    "birth_date": "1960-01-31",
    "performer": "Endo, Max",
}


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "case.mp4"
    path.write_bytes(b"video")
    return path


def write(video, content, name="case.json"):
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    path = video.with_name(name)
    path.write_bytes(data)
    return path


def claims(reading):
    return {claim.key: claim.value for claim in reading.claims}


def test_a_video_without_a_sidecar_says_nothing(video):
    reading = read_sidecar(video)
    assert (reading.claims, reading.started_at, reading.problem, reading.files) == ((), None, "", ())


@pytest.mark.parametrize("name", ["case.json", "case.mp4.json", "case.JSON"])
def test_every_key_is_read_as_a_claim_of_the_recorder(video, name):
    write(video, WHOLE, name)
    reading = read_sidecar(video)
    assert claims(reading) == WHOLE
    assert {(claim.source, claim.group) for claim in reading.claims} == {("sidecar", "recorder")}
    assert (reading.problem, reading.files) == ("", (name,))


def test_the_start_time_with_an_offset_is_one_moment(video):
    write(video, {"started_at": "2026-11-22T10:15:00+01:00"})
    assert read_sidecar(video).started_at == datetime(2026, 11, 22, 9, 15, tzinfo=UTC)


def test_a_start_time_without_an_offset_is_in_the_stations_zone(video):
    write(video, {"started_at": "2026-11-22T10:15:00"})
    assert read_sidecar(video, "Europe/Zurich").started_at == datetime(2026, 11, 22, 9, 15, tzinfo=UTC)


def test_a_start_time_without_an_offset_and_a_zone_is_not_used(video):
    write(video, {"accession": "E1001", "started_at": "2026-11-22T10:15:00"})
    reading = read_sidecar(video)
    assert reading.started_at is None
    assert "no offset from UTC" in reading.problem
    assert claims(reading) == {"accession": "E1001"}


@pytest.mark.parametrize(
    "text", ["2026-11-22", "10:15", "yesterday", "2026-13-01T10:15:00Z", "2026-11-22T10:15:00+19:00", "x" * 9999]
)
def test_a_start_time_that_is_none_is_a_short_sentence(video, text):
    write(video, {"started_at": text})
    reading = read_sidecar(video, "UTC")
    assert reading.started_at is None
    assert 0 < len(reading.problem) < 200


def test_the_repeated_hour_is_not_one_moment(video):
    write(video, {"started_at": "2026-10-25T02:30:00"})
    assert "clock changes" in read_sidecar(video, "Europe/Zurich").problem


def test_a_byte_order_mark_is_fine(video):
    write(video, b"\xef\xbb\xbf" + json.dumps({"accession": "E1001"}).encode())
    assert claims(read_sidecar(video)) == {"accession": "E1001"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b'{"accession": "E10', "not JSON"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b'["E1001"]', "one JSON object"),
        (b'"E1001"', "one JSON object"),
        (b"null", "one JSON object"),
        (b'{"accession": ' + b"9" * 10000 + b"}", "not JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"accession": "' + b"A" * (1 << 20) + b'"}', "larger than 1 MiB"),
    ],
    ids=["empty", "cut", "utf16", "list", "text", "null", "huge number", "deep list", "deep object", "huge"],
)
def test_what_cannot_be_read_is_a_sentence_and_no_claim(video, data, words):
    write(video, data)
    reading = read_sidecar(video)
    assert reading.claims == ()
    assert words in reading.problem


@pytest.mark.parametrize("value", [1001, 1001.0, True, ["E1001"], {"value": "E1001"}])
def test_a_value_that_is_no_text_is_refused_because_leading_zeros_would_be_lost(video, value):
    write(video, {"accession": value, "family": "Muster"})
    reading = read_sidecar(video)
    assert claims(reading) == {"family": "Muster"}
    assert "accession must be a text" in reading.problem


def test_null_and_empty_values_are_not_said(video):
    write(video, {"accession": None, "placer": "", "filler": "  "})
    reading = read_sidecar(video)
    assert (reading.claims, reading.problem) == ((), "")


def test_a_sidecar_that_names_two_identities_gives_both_so_that_a_person_decides(video):
    write(video, b'{"accession": "E1001", "accession": "E1002"}')
    reading = read_sidecar(video)
    assert [claim.value for claim in reading.claims] == ["E1001", "E1002"]
    assert "accession has two values" in reading.problem


def test_a_key_that_is_there_twice_with_one_value_is_one_claim(video):
    write(video, b'{"accession": "E1001", "accession": "E1001"}')
    reading = read_sidecar(video)
    assert (claims(reading), reading.problem) == ({"accession": "E1001"}, "")


def test_two_sidecars_that_disagree_give_both_values_so_that_a_person_decides(video):
    write(video, {"accession": "E1001"})
    write(video, {"accession": "E1002"}, "case.mp4.json")
    reading = read_sidecar(video)
    assert [claim.value for claim in reading.claims] == ["E1001", "E1002"]
    assert "two values" in reading.problem


def test_two_start_times_are_none(video):
    write(video, b'{"started_at": "2026-11-22T10:15:00Z", "started_at": "2026-11-22T11:15:00Z"}')
    reading = read_sidecar(video)
    assert reading.started_at is None
    assert "started_at has two values" in reading.problem


def test_a_key_deeper_down_is_not_taken_for_one_of_ours(video):
    write(video, {"previous": {"accession": "E0999"}, "accession": "E1001"})
    reading = read_sidecar(video)
    assert claims(reading) == {"accession": "E1001"}
    assert reading.ignored == ("previous",)


def test_a_misspelt_key_is_told(video):
    write(video, {"acession": "E1001"})
    assert read_sidecar(video).ignored == ("acession",)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("birth_date", "31.01.1960"),
        ("birth_date", "1900-01-01"),
        ("study_uid", "not a uid"),
        ("accession", "E1001\rPID|1"),
        ("patient_id", "M" * 65),
        ("family", "Mu\u0000ster"),
        ("given", "\ud800"),
    ],
)
def test_a_value_that_cannot_be_one_is_left_out_in_words(video, key, value):
    write(video, {key: value})
    reading = read_sidecar(video)
    assert reading.claims == ()
    assert key in reading.problem


def test_a_link_is_never_followed(video, tmp_path):
    other = tmp_path / "secret"
    other.write_text('{"accession": "E1001"}', encoding="utf-8")
    video.with_name("case.json").symlink_to(other)
    reading = read_sidecar(video)
    assert reading.claims == ()
    assert "cannot be opened" in reading.problem


def test_a_pipe_does_not_hang_the_reader(video):
    os.mkfifo(video.with_name("case.json"))
    assert "no plain file" in read_sidecar(video).problem


def test_a_folder_is_no_sidecar(video):
    video.with_name("case.json").mkdir()
    assert read_sidecar(video).problem


def test_a_video_whose_name_leaves_no_room_for_a_sidecar_has_none(tmp_path):
    video = tmp_path / ("x" * 248 + ".mp4")
    video.write_bytes(b"video")
    assert read_sidecar(video).problem == ""


def test_the_sidecar_of_another_video_is_not_read(video):
    write(video, WHOLE, "case2.json")
    assert read_sidecar(video).claims == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from([*WHOLE, "started_at", "other"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=200), st.dictionaries(KEYS, JSON, max_size=6)))
def test_nothing_that_a_sidecar_holds_is_an_error(video, data):
    write(video, data)
    read_sidecar(video, "UTC").json_text()
