from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pydicom import dcmread

from interfaces.dicom.query import prove
from interfaces.dicom.sandbox import SandboxPacs
from interfaces.dicom.store import store
from models.delivery import DicomPeer, ExpectedInstance
from models.errors import Declined, OutcomeUnknown, Unreachable
from models.study import TransferSyntax
from tests.interfaces.dicom.objects import drawn_mp4, expected, payload_of, write_large, write_video
from tests.interfaces.dicom.scp import scp
from tests.peers.dicom import LOOPBACK, free_port, link, storescp
from tests.peers.orthanc import OrthancPeer


def test_a_video_arrives_at_dcmtk_byte_for_byte(tmp_path: Path, video: Path) -> None:
    with storescp(tmp_path / "received", "+xa", "+B") as peer:
        status = store(peer, video)
    (received,) = (tmp_path / "received").iterdir()
    assert status == "0000 Success"
    assert payload_of(received) == payload_of(video)


def test_a_video_arrives_at_orthanc_and_its_stream_is_the_one_that_was_sent(
    pacs: OrthancPeer, video: Path, identity: ExpectedInstance
) -> None:
    assert store(pacs.dicom, video) == "0000 Success"
    assert pacs.payload(identity.sop_uid) == drawn_mp4()
    assert pacs.patient_of(identity.sop_uid) == identity.patient_id
    assert identity.sop_uid in pacs.instances()


@pytest.mark.parametrize("syntax", [item for item in TransferSyntax if not item.name.endswith("FRAGMENTABLE")])
def test_orthanc_takes_every_plain_video_transfer_syntax(pacs: OrthancPeer, tmp_path: Path, syntax: str) -> None:
    identity = expected()
    path = write_video(tmp_path / "video.dcm", identity, transfer_syntax=syntax)
    assert store(pacs.dicom, path) == "0000 Success"
    assert pacs.find(identity.sop_uid)


def test_a_repeated_send_leaves_one_instance(pacs: OrthancPeer, video: Path, identity: ExpectedInstance) -> None:
    store(pacs.dicom, video)
    assert store(pacs.dicom, video) == "0000 Success"
    assert pacs.instances().count(identity.sop_uid) == 1


def test_a_peer_without_the_transfer_syntax_declines_and_the_sentence_says_what_to_do(
    tmp_path: Path, video: Path
) -> None:
    with storescp(tmp_path / "received") as peer, pytest.raises(Declined) as refusal:
        store(peer, video)
    for word in ("STORESCP", "1.2.840.10008.1.2.4.102", "H.264 High Profile", "transfer_syntaxes"):
        assert word in str(refusal.value)


def test_a_fragmentable_transfer_syntax_is_declined_by_orthanc(pacs: OrthancPeer, tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "video.dcm", expected(), transfer_syntax=TransferSyntax.H264_HIGH_41_FRAGMENTABLE.value
    )
    with pytest.raises(Declined, match=r"1\.2\.840\.10008\.1\.2\.4\.102\.1"):
        store(pacs.dicom, path)


def test_a_dead_pacs_is_unreachable_and_takes_the_video_when_it_is_back(
    pacs: OrthancPeer, video: Path, identity: ExpectedInstance
) -> None:
    pacs.stop()
    try:
        with pytest.raises(Unreachable, match="nothing answers there"):
            store(pacs.dicom, video)
    finally:
        pacs.start()
    assert store(pacs.dicom, video) == "0000 Success"
    assert pacs.find(identity.sop_uid)


def test_an_unknown_host_name_is_unreachable(video: Path) -> None:
    peer = DicomPeer(host="pacs.invalid", port=104, ae_title="PACS")
    with pytest.raises(Unreachable, match=r"host name of PACS at pacs\.invalid:104"):
        store(peer, video)


def test_an_unusable_ae_title_is_declined(video: Path) -> None:
    with pytest.raises(Declined, match="is no AE title"):
        store(DicomPeer(host=LOOPBACK, port=free_port(), ae_title="A" * 17), video)


def test_a_port_that_does_not_speak_dicom_is_unreachable_after_the_timeout(video: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        peer = DicomPeer(host=LOOPBACK, port=silent.getsockname()[1], ae_title="PACS", timeout_seconds=0.5)
        with pytest.raises(Unreachable, match="not the association request"):
            store(peer, video)


def test_half_an_answer_to_the_association_request_ends_with_the_timeout(video: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"\x02\0\0\0")
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        peer = DicomPeer(host=LOOPBACK, port=server.getsockname()[1], ae_title="PACS", timeout_seconds=0.5)
        with pytest.raises(Unreachable):
            store(peer, video)
        thread.join(timeout=5)
    assert not thread.is_alive()


def test_our_unknown_ae_title_is_declined_with_the_title_to_register(pacs: OrthancPeer, video: Path) -> None:
    stranger = pacs.dicom.model_copy(update={"calling_ae_title": "STRANGER"})
    with pytest.raises(Declined, match="let it know our AE title STRANGER"):
        store(stranger, video)


def test_a_wrong_called_ae_title_is_declined(pacs: OrthancPeer, video: Path) -> None:
    with pytest.raises(Declined, match="correct the AE title of the destination"):
        store(pacs.dicom.model_copy(update={"ae_title": "WRONG"}), video)


@pytest.mark.parametrize(
    "reject",
    [
        pytest.param((2, 1, 1), id="transient"),
        pytest.param((2, 3, 2), id="local limit exceeded"),
        pytest.param((1, 3, 1), id="congestion, called permanent by mistake"),
    ],
)
def test_a_full_house_is_unreachable_for_now(video: Path, reject: tuple[int, int, int]) -> None:
    with scp(reject=reject) as peer, pytest.raises(Unreachable, match="tried again later"):
        store(peer, video)


def test_a_permanent_rejection_without_a_reason_is_declined(video: Path) -> None:
    with scp(reject=(1, 1, 1)) as peer, pytest.raises(Declined, match="is not let in"):
        store(peer, video)


@pytest.mark.parametrize("status", [0xA700, 0xA702, 0x0110, 0x0213])
def test_a_status_that_may_pass_is_tried_again(video: Path, status: int) -> None:
    with scp(store=status, comment="disk is full") as peer, pytest.raises(Unreachable, match=f"{status:04X}.*full"):
        store(peer, video)


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0xC123, 0x0122, 0x0124])
def test_a_failure_status_is_declined_with_its_number_and_comment(video: Path, status: int) -> None:
    with scp(store=status, comment="no such thing") as peer, pytest.raises(Declined, match=f"{status:04X}.*no such"):
        store(peer, video)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0xB000, "B000 warning: coercion of data elements (accession changed)"),
        (0xB006, "B006 warning: elements discarded (accession changed)"),
        (0x0111, "0111 warning: duplicate SOP instance (accession changed)"),
    ],
)
def test_a_warning_is_kept_in_words(video: Path, status: int, words: str) -> None:
    with scp(store=status, comment="accession changed") as peer:
        assert store(peer, video) == words


def test_a_connection_that_ends_before_any_data_is_unreachable(video: Path) -> None:
    with (
        scp() as peer,
        link(peer, abort_at_accept=True) as aborting,
        pytest.raises(Unreachable, match="accepted the association"),
    ):
        store(aborting, video)


def test_a_peer_that_dies_in_the_middle_leaves_the_outcome_unknown_and_the_query_settles_it(
    tmp_path: Path, identity: ExpectedInstance, sandbox: SandboxPacs, sandbox_peer: DicomPeer
) -> None:
    path = write_large(tmp_path / "large.dcm", identity, 30)
    with link(sandbox_peer, cut_after=5_000_000) as cut, pytest.raises(OutcomeUnknown, match="it may hold the object"):
        store(cut, path)
    assert not prove(sandbox_peer, identity).found
    assert store(sandbox_peer, path) == "0000 Success"
    assert prove(sandbox_peer, identity).holds
    assert len(sandbox.instances()) == 1


def test_a_peer_that_falls_silent_in_the_middle_is_given_up_after_the_timeout(
    tmp_path: Path, identity: ExpectedInstance, sandbox_peer: DicomPeer
) -> None:
    path = write_large(tmp_path / "large.dcm", identity, 30)
    impatient = sandbox_peer.model_copy(update={"timeout_seconds": 1.0})
    started = time.monotonic()
    with link(impatient, freeze_after=5_000_000) as frozen, pytest.raises(OutcomeUnknown):
        store(frozen, path)
    assert time.monotonic() - started < 6


def test_a_lost_answer_leaves_the_outcome_unknown_though_the_peer_holds_the_object(
    video: Path, identity: ExpectedInstance, sandbox_peer: DicomPeer
) -> None:
    # The whole object passes, and then nothing more, in either direction.
    with link(sandbox_peer, cut_after=video.stat().st_size) as cut, pytest.raises(OutcomeUnknown):
        store(cut, video)
    deadline = time.monotonic() + 5
    while not prove(sandbox_peer, identity).found:
        assert time.monotonic() < deadline, "the object passed the link, so it is to be found"


def test_a_transfer_may_take_longer_than_every_timeout_while_data_flows(
    tmp_path: Path, identity: ExpectedInstance, sandbox_peer: DicomPeer
) -> None:
    path = write_large(tmp_path / "large.dcm", identity, 12)
    impatient = sandbox_peer.model_copy(update={"timeout_seconds": 0.7})
    started = time.monotonic()
    with link(impatient, bytes_per_second=5_000_000) as slow:
        assert store(slow, path) == "0000 Success"
    assert time.monotonic() - started > 2


def test_the_answer_may_take_as_long_again_as_the_sending_did(tmp_path: Path, identity: ExpectedInstance) -> None:
    path = write_large(tmp_path / "large.dcm", identity, 12)
    # Sending takes 4 s at the least, so a pause of 1.5 s fits with room to spare, and never into 0.7 s alone.
    with scp(think=1.5) as peer, link(peer, bytes_per_second=3e6) as slow:
        assert store(slow.model_copy(update={"timeout_seconds": 0.7}), path) == "0000 Success"


def test_an_answer_that_never_comes_leaves_the_outcome_unknown(video: Path) -> None:
    with scp(think=30) as peer, pytest.raises(OutcomeUnknown):
        store(peer.model_copy(update={"timeout_seconds": 0.5}), video)


@pytest.mark.parametrize("pdu", [0, 16_384, 4_000_000])
def test_any_pdu_size_of_the_peer_will_do(tmp_path: Path, identity: ExpectedInstance, pdu: int) -> None:
    path = write_large(tmp_path / "large.dcm", identity, 2)
    with scp(pdu=pdu) as peer:
        assert store(peer, path) == "0000 Success"


#: The high-water mark of the process itself; getrusage would start from that of the process that started it.
STORE_AND_MEASURE = """
import re, sys
from pathlib import Path
from interfaces.dicom.query import echo
from interfaces.dicom.store import store
from models.delivery import DicomPeer

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

peer = DicomPeer(host="127.0.0.1", port=int(sys.argv[1]), ae_title="PEER")
echo(peer)
before = peak()
print(store(peer, Path(sys.argv[2])), peak() - before, sep=";")
"""


def test_memory_stays_bounded_however_large_the_object_and_slow_the_link(
    tmp_path: Path, identity: ExpectedInstance
) -> None:
    """Measured in a process of its own: 150 MB, to a peer that would take them in one PDU."""
    path = write_large(tmp_path / "large.dcm", identity, 150)
    with scp(pdu=0) as peer, link(peer, bytes_per_second=1e8) as slow:
        command = [sys.executable, "-c", STORE_AND_MEASURE, str(slow.port), str(path)]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    status, grown = answer.split(";")
    assert status == "0000 Success"
    assert int(grown) < 40, f"{grown.strip()} MB more than before"


def test_a_large_object_arrives_complete(tmp_path: Path, identity: ExpectedInstance, sandbox: SandboxPacs) -> None:
    path = write_large(tmp_path / "large.dcm", identity, 40)
    peer = DicomPeer(host=LOOPBACK, port=sandbox.start(), ae_title="SANDBOX")
    store(peer, path)
    (held,) = sandbox.instances()
    assert _digest_of_data(Path(held["path"])) == _digest_of_data(path)


def test_a_file_that_is_not_part_10_is_declined_before_anything_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "not.dcm"
    path.write_bytes(b"no DICOM here" * 20)
    with pytest.raises(Declined, match=r"not\.dcm cannot be sent"):
        store(DicomPeer(host=LOOPBACK, port=free_port(), ae_title="PACS"), path)


def test_a_file_that_is_gone_is_declined_by_name(tmp_path: Path) -> None:
    with pytest.raises(Declined, match=r"gone\.dcm cannot be sent"):
        store(DicomPeer(host=LOOPBACK, port=free_port(), ae_title="PACS"), tmp_path / "gone.dcm")


def _digest_of_data(path: Path) -> str:
    """Digest of everything behind the file meta information, which each side writes for itself."""
    meta = dcmread(path, specific_tags=[], stop_before_pixels=True).file_meta
    start = 128 + 4 + 12 + int(meta.FileMetaInformationGroupLength)
    with path.open("rb") as file:
        file.seek(start)
        return hashlib.file_digest(file, "sha256").hexdigest()
