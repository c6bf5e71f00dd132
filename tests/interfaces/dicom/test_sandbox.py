from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context

from interfaces.dicom.query import echo, prove
from interfaces.dicom.sandbox import SandboxPacs
from interfaces.dicom.store import store
from models.delivery import DicomPeer, ExpectedInstance
from models.errors import Declined, OutcomeUnknown, SettingsError, Unreachable
from models.study import SopClass, TransferSyntax
from tests.interfaces.dicom.objects import expected, payload_of, write_large, write_video
from tests.peers.dicom import LOOPBACK, dcmtk, link, wait_for


def find(peer: DicomPeer, level: str, *keys: str) -> list[dict[str, str]]:
    """Ask with DCMTK's findscu, and return what it printed of each answer."""
    arguments = [item for key in keys for item in ("-k", key)]
    run = dcmtk(
        "findscu",
        "-S",
        "-aec",
        peer.ae_title,
        peer.host,
        str(peer.port),
        "-k",
        f"QueryRetrieveLevel={level}",
        *arguments,
    )
    assert run.returncode == 0, run.stderr
    answers = (run.stdout + run.stderr).split("Find Response:")[1:]
    return [dict(_element(line) for line in answer.splitlines() if line.startswith("I: (")) for answer in answers]


def _element(line: str) -> tuple[str, str]:
    value = line[line.index(")") + 5 : line.rindex("#")].strip().strip("[]").removeprefix("=").strip(" \0")
    return line.rsplit(" ", 1)[1], value


def test_dcmtk_can_send_to_it_and_the_stream_is_kept_byte_for_byte(
    sandbox: SandboxPacs, sandbox_peer: DicomPeer, video: Path
) -> None:
    run = dcmtk("storescu", "-R", "-xn", "-aec", "SANDBOX", LOOPBACK, str(sandbox_peer.port), str(video))
    assert run.returncode == 0, run.stderr
    (held,) = sandbox.instances()
    assert payload_of(Path(held["path"])) == payload_of(video)


def test_dcmtk_finds_a_study_with_its_identity_and_counts(
    sandbox_peer: DicomPeer, video: Path, identity: ExpectedInstance
) -> None:
    store(sandbox_peer, video)
    (answer,) = find(
        sandbox_peer,
        "STUDY",
        "PatientName=Muster*",
        "PatientID",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "AccessionNumber=ACC-1001",
        "StudyInstanceUID",
        "StudyDate=20260101-20260301",
        "NumberOfStudyRelatedInstances",
        "NumberOfStudyRelatedSeries",
        "ModalitiesInStudy",
    )
    assert answer["PatientName"] == "Muster^Änne"
    assert answer["PatientID"] == identity.patient_id
    assert answer["IssuerOfPatientID"] == "SITE"
    assert answer["PatientBirthDate"] == "19700102"
    assert answer["AccessionNumber"] == "ACC-1001"
    assert answer["StudyInstanceUID"] == identity.study_uid
    assert answer["NumberOfStudyRelatedInstances"] == "1"
    assert answer["NumberOfStudyRelatedSeries"] == "1"
    assert answer["ModalitiesInStudy"] == "ES"


def test_dcmtk_finds_series_and_images(sandbox_peer: DicomPeer, video: Path, identity: ExpectedInstance) -> None:
    store(sandbox_peer, video)
    study = f"StudyInstanceUID={identity.study_uid}"
    (series,) = find(sandbox_peer, "SERIES", study, "SeriesInstanceUID", "Modality", "NumberOfSeriesRelatedInstances")
    assert series["SeriesInstanceUID"] == identity.series_uid
    assert series["Modality"] == "ES"
    (image,) = find(
        sandbox_peer,
        "IMAGE",
        study,
        f"SeriesInstanceUID={identity.series_uid}",
        "SOPInstanceUID",
        "NumberOfFrames",
        "AvailableTransferSyntaxUID",
    )
    assert image["SOPInstanceUID"] == identity.sop_uid
    assert image["NumberOfFrames"] == "5"
    assert image["AvailableTransferSyntaxUID"] == "MPEG4HighProfile/Level4.1"


@pytest.mark.parametrize(
    "keys",
    [
        ["PatientID=NOBODY"],
        ["AccessionNumber=ACC-100"],
        ["PatientName=muster?"],
        ["StudyDate=20260204-"],
        ["StudyInstanceUID=1.2.3"],
    ],
)
def test_a_key_that_does_not_match_gives_no_answer(sandbox_peer: DicomPeer, video: Path, keys: list[str]) -> None:
    store(sandbox_peer, video)
    assert find(sandbox_peer, "STUDY", *keys) == []


def test_a_level_that_does_not_exist_is_a_failure(sandbox_peer: DicomPeer) -> None:
    run = dcmtk("findscu", "-v", "-S", LOOPBACK, str(sandbox_peer.port), "-k", "QueryRetrieveLevel=PATIENT")
    assert "DataSetDoesNotMatchSOPClass" in run.stdout + run.stderr


def test_it_offers_every_sop_class_in_every_transfer_syntax(sandbox_peer: DicomPeer) -> None:
    syntaxes = [*map(str, TransferSyntax), str(ExplicitVRLittleEndian)]
    proposed = {(str(sop_class), syntax) for sop_class in SopClass for syntax in syntaxes}
    # One context for each, because within one the peer chooses.
    contexts = [build_context(*pair) for pair in proposed]
    association = AE().associate(sandbox_peer.host, sandbox_peer.port, contexts=contexts)
    agreed = {(str(item.abstract_syntax), str(item.transfer_syntax[0])) for item in association.accepted_contexts}
    association.release()
    assert agreed == proposed


def test_the_first_object_of_a_uid_is_kept_and_the_second_answered_with_success(
    sandbox: SandboxPacs, sandbox_peer: DicomPeer, tmp_path: Path, video: Path, identity: ExpectedInstance
) -> None:
    store(sandbox_peer, video)
    other = identity.model_copy(update={"patient_id": "PAT-9"})
    assert store(sandbox_peer, write_video(tmp_path / "other.dcm", other)) == "0000 Success"
    (held,) = sandbox.instances()
    assert held["PatientID"] == identity.patient_id
    assert dcmread(held["path"]).PatientID == identity.patient_id


def test_it_still_holds_everything_after_a_restart(tmp_path: Path, video: Path, identity: ExpectedInstance) -> None:
    for attempt in range(2):
        pacs = SandboxPacs(LOOPBACK, 0, tmp_path / "pacs")
        peer = DicomPeer(host=LOOPBACK, port=pacs.start(), ae_title="SANDBOX")
        if attempt == 0:
            store(peer, video)
        assert prove(peer, identity).holds
        pacs.stop()


def test_what_a_crash_left_behind_is_put_right_at_start(
    tmp_path: Path, video: Path, identity: ExpectedInstance
) -> None:
    """Killed between the file's name and the index, and in the middle of another file."""
    pacs = SandboxPacs(LOOPBACK, 0, tmp_path / "pacs")
    shutil.copy(video, tmp_path / "pacs" / "objects" / f"{identity.sop_uid}.dcm")
    partial = tmp_path / "pacs" / "incoming" / "half.part"
    partial.write_bytes(b"half")
    peer = DicomPeer(host=LOOPBACK, port=pacs.start(), ae_title="SANDBOX")
    assert prove(peer, identity).holds
    assert not partial.exists()
    pacs.stop()


def test_half_an_object_leaves_nothing_behind(
    sandbox: SandboxPacs,
    sandbox_peer: DicomPeer,
    tmp_path: Path,
    identity: ExpectedInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    path = write_large(tmp_path / "large.dcm", identity, 20)
    with link(sandbox_peer, cut_after=5_000_000) as cut, pytest.raises(OutcomeUnknown):
        store(cut, path)
    wait_for(lambda: not any(temporary.iterdir()), what="the temporary file to be removed")
    assert sandbox.instances() == []
    assert not any((tmp_path / "sandbox" / "incoming").iterdir())


def test_an_object_that_is_not_what_its_command_says_is_refused(
    sandbox: SandboxPacs, sandbox_peer: DicomPeer, video: Path
) -> None:
    dataset = dcmread(video)
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.save_as(video)
    with pytest.raises(Declined, match="A900"):
        store(sandbox_peer, video)
    assert sandbox.instances() == []


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_an_object_without_its_uids_is_refused(sandbox_peer: DicomPeer, video: Path, missing: str) -> None:
    dataset = dcmread(video)
    del dataset[missing]
    dataset.save_as(video)
    with pytest.raises(Declined, match="C000"):
        store(sandbox_peer, video)


def test_a_disk_that_takes_nothing_answers_out_of_resources(
    sandbox_peer: DicomPeer, tmp_path: Path, video: Path
) -> None:
    incoming = tmp_path / "sandbox" / "incoming"
    incoming.rmdir()
    incoming.write_text("not a folder")
    with pytest.raises(Unreachable, match="A700"):
        store(sandbox_peer, video)


def test_a_port_in_use_is_said_in_words(sandbox_peer: DicomPeer, tmp_path: Path) -> None:
    second = SandboxPacs(LOOPBACK, sandbox_peer.port, tmp_path / "second")
    with pytest.raises(SettingsError, match=f"cannot listen on {LOOPBACK}:{sandbox_peer.port}"):
        second.start()


def test_it_answers_no_more_after_stop(sandbox: SandboxPacs, sandbox_peer: DicomPeer) -> None:
    echo(sandbox_peer)
    sandbox.stop()
    with pytest.raises(Unreachable):
        echo(sandbox_peer)


def test_a_study_that_came_under_two_patients_is_shown_under_both(
    sandbox_peer: DicomPeer, tmp_path: Path, video: Path, identity: ExpectedInstance
) -> None:
    store(sandbox_peer, video)
    other = identity.model_copy(update={"patient_id": "PAT-9", "sop_uid": expected().sop_uid})
    store(sandbox_peer, write_video(tmp_path / "other.dcm", other))
    answers = find(sandbox_peer, "STUDY", f"StudyInstanceUID={identity.study_uid}", "PatientID")
    assert {answer["PatientID"] for answer in answers} == {"PAT-1001", "PAT-9"}
