"""The notice names the order and the stored objects, finishes nothing, and is read by parsers that are not ours."""

from __future__ import annotations

import re
from datetime import timedelta

import hl7
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import given, settings
from hypothesis import strategies as st

from interfaces.hl7.parsing import parse
from interfaces.hl7.results import build_oru
from models.delivery import ResultNotice
from models.errors import DeliveryFailed
from models.order import Code
from models.patient import Authority, Identifier, Patient, PersonName
from models.study import Instance
from tests.samples import NOW, order


def instance(number: int = 1, **changes: object) -> Instance:
    values: dict[str, object] = {
        "sop_uid": f"2.25.{number}", "sop_class": "1.2.840.10008.5.1.4.1.1.77.1.1.1",
        "transfer_syntax": "1.2.840.10008.1.2.4.102", "series_uid": "2.25.7", "study_uid": "2.25.42",
        "order_id": "order", "recording_id": "recording", "modality": "ES", "series_number": 1,
        "file_sha256": "ab" * 32, "duration": 61.25,
    }  # fmt: skip
    return Instance(**(values | changes))  # type: ignore[arg-type]


def notice(**changes: object) -> ResultNotice:
    values: dict[str, object] = {
        "control_id": "CL0123456789ABCDEF01", "event_at": NOW, "order": order(), "instances": (instance(), instance(2)),
        "receiving_application": "EHR", "receiving_facility": "HOSP", "started_at": NOW,
        "ended_at": NOW + timedelta(minutes=2),
    }  # fmt: skip
    return ResultNotice(**(values | changes))  # type: ignore[arg-type]


def test_the_notice_carries_the_orders_identity():
    got = parse(build_oru(notice()))
    expected = {
        "MSH-3": "CINELINK", "MSH-5": "EHR", "MSH-7": "20260301090000+0000", "MSH-9.3": "ORU_R01",
        "MSH-10": "CL0123456789ABCDEF01", "MSH-11": "P", "MSH-12": "2.5.1", "MSH-18": "UNICODE UTF-8",
        "PID-3.1": "MRN0042", "PID-3.4.1": "DEMO", "PID-3.4.2": "2.999.1.1", "PID-3.5": "MR", "PID-5.1": "Muster",
        "PID-7": "19700102", "PID-8": "F", "ORC-2.1": "PE1001", "ORC-2.2": "DEMO_EHR", "ORC-3.1": "FE1001",
        "OBR-2.1": "PE1001", "OBR-3.2": "DEMO_RIS", "OBR-4.1": "EGD", "OBR-44.1": "EGD", "OBR-7": "20260301090000+0000",
        "OBR-8": "20260301090200+0000", "OBR-18": "E1001", "OBR-19": "RPE1001", "OBR-20": "SPSE1001", "OBR-24": "ES",
        "OBR-25": "R", "TQ1-7": "20260301090000+0000", "OBX:113014": "2.25.42",
        "OBX:CLIPS": "2", "OBX:DURATION": "122.5",
    }  # fmt: skip
    assert {path: got.values(path)[0] for path in expected} == expected
    assert got.values("OBX:SOPINSTANCEUID") == ("2.25.1", "2.25.2")
    assert set(got.values("OBX-11")) == {"O"}


def test_a_stored_video_finishes_no_order_unless_the_destinations_owner_says_so():
    stored = parse(build_oru(notice()))
    assert (stored.values("ORC-1"), stored.values("ORC-5")) == (("RE",), ())
    final = parse(build_oru(notice(result_status="F", observation_status="F")))
    assert (final.values("ORC-1"), final.values("ORC-5"), final.values("OBR-25")) == (("SC",), ("CM",), ("F",))
    assert set(final.values("OBX-11")) == {"F"}


def test_the_same_notice_gives_the_same_bytes():
    assert build_oru(notice()) == build_oru(notice())


def test_every_segment_ends_with_cr_and_the_text_is_utf_8():
    named = order(patient=Patient(identifier=Identifier(value="1"), name=PersonName(family="Núñez", given="José")))
    raw = build_oru(notice(order=named))
    assert raw.endswith(b"\r")
    assert b"\n" not in raw
    assert "Núñez^José".encode() in raw


def test_two_foreign_parsers_read_it():
    raw = build_oru(notice())
    strict = parse_message(raw.decode(), VALIDATION_LEVEL.STRICT, find_groups=True)
    strict.validate()
    assert strict.name == "ORU_R01"
    loose = hl7.parse(raw.decode())
    assert str(loose.segment("OBR")[18]) == "E1001"
    assert len(loose.segments("OBX")) == 5


def test_a_bare_order_gives_a_notice_too():
    bare = order(
        patient=Patient(identifier=Identifier(value="1")), placer=None, scheduled_at=None, modality="", accession="",
        requested_procedure_id="", scheduled_step_id="",
    )  # fmt: skip
    got = parse(build_oru(notice(order=bare, started_at=None, ended_at=None)))
    assert (got.values("PID-3.1"), got.values("PID-5.7"), got.values("ORC-2"), got.values("OBR-24")) == (
        ("1",),
        ("U",),
        (),
        ("ES",),
    )


def test_every_study_of_the_order_is_named_once():
    got = parse(build_oru(notice(instances=(instance(), instance(2, study_uid="2.25.43"), instance(3)))))
    assert got.values("OBX:113014") == ("2.25.42", "2.25.43")


def test_without_a_stored_object_there_is_no_notice():
    with pytest.raises(DeliveryFailed, match="no stored object"):
        build_oru(notice(instances=()))


_TEXT = st.text(alphabet='abXFSTRE019^~\\&|.#"\r\n\x0b\x1c éç漢', min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(_TEXT, _TEXT, _TEXT, _TEXT)
def test_no_text_of_an_order_can_change_the_message(number, authority, family, meaning):
    person = Patient(
        identifier=Identifier(value=f"1{number}1", authority=Authority(namespace=f"2{authority}2")),
        name=PersonName(family=f"x{family}x"),
    )
    built = build_oru(notice(order=order(patient=person, procedure=Code(value="EGD", meaning=f"x{meaning}x"))))
    got = parse(built)
    assert [segment.name for segment in got.segments] == ["MSH", "PID", "PV1", "ORC", "OBR", "TQ1", *["OBX"] * 5]
    said = [got.values(path)[0] for path in ("PID-3.1", "PID-3.4.1", "PID-5.1", "OBR-4.2")]
    meant = [f"1{number}1", f"2{authority}2", f"x{family}x", f"x{meaning}x"]
    assert said == [re.sub(r"[\x00-\x1f\x7f]+", " ", text) for text in meant]
