"""Look-ups in the mapping tables: the narrower row wins, and what is not there is never guessed."""

import pytest
from pydantic import ValidationError

from models.errors import MappingMiss
from models.mapping import (
    AuthorityRow,
    DestinationRow,
    FilenamePatternRow,
    MappingSet,
    OrderControlRow,
    ProcedureRow,
    RouteRow,
    SenderRow,
    SopClassName,
    StationRow,
)
from models.order import Code, OrderAction
from models.patient import Authority


def procedure(**changes):
    values = {
        "code": "EGD", "modality": "ES", "sop_class": SopClassName.VIDEO_ENDOSCOPIC, "region_code": "110861005",
        "region_meaning": "Esophagus, stomach and duodenum",
    }  # fmt: skip
    return ProcedureRow(**(values | changes))


def peer(name):
    return DestinationRow(name=name, kind="hl7", host="127.0.0.1", port=2576)


def test_a_row_of_the_sender_wins_over_one_of_the_scheme_and_that_over_a_general_one():
    rows = (procedure(description="any"), procedure(scheme="L", description="scheme"))
    both = (*rows, procedure(sender="RIS", description="sender"))
    code = Code(value="EGD", scheme="L")
    assert MappingSet(version=1, procedures=rows[:1]).procedure(code, "RIS").description == "any"
    assert MappingSet(version=1, procedures=rows).procedure(code, "RIS").description == "scheme"
    assert MappingSet(version=1, procedures=both).procedure(code, "RIS").description == "sender"
    assert MappingSet(version=1, procedures=both).procedure(code, "OTHER").description == "scheme"


def test_a_procedure_that_is_not_there_is_a_miss_that_names_it():
    with pytest.raises(MappingMiss, match=r"'ERCP' .* add one") as caught:
        MappingSet(version=1, procedures=(procedure(),)).procedure(Code(value="ERCP"), "RIS")
    assert (caught.value.table, caught.value.value) == ("procedures", "ERCP")


def test_a_modality_of_another_kind_of_object_is_refused():
    with pytest.raises(ValidationError, match="does not go with"):
        procedure(modality="US")


def test_the_exact_pair_wins_over_any_status():
    rows = (
        OrderControlRow(control="SC", action=OrderAction.HOLD),
        OrderControlRow(control="SC", status="CM", action=OrderAction.COMPLETE),
    )
    tables = MappingSet(version=1, order_control=rows)
    assert tables.action("SC", "CM") == OrderAction.COMPLETE
    assert tables.action("SC", "XX") == OrderAction.HOLD


def test_a_row_for_no_status_does_not_answer_for_another_status():
    tables = MappingSet(version=1, order_control=(OrderControlRow(control="CA", status="", action="cancel"),))
    with pytest.raises(MappingMiss):
        tables.action("CA", "IP")


def test_application_and_facility_win_over_application_alone():
    rows = (SenderRow(), SenderRow(application="RIS"), SenderRow(application="RIS", facility="NORTH"))
    tables = MappingSet(version=1, senders=rows)
    assert tables.sender("RIS", "NORTH") == rows[2]
    assert tables.sender("RIS", "SOUTH") == rows[1]
    assert tables.sender("EHR", "NORTH") == rows[0]


def test_a_folder_without_a_station_is_no_station():
    tables = MappingSet(version=1, stations=(StationRow(station="ENDO1"),))
    assert tables.station_of_folder("") is None
    assert tables.station_named("") is None


def test_a_time_zone_that_does_not_exist_is_refused():
    with pytest.raises(ValidationError, match="Europe/Zurich"):
        StationRow(station="ENDO1", time_zone="Europe/Zuerich")


def test_an_authority_is_known_by_its_namespace_or_its_oid():
    row = AuthorityRow(namespace="DEMO", kind="patient", universal_id="2.999.1.1")
    tables = MappingSet(version=1, authorities=(row,))
    assert tables.authority(Authority(namespace="DEMO"), "patient") == row
    assert tables.authority(Authority(universal_id="2.999.1.1"), "patient") == row
    assert tables.authority(Authority(namespace="DEMO"), "placer") is None


def test_an_authority_without_a_name_is_none_that_we_know():
    tables = MappingSet(version=1, authorities=(AuthorityRow(namespace="DEMO", kind="patient"),))
    assert tables.authority(Authority(), "patient") is None


def test_every_route_that_fits_adds_its_destinations_once():
    routes = (
        RouteRow(name="all", destinations="pacs|ehr"),
        RouteRow(name="endo", station="ENDO*", destinations="ehr|teaching"),
        RouteRow(name="us", modality="US", destinations="echo"),
    )
    tables = MappingSet(version=1, routes=routes, destinations=tuple(map(peer, ("pacs", "ehr", "teaching", "echo"))))
    found = tables.route(sender="RIS", procedure="EGD", modality="ES", station="ENDO2")
    assert [row.name for row in found] == ["pacs", "ehr", "teaching"]


def test_a_video_without_a_route_is_a_miss():
    tables = MappingSet(version=1, routes=(RouteRow(name="us", modality="US", destinations="pacs"),))
    with pytest.raises(MappingMiss, match="no route fits"):
        tables.route(sender="RIS", procedure="EGD", modality="ES", station="ENDO1")


@pytest.mark.parametrize("kind", ["dicom", "hl7", "fhir"])
def test_a_destination_without_an_address_is_refused(kind):
    with pytest.raises(ValidationError, match="is needed for a"):
        DestinationRow(name="peer", kind=kind)


def test_a_transfer_syntax_that_does_not_exist_is_refused():
    with pytest.raises(ValidationError, match="no video transfer syntax"):
        DestinationRow(name="pacs", kind="fhir", url="x", transfer_syntaxes="102|107.1")


def test_a_group_that_means_nothing_is_refused():
    with pytest.raises(ValidationError, match="unknown group 'mrn'"):
        FilenamePatternRow(name="x", pattern=r"(?P<mrn>\d+)")
