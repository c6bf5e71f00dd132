"""A file name gives claims and a start time, and never an identity that it does not have."""

from datetime import UTC, datetime

import pytest

from interfaces.files.names import read_name
from mappings.tables import load_set
from models.mapping import FilenamePatternRow

SHIPPED = load_set(1).filename_patterns


def row(pattern, **values):
    return FilenamePatternRow(**({"name": "test", "pattern": pattern} | values))


def claims(reading):
    return {claim.key: claim.value for claim in reading.claims}


def read(name, pattern, zone="UTC"):
    return read_name(name, [row(pattern)], "ENDO1", zone)


def test_accession_name_and_birth_date_are_read():
    reading = read_name("ACC_E1001_Muster_19600131.mp4", SHIPPED, "ENDO1", "UTC")
    assert claims(reading) == {"accession": "E1001", "family": "Muster", "birth_date": "1960-01-31"}
    assert {(claim.source, claim.group) for claim in reading.claims} == {("file name", "recorder")}


def test_accession_and_time_are_read_in_the_stations_zone():
    reading = read_name("ACC_E1001_20261122_101500.mp4", SHIPPED, "ENDO1", "Europe/Zurich")
    assert claims(reading) == {"accession": "E1001"}
    assert reading.started_at == datetime(2026, 11, 22, 9, 15, tzinfo=UTC)


def test_the_folders_of_a_vscan_share_name_the_patient():
    reading = read_name("M1001_Anna_Muster/20261122101500/20261122101512.mp4", SHIPPED, "US1", "UTC")
    assert claims(reading) == {"patient_id": "M1001", "given": "Anna", "family": "Muster"}
    assert {claim.source for claim in reading.claims} == {"folder"}
    assert reading.started_at == datetime(2026, 11, 22, 10, 15, tzinfo=UTC)


def test_one_name_in_a_vscan_folder_is_neither_first_nor_last():
    reading = read_name("M1001_Anna/20261122101500/20261122101512.mp4", SHIPPED, "US1", "UTC")
    assert claims(reading) == {"patient_id": "M1001"}


def test_a_date_where_an_accession_should_be_is_not_an_accession():
    reading = read_name("ACC_20261122.mp4", SHIPPED, "ENDO1", "UTC")
    assert reading.claims == ()
    assert reading.problem == "accession in the name looks like a date and is not used"


@pytest.mark.parametrize("value", ["20261122", "22112026", "11222026", "2026-11-22", "22.11.2026", "20261122101500"])
def test_no_date_in_any_order_is_taken_for_a_number(value):
    assert read(f"X{value}.mp4", r"X(?P<patient_id>.+)").claims == ()


@pytest.mark.parametrize("value", ["E20261122", "1234567", "123456789", "20269922", "00012345", "99999999"])
def test_numbers_that_are_no_dates_are_kept_as_they_are(value):
    assert claims(read(f"X{value}.mp4", r"X(?P<accession>.+)")) == {"accession": value}


@pytest.mark.parametrize("name", ["copy of ACC1.mp4", "ACC1 (2).mp4", "ACC12x.mp4"])
def test_only_a_name_that_fits_as_a_whole_is_read(name):
    assert read(name, r"ACC(?P<accession>\d+)").pattern == ""


def test_a_name_that_no_pattern_fits_says_nothing():
    reading = read_name("untitled.mp4", SHIPPED, "ENDO1", "UTC")
    assert (reading.claims, reading.started_at, reading.pattern, reading.problem) == ((), None, "", "")


def test_the_lower_priority_number_is_tried_first_and_the_station_before_any():
    rows = [
        row(r"(?P<family>\w+)", name="late", priority=9),
        row(r"(?P<family>\w+)", name="any", priority=5),
        row(r"(?P<given>\w+)", name="mine", priority=5, station="ENDO1"),
        row(r"(?P<given>\w+)", name="foreign", priority=1, station="OR1"),
    ]
    assert read_name("Muster.mp4", rows, "ENDO1", "UTC").pattern == "mine"
    assert read_name("Muster.mp4", rows, "US1", "UTC").pattern == "any"


def test_a_pattern_of_a_station_is_not_used_when_the_station_is_unknown():
    assert read_name("A.mp4", [row(r"(?P<family>A)", station="ENDO1")], "", "UTC").claims == ()


@pytest.mark.parametrize("name", ["20261322_101500", "20260230_101500", "20261122_251500", "20261122_106000"])
def test_a_date_or_time_that_does_not_exist_gives_no_start(name):
    reading = read(name, r"(?P<date>\d{8})_(?P<time>\d{6})")
    assert reading.started_at is None
    assert "no date and time that exists" in reading.problem


@pytest.mark.parametrize("day", ["19700101", "20000101", "19800101", "19040101"])
def test_a_clock_that_was_never_set_gives_no_start(day):
    reading = read(f"{day}_000312", r"(?P<date>\d{8})_(?P<time>\d{6})")
    assert reading.started_at is None
    assert "never set" in reading.problem


@pytest.mark.parametrize(("day", "hour"), [("20261025", "023000"), ("20260329", "023000")])
def test_the_hour_of_a_clock_change_gives_no_start(day, hour):
    reading = read(f"{day}_{hour}", r"(?P<date>\d{8})_(?P<time>\d{6})", "Europe/Zurich")
    assert reading.started_at is None
    assert "clock changes" in reading.problem


@pytest.mark.parametrize(
    "name", ["2026-11-22_10-15-00", "2026.11.22_10.15.00", "20261122_101500", "261122_101500", "20261122_1015"]
)
def test_the_usual_ways_to_write_a_time_are_one_moment(name):
    reading = read(name, r"(?P<date>[\d.-]+)_(?P<time>[\d.-]+)")
    assert reading.started_at == datetime(2026, 11, 22, 10, 15, tzinfo=UTC)


def test_a_date_without_a_time_of_day_is_no_start():
    reading = read("20261122", r"(?P<date>\d{8})")
    assert (reading.started_at, reading.problem) == (None, "")


def test_a_zone_that_does_not_exist_gives_a_sentence_and_keeps_the_claims():
    reading = read("E1_20261122_101500", r"(?P<accession>E\d)_(?P<date>\d+)_(?P<time>\d+)", "Europe/Zuerich")
    assert claims(reading) == {"accession": "E1"}
    assert "no IANA time zone" in reading.problem


@pytest.mark.parametrize("day", ["19601331", "19000101", "18000101", "601231"])
def test_a_birth_date_that_is_none_is_left_out_in_words(day):
    reading = read(day, r"(?P<birth_date>\d+)")
    assert reading.claims == ()
    assert "birth_date" in reading.problem


def test_a_study_uid_that_is_none_is_left_out_in_words():
    reading = read("1.2.03.4", r"(?P<study_uid>[\d.]+[\d])")
    assert (reading.claims, "no UID" in reading.problem) == ((), True)


def test_underscores_between_names_are_blanks_and_letters_are_composed():
    reading = read("VAN_DER_BERG-Ju\u0308rgen.mp4", r"(?P<family>[^-]+)-(?P<given>.+)")
    assert claims(reading) == {"family": "VAN DER BERG", "given": "J\u00fcrgen"}


@pytest.mark.parametrize("name", ["x" * 5000, "A\x00B", "A\u202eB", "\ud800", ""])
def test_a_hostile_name_is_never_an_error(name):
    reading = read(name, r"(?P<family>.*)")
    assert reading.claims == ()
    reading.json_text()


def test_an_accession_is_never_trimmed():
    assert claims(read("A" * 20 + ".mp4", r"(?P<accession>A+)")) == {"accession": "A" * 20}
