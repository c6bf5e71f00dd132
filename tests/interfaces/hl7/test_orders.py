"""What an order message asks for is read as it was meant, or refused with its place: never guessed."""

from datetime import UTC, date, datetime

import pytest

from interfaces.hl7.orders import read_orders
from models.errors import MessageRefused
from models.mapping import SenderRow
from models.order import Code
from models.patient import Authority, Identifier, PersonName
from tests.interfaces.hl7.messages import HEAD, OBR, ORC, PID, message, order


def read(sender=None, **fields):
    return read_orders(order(**fields), sender or SenderRow())[0]


def refused(raw, sender=None):
    with pytest.raises(MessageRefused) as caught:
        read_orders(raw, sender or SenderRow())
    assert len(str(caught.value)) > 20
    return caught.value


def test_a_whole_order_is_read():
    got = read(
        ZDS_1="1.2.840.99.1^RIS^Application^DICOM", ORC_7="1^^^20260301090000+0100", PV1_19="V1^^^DEMO^VN",
        ORC_12="77^Arzt^Eva^M^Jr^Dr", PV1_8="78^Haus^Max", OBR_34="9&Tech&Tom", OBR_31="R1^Bleeding", OBR_21="ENDO1",
    )  # fmt: skip
    assert (got.control, got.order_status) == ("NW", "SC")
    assert got.sender == Authority(namespace="RIS", universal_id="DEMO")
    assert got.placer == Identifier(value="P1", authority=Authority(namespace="EHR"))
    assert got.filler == Identifier(value="F1", authority=Authority(namespace="RIS"))
    assert (got.accession, got.study_uid) == ("E1001", "1.2.840.99.1")
    assert (got.requested_procedure_id, got.scheduled_step_id) == ("RP1", "SPS1")
    assert got.procedure == Code(value="EGD", meaning="Upper endoscopy", scheme="L")
    assert (got.modality, got.station, got.reason) == ("ES", "ENDO1", "Bleeding")
    assert got.scheduled_at == datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
    assert got.sent_at == datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
    assert got.requester == PersonName(family="Arzt", given="Eva", middle="M", suffix="Jr", prefix="Dr")
    assert (got.referrer.family, got.performer.family) == ("Haus", "Tech")
    assert got.visit_number.value == "V1"
    assert got.patient.name == PersonName(family="Muster", given="Ana")
    assert (got.patient.birth_date, got.patient.sex) == (date(1970, 1, 2), "F")
    assert got.patient.identifier.key == "DEMO|MRN0042"


# --- the patient ---


@pytest.mark.parametrize(
    ("authority", "value"), [("", "2"), ("LAB", "1"), ("2.9", "3"), ("ELSEWHERE", "2")],
    ids=["type MR", "by namespace", "by universal id", "authority not sent"],
)  # fmt: skip
def test_the_patient_id_is_chosen_by_authority_then_type_mr(authority, value):
    ids = "1^^^LAB^PI~2^^^HOSP^MR~3^^^NAT&2.9&ISO^NI"
    patient = read(SenderRow(patient_authority=authority), PID_3=ids).patient
    assert patient.identifier.value == value
    assert {other.value for other in patient.others} == {"1", "2", "3"} - {value}


def test_without_any_hint_the_first_patient_id_is_taken_and_empty_ones_are_not():
    assert read(PID_3='^^^A~""^^^B~7^^^C').patient.identifier.key == "C|7"


def test_the_legal_name_is_taken_and_the_surname_without_its_parts():
    assert read(PID_5="Nick^Name^^^^^N~van Dam&van&Dam^Eva^^^^^L").patient.name == PersonName(
        family="van Dam", given="Eva"
    )


@pytest.mark.parametrize(
    ("sent", "meant"),
    [("19700102", date(1970, 1, 2)), ("197001021230", date(1970, 1, 2)), ("1970", None), ("19700231", None),
     ("Aug 15, 1942", None), ("", None), ("^19700102", date(1970, 1, 2))],
)  # fmt: skip
def test_a_birth_date_is_a_whole_day_or_unknown(sent, meant):
    assert read(PID_7=sent).patient.birth_date == meant


@pytest.mark.parametrize(
    ("sent", "meant"), [("M", "M"), ("f", "F"), ("F^Female^HL70001", "F"), ("O", "O"), ("A", "O"), ("U", ""), ("", "")]
)
def test_the_sex_is_dicoms(sent, meant):
    assert read(PID_8=sent).patient.sex == meant


# --- not sent, deleted, escaped ---


def test_not_sent_is_none_and_two_quotes_delete():
    got = read(OBR_18="", OBR_24='""', ORC_12='""', OBR_4="", OBR_21="")
    assert (got.accession, got.modality, got.procedure, got.station) == (None, "", None, None)
    assert got.requester == PersonName()
    assert got.referrer is None


def test_a_deleted_first_path_does_not_hide_a_value_on_a_later_one():
    assert read(OBR_44='""').procedure.value == "EGD"


def test_escapes_and_unescaped_ampersands_in_texts_are_kept():
    assert read(OBR_4=r"X^MRI W/&W/O \T\ more^L").procedure.meaning == "MRI W/&W/O & more"


# --- several orders ---


def test_every_group_of_a_message_is_an_order():
    raw = message(PID, ORC, OBR, "ORC|CA|P2|F2||CA", "OBR|2|P2|F2|COLO^Colonoscopy^L||||||||||||||E2")
    got = read_orders(raw, SenderRow())
    assert [(r.control, r.placer.value, r.accession) for r in got] == [("NW", "P1", "E1001"), ("CA", "P2", "E2")]


def test_several_obr_under_one_orc_are_several_orders_when_they_can_be_told_apart():
    raw = message(
        PID, "ORC|NW|P1|F1||SC", "TQ1|1||||||202603010900", OBR, OBR.replace("RP1", "RP2").replace("EGD", "COLO")
    )
    got = read_orders(raw, SenderRow())
    assert [(r.requested_procedure_id, r.procedure.value) for r in got] == [("RP1", "EGD"), ("RP2", "COLO")]
    assert {r.scheduled_at for r in got} == {datetime(2026, 3, 1, 9, tzinfo=UTC)}


def test_two_procedures_under_the_same_numbers_are_refused():
    error = refused(message(PID, ORC, OBR, OBR.replace("EGD", "COLO")))
    assert (error.location, error.code) == ("OBR^2^4", "205")


def test_the_one_zds_at_the_end_is_shared_within_a_requested_procedure():
    raw = message(PID, ORC, OBR, ORC, OBR.replace("SPS1", "SPS2"), "ZDS|1.2.3")
    assert [r.study_uid for r in read_orders(raw, SenderRow())] == ["1.2.3", "1.2.3"]


def test_another_requested_procedure_does_not_get_that_study():
    second = OBR.replace("RP1", "RP2").replace("P1^EHR", "P2").replace("F1^RIS", "F2")
    raw = message(PID, ORC, OBR, "ORC|NW|P2|F2||SC", second, "ZDS|1.2.3")
    assert [r.study_uid for r in read_orders(raw, SenderRow())] == [None, "1.2.3"]


def test_an_order_without_obr_may_cancel():
    got = read_orders(message(PID, "ORC|CA|P1^EHR|F1^RIS||CA"), SenderRow())[0]
    assert (got.control, got.procedure, got.accession) == ("CA", None, None)


def test_omi_with_ipc_and_tq1_is_read_by_the_same_rules():
    ipc = "IPC|E7^HOSP|RP7^HOSP|1.2.840.7|SPS7^HOSP|ES^Endoscopy|P^Protocol||ROOM|AET1"
    head = HEAD.replace("ORM^O01", "OMI^O23^OMI_O23")
    raw = message(PID, ORC, "TQ1|1||||||20260301103000", OBR.replace("E1001|RP1|SPS1", "||"), ipc, head=head)
    got = read_orders(raw, SenderRow())[0]
    assert (got.accession, got.accession_authority.namespace) == ("E7", "HOSP")
    assert (got.study_uid, got.scheduled_step_id, got.station) == ("1.2.840.7", "SPS7", "AET1")
    assert got.scheduled_at == datetime(2026, 3, 1, 10, 30, tzinfo=UTC)


# --- the sender's own paths ---


def test_a_senders_chain_says_where_the_accession_is():
    row = SenderRow(accession="IPC-1.1|OBR-18.1|OBR-20.1")
    assert read(row, OBR_18="", OBR_20="A77").accession == "A77"


def test_a_fallback_field_may_differ_from_the_accession():
    row = SenderRow(accession="OBR-18.1|OBR-3.1|ORC-3.1")
    assert read(row).accession == "E1001"


def test_the_study_uid_is_found_in_an_obx():
    assert read(OBX_3="113014^DICOM Study^DCM", OBX_5="1.2.3.4").study_uid == "1.2.3.4"


def test_orc_wins_over_obr_and_takes_the_authority_that_only_obr_says():
    assert read(ORC_2="P1", OBR_2="P9").placer.value == "P1"
    assert read(ORC_2="P1", OBR_2="P1^EHR").placer.authority.namespace == "EHR"
    assert read(ORC_2="", OBR_2="P9^X").placer == Identifier(value="P9", authority=Authority(namespace="X"))


# --- time ---


@pytest.mark.parametrize(
    ("sent", "zone", "hour"),
    [("20260301090000", "UTC", 9), ("202603010900", "Europe/Zurich", 8), ("20260701090000", "Europe/Zurich", 7),
     ("20260301090000-0500", "Europe/Zurich", 14), ("2026030109", "UTC", 9), ("20260301090000.123", "UTC", 9)],
)  # fmt: skip
def test_a_scheduled_time_has_the_senders_zone_unless_it_says_its_own(sent, zone, hour):
    at = read(SenderRow(time_zone=zone), OBR_27=f"^^^{sent}").scheduled_at
    assert at.astimezone(UTC).hour == hour


@pytest.mark.parametrize("sent", ["02282020_150014", "20260231090000", "200082011000", "tomorrow", "20260301250000",
                                  "202603010900+9900", "00010101000000"])  # fmt: skip
def test_a_time_that_cannot_be_read_is_refused_with_its_place(sent):
    error = refused(order(ORC_7=f"1^^^{sent}"))
    assert (error.location, error.code) == ("ORC^1^7", "102")


def test_a_day_without_an_hour_is_no_slot_and_the_next_place_is_looked_at():
    assert read(ORC_7="1^^^20260301").scheduled_at is None
    assert read(ORC_7="1^^^20260301", OBR_27="1^^^202603011430").scheduled_at.hour == 14


# --- laterality ---


@pytest.mark.parametrize(
    ("fields", "side"),
    [
        ({"OBR_46": "R"}, "R"), ({"OBR_46": "L^Left^HL70163"}, "L"), ({"OBR_45": "26~RT"}, "R"),
        ({"OBR_45": "50"}, "B"),
        ({"OBR_46": "7771000^Left^SCT"}, "L"), ({"OBR_15": "KNEE^^^^R&Right"}, "R"), ({"OBR_46": "X1^Right"}, "R"),
        ({}, None), ({"OBR_46": "X^right knee"}, None), ({"OBR_4": "KNEE^Arthroscopy right knee^L"}, None),
        ({"OBR_46": "R^Left"}, ""), ({"OBR_45": "LT~RT"}, ""), ({"OBR_46": "R", "OBR_45": "LT"}, ""),
    ],
)  # fmt: skip
def test_the_side_comes_from_codes_only_and_a_contradiction_gives_none(fields, side):
    assert read(**fields).laterality == side


# --- refusals ---


@pytest.mark.parametrize(
    ("raw", "location", "code"),
    [
        (message(ORC, OBR), "PID^1", "100"),
        (order(PID_3=""), "PID^1^3", "101"),
        (order(PID_3='""'), "PID^1^3", "101"),
        (order(PID_3="1\\E\\2"), "PID^1^3", "102"),
        (order(PID_3="1" * 65), "PID^1^3", "102"),
        (message(PID, OBR), "ORC^1", "100"),
        (message(PID, OBR, ORC), "OBR^1", "100"),
        (message(PID, PID, ORC, OBR), "PID^2", "100"),
        (message(PID, ORC, OBR, HEAD, PID, ORC, OBR), "MSH^2", "100"),
        (message(PID, ORC), "OBR^1", "100"),
        (message(PID, "ORC|NW|1", "RXO|x"), "RXO^1^1", "100"),
        (order(ORC_2="", ORC_3="", OBR_2="", OBR_3="", OBR_18=""), "ORC^1^2", "101"),
        (order(OBR_18="A" * 17), "OBR^1^18", "102"),
        (order(OBR_18="A\\E\\B"), "OBR^1^18", "102"),
        (order(OBR_18="A\\.br\\B"), "OBR^1^18", "102"),
        (order(OBR_18="A1~A2"), "OBR^1^18", "102"),
        (order(IPC_1="A1"), "OBR^1^18", "102"),
        (order(ORC_2="P1~P2"), "ORC^1^2", "102"),
        (order(ZDS_1="1.2.x"), "ZDS^1^1", "102"),
        (order(ZDS_1="1.02.3"), "ZDS^1^1", "102"),
        (order(ZDS_1="1." * 32 + "1"), "ZDS^1^1", "102"),
        (order(ZDS_1="1.2.3", IPC_3="1.2.4"), "ZDS^1^1", "102"),
        (order(ZDS_1="1.2.3", OBX_3="110180", OBX_5="1.2.4"), "OBX^1^5", "102"),
    ],
    ids=[
        "no PID", "no PID-3", "deleted PID-3", "backslash in the id", "id too long", "no ORC", "OBR before ORC",
        "two patients", "two messages", "new order without OBR", "pharmacy", "no number", "accession too long",
        "backslash in the accession", "line break in the accession", "accession repeated with another value",
        "IPC-1 and OBR-18 disagree", "ORC-2 repeated with another value", "no UID", "UID with a leading zero",
        "UID too long", "two study UIDs", "study UID and OBX disagree",
    ],
)  # fmt: skip
def test_what_would_be_a_guess_is_refused_with_place_and_code(raw, location, code):
    error = refused(raw)
    assert (error.location, error.code) == (location, code)


def test_the_refusal_of_a_second_group_names_its_own_place():
    assert refused(message(PID, ORC, OBR, "ORC|NW|P2", OBR.replace("E1001", "A" * 17))).location == "OBR^2^18"


def test_an_accession_of_sixteen_characters_is_taken_whole():
    assert read(OBR_18="A" * 16).accession == "A" * 16
