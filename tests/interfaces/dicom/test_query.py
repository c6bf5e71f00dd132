from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from interfaces.dicom.query import MOST_ANSWERS, echo, find_studies, prove
from interfaces.dicom.sandbox import SandboxPacs
from interfaces.dicom.store import store
from models.delivery import DicomPeer, ExpectedInstance, Proof, StudyFound
from models.errors import Declined, Unreachable
from tests.interfaces.dicom.objects import expected, write_video
from tests.interfaces.dicom.scp import match, scp
from tests.peers.dicom import LOOPBACK, dcmqrscp, free_port, link, storescp
from tests.peers.orthanc import OrthancPeer

EVERYTHING = {
    "SOPClassUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "PatientID",
    "IssuerOfPatientID",
    "AccessionNumber",
}


def image(identity: ExpectedInstance, **changes: str) -> list:
    """Return the answer on IMAGE level that proves an instance."""
    values = {
        "SOPInstanceUID": identity.sop_uid,
        "SeriesInstanceUID": identity.series_uid,
        "StudyInstanceUID": identity.study_uid,
        "SOPClassUID": identity.sop_class,
    }
    return [match(**(values | changes))]


def study(identity: ExpectedInstance, **changes: str) -> list:
    """Return the answer on STUDY level that proves an identity."""
    values = {
        "StudyInstanceUID": identity.study_uid,
        "PatientID": identity.patient_id,
        "IssuerOfPatientID": identity.issuer_of_patient_id,
        "AccessionNumber": identity.accession,
    }
    return [match(**(values | changes))]


def test_orthanc_proves_what_it_stored_with_nothing_left_unstated(
    pacs: OrthancPeer, video: Path, identity: ExpectedInstance
) -> None:
    store(pacs.dicom, video)
    proof = prove(pacs.dicom, identity)
    assert proof.holds
    assert not proof.unstated
    assert set(proof.held_as) == EVERYTHING
    assert proof.held_as["PatientID"] == identity.patient_id


def test_a_strictly_hierarchical_archive_proves_too(tmp_path: Path, video: Path, identity: ExpectedInstance) -> None:
    with dcmqrscp(tmp_path / "archive", "+xn") as peer:
        store(peer, video)
        proof = prove(peer, identity)
    assert proof.holds
    assert proof.held_as["AccessionNumber"] == identity.accession
    assert proof.unstated == ("SOPClassUID",)


def test_what_was_never_sent_is_not_found(pacs: OrthancPeer, identity: ExpectedInstance) -> None:
    proof = prove(pacs.dicom, identity)
    assert not proof.found
    assert not proof.conflicts


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patient_id": "PAT-9"}, "the patient ID is 'PAT-9' there, not 'PAT-1001'"),
        ({"accession": "ACC-9"}, "the accession number is 'ACC-9' there, not 'ACC-1001'"),
        ({"issuer_of_patient_id": "ELSEWHERE"}, "the issuer of patient ID is 'ELSEWHERE' there, not 'SITE'"),
    ],
)
def test_an_object_that_is_held_under_another_identity_is_a_conflict(
    pacs: OrthancPeer, tmp_path: Path, identity: ExpectedInstance, changes: dict[str, str], words: str
) -> None:
    coerced = identity.model_copy(update=changes)
    store(pacs.dicom, write_video(tmp_path / "video.dcm", coerced))
    proof = prove(pacs.dicom, identity)
    assert proof.found
    assert not proof.holds
    assert proof.conflicts == (words,)


def test_a_study_that_is_held_under_two_patients_is_a_conflict_although_one_of_them_is_right(
    pacs: OrthancPeer, tmp_path: Path, video: Path, identity: ExpectedInstance
) -> None:
    store(pacs.dicom, video)
    other = identity.model_copy(update={"patient_id": "PAT-9", "sop_uid": generate_uid()})
    store(pacs.dicom, write_video(tmp_path / "other.dcm", other))
    proof = prove(pacs.dicom, identity)
    assert proof.conflicts == ("the patient ID is 'PAT-9' there, not 'PAT-1001'",)
    assert proof.held_as["PatientID"] in {"PAT-1001 and PAT-9", "PAT-9 and PAT-1001"}


@pytest.mark.parametrize("level", ["study_uid", "series_uid"])
def test_an_object_in_another_study_or_series_is_a_conflict_and_not_found_where_it_should_be(
    pacs: OrthancPeer, tmp_path: Path, identity: ExpectedInstance, level: str
) -> None:
    elsewhere = identity.model_copy(update={level: generate_uid()})
    store(pacs.dicom, write_video(tmp_path / "video.dcm", elsewhere))
    proof = prove(pacs.dicom, identity)
    assert not proof.found
    assert len(proof.conflicts) == 1
    assert getattr(elsewhere, level) in proof.conflicts[0]


def test_a_value_that_the_peer_does_not_return_is_unstated_and_no_conflict(identity: ExpectedInstance) -> None:
    answers = {"IMAGE": image(identity), "STUDY": [match(StudyInstanceUID=identity.study_uid, PatientID="")]}
    with scp(find=answers) as peer:
        proof = prove(peer, identity)
    assert proof.found
    assert not proof.conflicts
    assert set(proof.unstated) == {"PatientID", "IssuerOfPatientID", "AccessionNumber"}


def test_nothing_is_compared_where_nothing_is_expected(identity: ExpectedInstance) -> None:
    open_identity = identity.model_copy(update={"issuer_of_patient_id": "", "accession": ""})
    with scp(find={"IMAGE": image(identity), "STUDY": study(identity)}) as peer:
        proof = prove(peer, open_identity)
    assert proof.holds
    assert not proof.unstated
    assert proof.held_as["AccessionNumber"] == identity.accession


def test_spaces_around_a_value_do_not_count(identity: ExpectedInstance) -> None:
    answers = {"IMAGE": image(identity), "STUDY": study(identity, PatientID=" PAT-1001 ", AccessionNumber=" ACC-1001")}
    with scp(find=answers) as peer:
        assert prove(peer, identity).holds


def test_leading_zeros_and_case_do_count(identity: ExpectedInstance) -> None:
    answers = {"IMAGE": image(identity), "STUDY": study(identity, PatientID="pat-1001", AccessionNumber="0ACC-1001")}
    with scp(find=answers) as peer:
        assert len(prove(peer, identity).conflicts) == 2


def test_a_peer_that_ignores_the_keys_proves_nothing(identity: ExpectedInstance) -> None:
    neighbours = [*image(identity, SOPInstanceUID=generate_uid()), *image(identity, SOPInstanceUID=generate_uid())]
    with scp(find={"IMAGE": neighbours, "STUDY": study(identity)}) as peer:
        assert prove(peer, identity) == Proof(found=False)


def test_another_sop_class_is_a_conflict(identity: ExpectedInstance) -> None:
    answers = {"IMAGE": image(identity, SOPClassUID="1.2.840.10008.5.1.4.1.1.7.4"), "STUDY": study(identity)}
    with scp(find=answers) as peer:
        assert "SOP class" in prove(peer, identity).conflicts[0]


def test_a_peer_that_refuses_to_search_by_uid_alone_still_answers_not_found(identity: ExpectedInstance) -> None:
    def answers(identifier: Dataset) -> list:
        return [] if identifier.StudyInstanceUID else [(0xA900, None)]

    with scp(find={"IMAGE": answers}) as peer:
        assert not prove(peer, identity).found


@pytest.mark.parametrize(("status", "error"), [(0xA700, Unreachable), (0xC001, Declined), (0xA900, Declined)])
def test_a_query_that_fails_says_so_in_words(identity: ExpectedInstance, status: int, error: type[Exception]) -> None:
    answers = {"IMAGE": image(identity), "STUDY": [(status, None)]}
    with scp(find=answers) as peer, pytest.raises(error, match=f"STUDY level with {status:04X}"):
        prove(peer, identity)


def test_a_peer_without_queries_is_declined_because_nothing_could_be_proven(
    tmp_path: Path, identity: ExpectedInstance
) -> None:
    with storescp(tmp_path / "received", "+xa") as peer, pytest.raises(Declined, match="Study Root C-FIND"):
        prove(peer, identity)


@pytest.mark.parametrize(
    "ask", [lambda peer: prove(peer, expected()), lambda peer: find_studies(peer, accession="ACC"), echo]
)
def test_a_dead_or_vanishing_peer_is_unreachable_for_every_question(ask: Callable[[DicomPeer], object]) -> None:
    with pytest.raises(Unreachable, match="nothing answers there"):
        ask(DicomPeer(host=LOOPBACK, port=free_port(), ae_title="PACS"))
    with (
        scp() as peer,
        link(peer, abort_at_accept=True) as aborting,
        pytest.raises(Unreachable, match="accepted the association"),
    ):
        ask(aborting)


def test_a_peer_that_never_answers_a_query_is_unreachable_after_the_timeout(identity: ExpectedInstance) -> None:
    with scp() as peer:
        impatient = peer.model_copy(update={"timeout_seconds": 0.5})
        # The association request passes, the query does not.
        with link(impatient, freeze_after=300) as frozen, pytest.raises(Unreachable):
            prove(frozen, identity)


def test_studies_of_every_patient_with_the_accession_number_are_shown(pacs: OrthancPeer, tmp_path: Path) -> None:
    mine, other = expected(accession="SHARED-1"), expected(accession="SHARED-1", patient_id="PAT-2002")
    for number, identity in enumerate((mine, other, expected(accession="SHARED-12"))):
        store(pacs.dicom, write_video(tmp_path / f"{number}.dcm", identity))
    found = find_studies(pacs.dicom, accession=" SHARED-1 ")
    assert set(found) == {
        StudyFound(
            study_uid=identity.study_uid,
            patient_id=identity.patient_id,
            issuer_of_patient_id="SITE",
            accession="SHARED-1",
        )
        for identity in (mine, other)
    }


def test_several_instances_of_a_study_show_it_once(pacs: OrthancPeer, tmp_path: Path) -> None:
    first = expected(accession="TWICE-1")
    for number in range(2):
        store(
            pacs.dicom,
            write_video(tmp_path / f"{number}.dcm", first.model_copy(update={"sop_uid": generate_uid()})),
        )
    assert len(find_studies(pacs.dicom, accession="TWICE-1")) == 1


@pytest.mark.parametrize("accession", ["*", "A*", "AC?-1", "AAA\\ACC-1", "?????", "A[CD]C-1"])
def test_a_wildcard_in_an_accession_number_matches_only_itself(
    sandbox: SandboxPacs, sandbox_peer: DicomPeer, tmp_path: Path, accession: str
) -> None:
    store(sandbox_peer, write_video(tmp_path / "plain.dcm", expected(accession="ACC-1")))
    assert find_studies(sandbox_peer, accession=accession) == ()
    if "\\" not in accession:  # which no object can carry (PS3.5 6.2, SH)
        store(sandbox_peer, write_video(tmp_path / "odd.dcm", expected(accession=accession)))
        assert [item.accession for item in find_studies(sandbox_peer, accession=accession)] == [accession]


def test_a_wildcard_never_asks_for_everything_or_for_two_values() -> None:
    asked = []
    with scp(find={"STUDY": lambda identifier: asked.append(identifier.AccessionNumber) or ()}) as peer:
        assert find_studies(peer, accession="A*C\\D?") == ()
    assert asked == ["A?C?D?"]


def test_an_accession_number_that_breaks_the_rules_is_simply_not_found(sandbox_peer: DicomPeer) -> None:
    assert find_studies(sandbox_peer, accession="X" * 40) == ()
    assert find_studies(sandbox_peer, accession="Ä-1") == ()


def test_an_empty_accession_number_names_no_study_and_asks_nobody() -> None:
    assert find_studies(DicomPeer(host=LOOPBACK, port=free_port(), ae_title="PACS"), accession="  ") == ()


def test_a_peer_that_answers_with_everything_it_has_is_stopped() -> None:
    answer = study(expected(accession="OTHER"))
    with (
        scp(find={"STUDY": answer * (MOST_ANSWERS + 5)}) as peer,
        pytest.raises(Declined, match="ignores the matching"),
    ):
        find_studies(peer, accession="ACC-1")


def test_echo_answers_when_the_peer_lives(pacs: OrthancPeer) -> None:
    echo(pacs.dicom)


def test_an_echo_that_fails_is_declined_with_its_status() -> None:
    with scp(echo=0x0122) as peer, pytest.raises(Declined, match="0122 SOP class not supported"):
        echo(peer)


def test_no_patient_data_gets_into_the_log(
    caplog: pytest.LogCaptureFixture, sandbox_peer: DicomPeer, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    identity = expected(patient_id="SECRET-ID", accession="SECRET-ACC")
    store(sandbox_peer, write_video(tmp_path / "video.dcm", identity, patient_name="Secret^Name"))
    assert prove(sandbox_peer, identity).holds
    assert find_studies(sandbox_peer, accession="SECRET-ACC")
    assert caplog.text
    assert "secret" not in caplog.text.lower()
