"""DICOM identity: a retry can never mint a second UID, and two things can never share one (clinical.md 1 and 2)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.study import (
    MODALITIES,
    SopClass,
    TransferSyntax,
    derive_series_uid,
    derive_sop_uid,
    derive_study_uid,
    derive_uid,
)

#: PS3.5 9.1: components of digits, none with a leading zero, 64 characters in all.
UID = re.compile(r"(?=.{1,64}$)(0|[1-9]\d*)(\.(0|[1-9]\d*))*")

parts = st.lists(st.text(max_size=40), max_size=6)

RECORDING = {
    "file_sha256": "ab" * 32,
    "order_id": "order-1",
    "revision": 1,
    "kind": "passthrough",
    "transfer_syntax": TransferSyntax.H264_HIGH_41,
    "sop_class": SopClass.VIDEO_ENDOSCOPIC,
    "part": 1,
}


@given(parts)
def test_a_derived_uid_is_a_valid_uid_and_always_the_same(given_parts: list[str]) -> None:
    uid = derive_uid(*given_parts)
    assert UID.fullmatch(uid)
    assert uid.startswith("2.25.")
    assert derive_uid(*given_parts) == uid


@given(parts, parts)
def test_different_parts_never_share_a_uid(one: list[str], other: list[str]) -> None:
    # The unit separator cannot come from a message: control characters end or part HL7 segments.
    clean = [[part.replace("\x1f", "") for part in some] or [""] for some in (one, other)]
    assert (derive_uid(*clean[0]) == derive_uid(*clean[1])) == (clean[0] == clean[1])


def test_parts_do_not_run_together() -> None:
    assert len({derive_uid("a", "bc"), derive_uid("ab", "c"), derive_uid("abc"), derive_uid("abc", "")}) == 4


def test_uids_stay_what_they_were_in_earlier_versions() -> None:
    """A changed derivation would send every object a second time after an upgrade or a restored backup."""
    assert derive_study_uid("DEMO_RIS", "F1", "RP1") == "2.25.293531188978606620760297710800037485665"
    assert (
        derive_series_uid("ab" * 32, "order-1", "ES", SopClass.VIDEO_ENDOSCOPIC)
        == "2.25.7264518272714123341656497078307519219"
    )
    assert derive_sop_uid(**RECORDING) == "2.25.184316802245392853521819360175946812883"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"file_sha256": "cd" * 32},
        {"order_id": "order-2"},
        {"revision": 2},
        {"kind": "transcode"},
        {"transfer_syntax": TransferSyntax.H264_HIGH_42_2D},
        {"sop_class": SopClass.VIDEO_PHOTOGRAPHIC},
        {"part": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_instance_that_differs_in_any_respect_has_a_uid_of_its_own(change: dict[str, object]) -> None:
    assert derive_sop_uid(**RECORDING) != derive_sop_uid(**(RECORDING | change))  # type: ignore[arg-type]


def test_two_procedures_of_one_order_number_are_two_studies() -> None:
    assert derive_study_uid("RIS", "F1", "RP1") != derive_study_uid("RIS", "F1", "RP2")


def test_the_same_number_of_two_authorities_is_two_studies() -> None:
    assert derive_study_uid("RIS", "F1", "RP1") != derive_study_uid("EHR", "F1", "RP1")


def test_one_recording_is_one_series_for_each_modality_and_sop_class() -> None:
    series = {
        derive_series_uid(sha, order, modality, sop)
        for sha in ("ab", "cd")
        for order in ("1", "2")
        for modality in ("ES", "XC")
        for sop in (SopClass.VIDEO_ENDOSCOPIC, SopClass.VIDEO_PHOTOGRAPHIC)
    }
    assert len(series) == 16


def test_a_study_a_series_and_an_instance_never_share_a_uid() -> None:
    assert len({derive_uid(kind, "a", "b", "c") for kind in ("study", "series", "instance")}) == 3
    assert derive_study_uid("a", "b", "c") != derive_uid("a", "b", "c")


def test_every_sop_class_says_which_modalities_it_allows_and_no_two_video_classes_share_one() -> None:
    assert set(MODALITIES) == set(SopClass)
    allowed = [modality for modalities in MODALITIES.values() for modality in modalities]
    assert len(allowed) == len(set(allowed))


@pytest.mark.parametrize("uid", [*SopClass, *TransferSyntax])
def test_every_uid_of_the_standard_is_well_formed(uid: str) -> None:
    assert UID.fullmatch(uid)
    assert uid.startswith("1.2.840.10008.")


@pytest.mark.parametrize("syntax", [syntax for syntax in TransferSyntax if syntax.name.endswith("_FRAGMENTABLE")])
def test_a_fragmentable_syntax_is_the_plain_one_and_a_final_one(syntax: TransferSyntax) -> None:
    assert syntax == f"{TransferSyntax[syntax.name.removesuffix('_FRAGMENTABLE')]}.1"
