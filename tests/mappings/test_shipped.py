"""The shipped tables: every code is real, every name leads somewhere, and nothing is read as what it is not."""

import re

import pytest
from pydicom.sr.codedict import codes

from interfaces.files.names import read_name
from mappings.checks import DATE_NAMES, IDENTITY
from mappings.tables import check_set, load_set, parse_table, read_tables, shipped, write_table
from models.errors import MappingMiss
from models.mapping import ROW_MODELS
from models.order import Code, OrderAction
from models.recording import ORDER_GRADE
from models.study import MODALITIES, SopClass

TABLES = load_set(1)

#: Procedures of the SNOMED CT IPS Free Set (HL7 FHIR IPS 1.1.0, CC BY 4.0), with their display.
IPS = {
    "76009000": "Esophagogastroduodenoscopy",
    "73761001": "Colonoscopy",
    "444783004": "Screening colonoscopy",
    "311774002": "Colonoscopic polypectomy",
    "24420007": "Sigmoidoscopy",
    "44441009": "Flexible fiberoptic sigmoidoscopy",
    "386718000": "Endoscopic retrograde cholangiopancreatography",
    "10847001": "Bronchoscopy",
    "24139008": "Cystoscopy",
    "386745004": "Transurethral cystoscopy",
    "73632009": "Laparoscopy",
    "45595009": "Laparoscopic cholecystectomy",
    "6025007": "Laparoscopic appendectomy",
    "236887006": "Laparoscopic hysterectomy",
    "392003006": "Colposcopy",
    "309431009": "Arthroscopy of knee",
    "13714004": "Arthroscopy",
    "54885007": "Extraction of cataract",
}


def context_group(name):
    group = getattr(codes, name)
    return {getattr(group, word).value: getattr(group, word).meaning for word in group.dir()}


ENDOSCOPY_REGIONS = context_group("cid4040")
COMMON_REGIONS = context_group("cid4031")
CARDIAC = context_group("cid3757")

#: Check digits of SNOMED CT identifiers (Verhoeff), so that a slip of the pen is found without the terminology.
D5 = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 0, 6, 7, 8, 9, 5], [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
      [3, 4, 0, 1, 2, 8, 9, 5, 6, 7], [4, 0, 1, 2, 3, 9, 5, 6, 7, 8], [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
      [6, 5, 9, 8, 7, 1, 0, 4, 3, 2], [7, 6, 5, 9, 8, 2, 1, 0, 4, 3], [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
      [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]]  # fmt: skip
TURN = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]


def verhoeff_holds(number):
    check = 0
    for place, digit in enumerate(int(char) for char in reversed(number)):
        turned = digit
        for _ in range(place % 8):
            turned = TURN[turned]
        check = D5[check][turned]
    return check == 0


@pytest.mark.parametrize("name", sorted(ROW_MODELS))
def test_every_table_is_shipped_sound_and_says_where_it_is_from(name):
    text = shipped(name)
    notes = [line for line in text.splitlines() if line.startswith("#")]
    assert "licence" in " ".join(notes).lower()
    assert parse_table(name, write_table(name, parse_table(name, text))) == getattr(TABLES, name)


def test_no_table_names_what_another_does_not_have():
    assert check_set(read_tables()) == ()


@pytest.mark.parametrize("row", TABLES.procedures, ids=lambda row: row.code)
def test_every_region_is_in_the_context_group_of_its_object(row):
    group = ENDOSCOPY_REGIONS if row.modality == "ES" else COMMON_REGIONS
    assert row.region_scheme == "SCT"
    assert group.get(row.region_code) == row.region_meaning


@pytest.mark.parametrize("row", TABLES.procedures, ids=lambda row: row.code)
def test_every_procedure_code_is_published_or_plainly_local(row):
    assert row.scheme in {"SCT", "L"}
    if row.scheme == "SCT":
        assert row.code in IPS or row.code in CARDIAC
        assert row.fhir_code == row.code
    else:
        assert "(local code of the demo)" in row.description
        assert not row.code.isdigit()


@pytest.mark.parametrize("row", TABLES.procedures, ids=lambda row: row.code)
def test_every_fhir_code_is_snomed_with_its_display(row):
    if row.fhir_code:
        assert row.fhir_system == "http://snomed.info/sct"
        published = {**{key: value.lower() for key, value in CARDIAC.items()}}
        published.update({key: value.lower() for key, value in IPS.items()})
        assert published[row.fhir_code] == row.fhir_display.lower()


@pytest.mark.parametrize(
    "number", sorted({row.fhir_code for row in TABLES.procedures if row.fhir_code} | set(ENDOSCOPY_REGIONS))
)
def test_every_snomed_code_has_the_right_check_digit(number):
    assert verhoeff_holds(number)


def test_every_kind_of_video_object_can_be_made_from_the_shipped_table():
    assert {row.sop_class.uid for row in TABLES.procedures} == set(SopClass)
    assert all(row.modality in MODALITIES[row.sop_class.uid] for row in TABLES.procedures)


def test_paired_organs_need_a_side():
    paired = {row.body_part for row in TABLES.procedures if row.paired}
    assert paired == {"KNEE", "SHOULDER", "JOINT", "EYE", "EAC"}


def test_sound_is_kept_only_where_it_is_part_of_the_finding():
    assert [row.code for row in TABLES.procedures if row.audio == "keep"] == ["STROBO"]


def test_video_that_may_show_a_face_is_held():
    assert all(row.hold for row in TABLES.procedures if row.modality == "XC")


def test_the_demo_order_finds_its_procedure():
    assert TABLES.procedure(Code(value="EGD", scheme="L"), "DEMO_RIS").modality == "ES"


def test_the_same_word_in_another_coding_scheme_is_not_the_demo_procedure():
    with pytest.raises(MappingMiss):
        TABLES.procedure(Code(value="EGD", scheme="99XYZ"), "DEMO_RIS")


@pytest.mark.parametrize(
    ("control", "status", "action"),
    [
        ("NW", "", OrderAction.SCHEDULE),
        ("NW", "SC", OrderAction.SCHEDULE),
        ("NW", "IP", OrderAction.START),
        ("NW", "PR", OrderAction.SCHEDULE),
        ("NW", "Final", OrderAction.COMPLETE),
        ("XO", "SC", OrderAction.UPDATE),
        ("XO", "R", OrderAction.UPDATE),
        ("XO", "CM", OrderAction.COMPLETE),
        ("SC", "IP", OrderAction.START),
        ("SC", "CM", OrderAction.COMPLETE),
        ("SC", "CA", OrderAction.CANCEL),
        ("SC", "RC", OrderAction.UPDATE),
        ("CA", "", OrderAction.CANCEL),
        ("CA", "CA", OrderAction.CANCEL),
        ("OC", "", OrderAction.CANCEL),
        ("DC", "DC", OrderAction.DISCONTINUE),
        ("DC", "CA", OrderAction.DISCONTINUE),
        ("HD", "", OrderAction.HOLD),
        ("RL", "", OrderAction.RELEASE),
        ("SN", "NW", OrderAction.SCHEDULE),
        ("RP", "", OrderAction.CANCEL),
        ("RO", "SC", OrderAction.SCHEDULE),
        ("UC", "SC", OrderAction.IGNORE),
        ("RE", "CM", OrderAction.IGNORE),
        ("OP", "", OrderAction.IGNORE),
    ],
)
def test_every_pair_seen_in_the_field_has_its_action(control, status, action):
    assert TABLES.action(control, status) == action


@pytest.mark.parametrize(("control", "status"), [("CA", "IP"), ("CA", "CM"), ("NW", "??"), ("", ""), ("ZZ", "")])
def test_a_pair_whose_meaning_is_open_holds_the_order(control, status):
    with pytest.raises(MappingMiss):
        TABLES.action(control, status)


def test_every_order_grade_identifier_that_differs_goes_to_a_person():
    rows = {(row.signal, row.outcome): row for row in TABLES.evidence}
    for signal in {*ORDER_GRADE, "patient_id", "birth_date", "name"}:
        assert rows[signal, "differs"].contradiction
    for signal in {*ORDER_GRADE, "patient_id"}:
        assert rows[signal, "near"].contradiction, "numbers are given out in sequence"


def test_no_weak_signal_is_a_contradiction():
    weak = {"station", "time", "performer"}
    assert not any(row.contradiction for row in TABLES.evidence if row.signal in weak)


def test_every_evidence_row_says_why():
    assert all(row.why for row in TABLES.evidence)


def test_an_order_number_outweighs_every_other_signal():
    ratio = {row.signal: row.ratio for row in TABLES.evidence if row.outcome == "agrees"}
    assert min(ratio[signal] for signal in ORDER_GRADE) > max(ratio[key] for key in ratio.keys() - ORDER_GRADE)


@pytest.mark.parametrize("name", DATE_NAMES)
def test_no_shipped_pattern_reads_an_identity_out_of_a_date(name):
    reading = read_name(f"{name}.mp4", TABLES.filename_patterns, "ENDO1", "UTC")
    assert not {claim.key for claim in reading.claims} & (IDENTITY | {"family", "given", "birth_date"})


def test_every_shipped_pattern_shows_an_example_that_it_alone_reads_first():
    for row in TABLES.filename_patterns:
        assert read_name(f"{row.example}.mp4", TABLES.filename_patterns, "", "UTC").pattern == row.name


def test_the_shipped_peers_are_on_loopback_only():
    for row in TABLES.destinations:
        assert row.host == "127.0.0.1" or re.match(r"http://127\.0\.0\.1:\d+/", row.url)


def test_every_video_goes_to_the_three_sandbox_peers():
    found = TABLES.route(sender="DEMO_RIS", procedure="EGD", modality="ES", station="ENDO1")
    assert [row.kind for row in found] == ["dicom", "hl7", "fhir"]


def test_every_demo_oid_lies_in_the_arc_for_examples():
    assert all(row.universal_id.startswith("2.999.") for row in TABLES.authorities)


def test_no_station_links_by_place_and_time_alone_by_default():
    assert not any(row.station_and_time_link for row in TABLES.stations)


def test_no_shipped_sender_lets_test_messages_into_production():
    assert TABLES.sender("ANY_RIS", "ANY").processing_ids == "P"
    assert {row.processing_ids for row in TABLES.senders} == {"P"}
