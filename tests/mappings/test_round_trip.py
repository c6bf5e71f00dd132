"""Export and import are each other's inverse, for every row that a table takes."""

import csv
import io
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mappings.checks import row_findings
from mappings.csvtext import guarded, unguarded
from mappings.tables import parse_table, write_table
from models.mapping import (
    ROW_MODELS,
    AuthorityRow,
    DestinationRow,
    EvidenceRow,
    FilenamePatternRow,
    OrderControlRow,
    ProcedureRow,
    RouteRow,
    SenderRow,
    SopClassName,
    StationRow,
)
from models.order import OrderAction

# What breaks CSV readers and spreadsheets is drawn often.
NASTY = st.sampled_from(list("=+-@\t\r\n\"',;|#\\^ '\ufeff\u2028\x0b\x00äß漢"))
TEXT = st.text(st.one_of(NASTY, st.characters(exclude_categories=["Cs"])), max_size=12)
NEEDED = TEXT.filter(bool)
KEY = st.text(st.one_of(NASTY, st.characters(exclude_categories=["Cs"])), max_size=12).filter(
    lambda text: text == text.strip()
)
NEEDED_KEY = KEY.filter(bool)
BODY_PART = st.from_regex(re.compile(r"[A-Z0-9_]{0,16}"), fullmatch=True)
ZONE = st.sampled_from(["UTC", "Europe/Zurich", "America/New_York"])
PATTERN = st.sampled_from([r"ACC_(?P<accession>\w+),x", r'"(?P<family>[^"]+)"', r"=(?P<sequence>\d{1,4})", r"-\d+ "])
MODALITY_OF = {
    SopClassName.VIDEO_ENDOSCOPIC: "ES",
    SopClassName.VIDEO_MICROSCOPIC: "GM",
    SopClassName.VIDEO_PHOTOGRAPHIC: "XC",
    SopClassName.US_MULTI_FRAME: "IVUS",
}
LONG = TEXT.filter(lambda text: "\\" not in text)
FINITE = st.floats(min_value=1e-6, max_value=1e9)

PROCEDURES = st.sampled_from(list(SopClassName)).flatmap(
    lambda sop_class: st.builds(
        ProcedureRow,
        code=NEEDED_KEY,
        scheme=KEY,
        sender=KEY,
        description=TEXT,
        modality=st.just(MODALITY_OF[sop_class]),
        sop_class=st.just(sop_class),
        body_part=BODY_PART,
        region_code=NEEDED,
        region_scheme=TEXT,
        region_meaning=LONG.filter(bool),
        paired=st.booleans(),
        series_description=LONG,
        audio=st.sampled_from(["drop", "keep"]),
        hold=TEXT,
        fhir_system=TEXT,
        fhir_code=TEXT,
        fhir_display=TEXT,
    )
)
COUNT = st.integers(0, 10_000)
ROWS = {
    "procedures": PROCEDURES,
    "stations": st.builds(
        StationRow, station=NEEDED_KEY, folder=TEXT, room=TEXT, manufacturer=TEXT, model=TEXT, serial=TEXT,
        institution=TEXT, time_zone=ZONE, early_minutes=COUNT, late_minutes=COUNT, station_and_time_link=st.booleans(),
    ),
    "filename_patterns": st.builds(
        FilenamePatternRow, name=NEEDED_KEY, station=NEEDED, priority=st.integers(-999, 999), pattern=PATTERN,
        example=st.just(""),
    ),
    "senders": st.builds(
        SenderRow, application=KEY, facility=KEY, time_zone=ZONE, character_set=TEXT, accession=TEXT,
        sends_adt=st.booleans(), patient_authority=TEXT,
    ),
    "order_control": st.builds(
        OrderControlRow, control=NEEDED_KEY, status=KEY, action=st.sampled_from(OrderAction), note=TEXT
    ),
    "authorities": st.builds(
        AuthorityRow, namespace=NEEDED_KEY, kind=st.sampled_from(["patient", "placer", "filler", "accession"]),
        universal_id=TEXT, universal_id_type=TEXT, dicom_issuer=TEXT, fhir_system=TEXT,
    ),
    "destinations": st.builds(
        DestinationRow, name=NEEDED_KEY.filter(lambda name: "|" not in name), kind=st.just("fhir"), url=NEEDED,
        host=TEXT, port=st.integers(0, 65535), secret=TEXT, lenient_profiles=st.booleans(), application=TEXT,
        timeout_seconds=FINITE, result_status=st.sampled_from("RPFCIA"), observation_status=st.sampled_from("ORPFC"),
    ),
    "routes": st.builds(
        RouteRow, name=NEEDED_KEY, sender=NEEDED, procedure=NEEDED, modality=NEEDED, station=NEEDED,
        destinations=TEXT.filter(lambda text: text.strip("|")),
    ),
    "evidence": st.builds(
        EvidenceRow, signal=NEEDED_KEY, outcome=st.just("near"), ratio=FINITE, contradiction=st.booleans(), why=TEXT
    ),
}  # fmt: skip


def test_every_table_is_drawn():
    assert set(ROWS) == set(ROW_MODELS)


@pytest.mark.parametrize("name", sorted(ROW_MODELS))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_exported_is_imported_unchanged(name, data):
    rows = data.draw(st.lists(ROWS[name], max_size=4))
    keys = [tuple(getattr(row, column) for column in row.key_columns) for row in rows]
    assume(len(set(keys)) == len(keys))
    assume(not any(list(row_findings(row)) for row in rows))
    assert list(parse_table(name, write_table(name, rows))) == rows


@given(text=TEXT)
def test_the_guard_against_formulas_is_undone_exactly(text):
    assert unguarded(guarded(text)) == text


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0", "\uff1d1"])
def test_no_spreadsheet_takes_an_exported_text_for_a_formula(formula):
    row = StationRow(station="ENDO1", room=formula)
    text = write_table("stations", [row])
    (_, cells) = csv.reader(io.StringIO(text, newline=""))
    assert cells[2] == f"'{formula}"
    assert parse_table("stations", text) == (row,)


def test_numbers_are_left_as_numbers_for_a_spreadsheet():
    row = FilenamePatternRow(name="x", priority=-5, pattern="x")
    assert ",-5,x," in write_table("filename_patterns", [row])
