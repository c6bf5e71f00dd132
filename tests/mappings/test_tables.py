"""A table that is not usable is refused with every cell that is wrong; nothing is guessed."""

import pytest

from mappings.csvtext import decode
from mappings.tables import check_set, check_table, load_set, parse_table, read_tables, shipped, write_table
from models.errors import MappingError
from models.mapping import DestinationRow, EvidenceRow, RouteRow, StationRow

ROUTES = "name,sender,procedure,modality,station,destinations\n"
ORDER_CONTROL = "control,status,action,note\n"
EVIDENCE = "signal,outcome,ratio,contradiction,why\n"
PATTERNS = "name,station,priority,pattern,example\n"


def problems(name, text):
    return check_table(name, text)[1]


def only(name, text):
    (problem,) = problems(name, text)
    return problem


def test_all_wrong_cells_are_listed_with_line_and_column():
    text = EVIDENCE + "time,agrees,10,false,\ntime,sometimes,10,false,\nname,agrees,plenty,perhaps,\n"
    rows, found = check_table("evidence", text)
    assert [row.signal for row in rows] == ["time"]
    assert [(one.line, one.column, one.value) for one in found] == [
        (3, "outcome", "sometimes"),
        (4, "ratio", "plenty"),
        (4, "contradiction", "perhaps"),
    ]


def test_the_error_names_the_first_problem_and_how_many_there_are():
    text = EVIDENCE + "time,sometimes,10,false,\nname,agrees,plenty,false,\n"
    with pytest.raises(MappingError, match=r"evidence\.csv line 2, column outcome: 'sometimes' .* first of 2 problems"):
        parse_table("evidence", text)


def test_lines_are_counted_through_comments_and_cells_with_line_breaks():
    text = "# where it is from\n# licence\n" + EVIDENCE + '"time",agrees,10,false,"two\nlines"\nname,agrees,x,false,\n'
    assert only("evidence", text).line == 6


def test_a_comment_may_hold_quotes_and_commas():
    text = '# a "word", and more\n"# kept by a spreadsheet",,,\n' + ORDER_CONTROL + "NW,,schedule,\n"
    assert len(parse_table("order_control", text)) == 1


def test_an_unknown_column_is_refused_with_the_one_that_was_meant():
    found = problems("order_control", "control,status,actoin,note\nNW,,schedule,\n")
    assert {one.column for one in found} == {"actoin", "action"}
    assert "do you mean action?" in found[0].sentence


def test_a_missing_column_is_refused_with_its_usual_value():
    found = only("routes", ROUTES.replace("station,", "") + "all,*,*,*,a\n")
    assert found.column == "station"
    assert "usual value '*'" in found.sentence


def test_a_column_that_is_there_twice_is_refused():
    assert "twice" in only("order_control", "control,status,action,note,note\nNW,,schedule,,\n").sentence


def test_a_duplicate_key_is_refused_with_the_line_of_the_first():
    found = only("order_control", ORDER_CONTROL + "NW,SC,schedule,\nCA,CA,cancel,\nNW,SC,ignore,\n")
    assert (found.line, found.column) == (4, "control")
    assert "stand in line 2" in found.sentence


@pytest.mark.parametrize("text", ["", "\ufeff", "\n\n", "# only a comment\n", ",,,\n"])
def test_an_empty_file_is_refused_with_the_header_it_needs(text):
    assert "its first line is control,status,action,note" in only("order_control", text).sentence


def test_a_table_without_rows_is_a_table():
    assert parse_table("stations", write_table("stations", [])) == ()


def test_an_unknown_table_is_refused_with_the_one_that_was_meant():
    with pytest.raises(MappingError, match="do you mean routes"):
        parse_table("route", ROUTES)


def test_a_needed_cell_may_not_be_empty():
    assert only("order_control", ORDER_CONTROL + ",SC,schedule,\n").column == "control"


def test_an_empty_status_means_no_status_and_not_any():
    (row,) = parse_table("order_control", ORDER_CONTROL + "NW,,schedule,\n")
    assert row.status == ""


def test_an_empty_condition_of_a_route_is_refused_because_it_fits_nothing():
    found = only("routes", ROUTES + "all,,*,*,*,a\n")
    assert (found.column, "write * for any" in found.sentence) == ("sender", True)


def test_blanks_around_a_key_are_refused_because_it_would_never_be_found():
    assert "blanks around it" in only("order_control", ORDER_CONTROL + "NW ,SC,schedule,\n").sentence


def test_a_code_that_a_spreadsheet_shortened_is_refused():
    text = shipped("procedures").replace("\n433236007,SCT", "\n4.33E+08,SCT")
    assert "format the column as text" in only("procedures", text).sentence


def test_a_row_with_a_cell_too_many_is_refused():
    assert (
        "5 cells where the header has 4"
        in only("order_control", ORDER_CONTROL + "NW,SC,schedule,a note, more\n").sentence
    )


def test_quotes_that_do_not_fit_are_refused_with_the_line():
    found = only("order_control", ORDER_CONTROL + 'NW,SC,schedule,\nCA,CA,cancel,"open\n')
    assert (found.line, "quotes" in found.sentence) == (3, True)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_what_a_spreadsheet_of_another_country_saves_is_read(separator):
    text = "\ufeff" + (ORDER_CONTROL + "NW,SC,schedule,\n").replace(",", separator).replace("\n", "\r\n")
    assert parse_table("order_control", text)[0].status == "SC"


def test_what_spreadsheets_write_for_yes_and_no_is_read():
    rows = parse_table("evidence", EVIDENCE + "a,near,1,TRUE,\nb,near,1.0,No,\nc,near, 2 ,,\n")
    assert [(row.ratio, row.contradiction) for row in rows] == [(1.0, True), (1.0, False), (2.0, False)]


def test_an_apostrophe_that_guards_nothing_belongs_to_the_text():
    (row,) = parse_table("order_control", ORDER_CONTROL + "NW,SC,schedule,'t is new\n")
    assert row.note == "'t is new"


def test_blank_lines_at_the_end_are_no_rows():
    assert len(parse_table("order_control", ORDER_CONTROL + "NW,SC,schedule,\n,,,\n\n")) == 1


def test_a_file_that_is_not_utf8_is_refused_with_its_line():
    with pytest.raises(MappingError, match=r"stations\.csv line 2 is not UTF-8"):
        decode("station\nOP Süd\n".encode("cp1252"), "stations.csv")


def test_a_utf16_file_is_refused_in_words():
    with pytest.raises(MappingError, match="UTF-16"):
        decode("station".encode("utf-16"), "stations.csv")


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        (r"(?P<accession>\w+)", "accession"),
        (r"(?P<patient_id>\d+)_(?P<time>\d+)", "patient_id"),
        (r"(?P<date>\d{8})(?P<placer>\d{6})", "placer"),
        (r"(?P<patient_id>[^/]+)/(?P<date>\d{8})(?P<time>\d{6})", "patient_id"),
    ],
)
def test_a_pattern_that_would_read_a_date_as_an_identity_is_refused(pattern, taken):
    found = only("filename_patterns", PATTERNS + f'loose,*,1,"{pattern}",\n')
    assert (found.column, taken in found.sentence) == ("pattern", True)


def test_a_pattern_whose_example_does_not_match_is_refused():
    assert "does not match" in only("filename_patterns", PATTERNS + "x,*,1,A(?P<accession>B),C\n").sentence


@pytest.mark.parametrize("ratio", ["inf", "nan", "0", "-1"])
def test_a_ratio_that_would_break_the_probabilities_is_refused(ratio):
    assert only("evidence", EVIDENCE + f"time,near,{ratio},false,\n").column == "ratio"


@pytest.mark.parametrize(("outcome", "ratio"), [("agrees", "0.5"), ("differs", "2")])
def test_a_ratio_that_turns_evidence_round_is_refused(outcome, ratio):
    assert only("evidence", EVIDENCE + f"time,{outcome},{ratio},false,\n").column == "ratio"


@pytest.mark.parametrize(
    ("column", "old", "new"),
    [
        ("body_part", "LARYNX", "larynx"),
        ("region_code", "4596009", "45960090000000000"),
        ("series_description", "Laryngostroboscopy video", "x" * 65),
        ("region_meaning", "Larynx,false", "a\\b,false"),
    ],
)
def test_a_value_that_dicom_cannot_hold_is_refused(column, old, new):
    assert only("procedures", shipped("procedures").replace(old, new, 1)).column == column


def test_a_modality_that_does_not_go_with_the_object_is_refused():
    text = shipped("procedures").replace("(local code of the demo),ES,", "(local code of the demo),XC,", 1)
    assert "does not go with" in only("procedures", text).sentence


def test_a_route_to_nowhere_is_refused():
    tables = {"destinations": (DestinationRow(name="pacs", kind="fhir", url="x"),), "routes": (
        RouteRow(name="all", destinations="pacs"), RouteRow(name="lost", destinations="pacs|psca"))}  # fmt: skip
    (found,) = check_set(tables)
    assert (found.line, found.column, found.value) == (3, "destinations", "psca")


def test_two_stations_in_one_folder_are_refused():
    tables = {"stations": (StationRow(station="ENDO1", folder="endo"), StationRow(station="ENDO2", folder="endo"))}
    (found,) = check_set(tables)
    assert "already belongs to 'ENDO1'" in found.sentence


def test_two_stations_without_a_folder_are_fine():
    assert check_set({"stations": (StationRow(station="ENDO1"), StationRow(station="ENDO2"))}) == ()


def test_a_sites_table_replaces_the_shipped_one_as_a_whole(tmp_path):
    row = EvidenceRow(signal="time", outcome="agrees", ratio=7)
    (tmp_path / "evidence.csv").write_text(write_table("evidence", [row]), encoding="utf-8-sig")
    tables = read_tables(tmp_path)
    assert tables["evidence"] == (row,)
    assert tables["stations"] == read_tables()["stations"]


def test_a_sites_route_to_a_destination_that_is_not_shipped_is_refused_with_its_line(tmp_path):
    (tmp_path / "routes.csv").write_text("# ours\n" + ROUTES + "all,*,*,*,*,our-pacs\n", encoding="utf-8")
    with pytest.raises(MappingError, match=r"routes\.csv line 3, column destinations: 'our-pacs' is not"):
        read_tables(tmp_path)


def test_a_file_that_replaces_nothing_is_refused(tmp_path):
    (tmp_path / "procedure.csv").write_text("code\n", encoding="utf-8")
    with pytest.raises(MappingError, match="do you mean procedures"):
        read_tables(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(MappingError, match="cannot be read"):
        read_tables(tmp_path / "mapings")


def test_other_files_in_a_sites_folder_do_no_harm(tmp_path):
    (tmp_path / "README.md").write_text("ours", encoding="utf-8")
    assert read_tables(tmp_path) == read_tables()


def test_a_set_carries_its_version_and_every_table():
    tables = read_tables()
    loaded = load_set(7)
    assert loaded.version == 7
    assert {name: getattr(loaded, name) for name in tables} == tables
