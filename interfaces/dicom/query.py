"""C-FIND SCU: what a peer holds, and under which identity (PS3.4 C, Study Root); C-ECHO (PS3.4 A)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.association import Association

from interfaces.dicom.association import Service, associated, label
from interfaces.dicom.status import Meaning, judge
from interfaces.dicom.text import identifier_of, text_of
from models.delivery import DicomPeer, ExpectedInstance, Proof, StudyFound
from models.errors import Declined, Unreachable

#: Answers after which a peer is taken to have ignored what was asked for.
MOST_ANSWERS = 1000

#: Study Root Query/Retrieve Information Model - FIND (PS3.4 C.6.2), Verification (PS3.4 A.4).
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
VERIFICATION = "1.2.840.10008.1.1"

_UNCOMPRESSED = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
_FIND = Service(
    abstract_syntax=STUDY_ROOT_FIND,
    transfer_syntaxes=_UNCOMPRESSED,
    words="queries (Study Root C-FIND)",
    remedy="allow our AE title to query there, because nothing is reported before it is proven",
)
_ECHO = Service(
    abstract_syntax=VERIFICATION,
    transfer_syntaxes=_UNCOMPRESSED,
    words="C-ECHO",
    remedy="every DICOM peer that accepts associations must offer it; check that this is the right port",
)

_WORDS = {
    "SOPClassUID": "SOP class",
    "SeriesInstanceUID": "series",
    "StudyInstanceUID": "study",
    "PatientID": "patient ID",
    "IssuerOfPatientID": "issuer of patient ID",
    "AccessionNumber": "accession number",
}
_IMAGE_KEYS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_STUDY_KEYS = ("StudyInstanceUID", "PatientID", "IssuerOfPatientID", "AccessionNumber")

Answer = Mapping[str, str]


def echo(peer: DicomPeer) -> None:
    """Return when the peer answers C-ECHO with success.

    Raises:
        Unreachable: Nothing answers, or only for now.
        Declined: It answers, and says no.
    """
    with associated(peer, _ECHO) as association:
        try:
            answer = association.send_c_echo()
        except RuntimeError as gone:  # pynetdicom's word for an association that has ended
            raise _silence(peer) from gone
        if "Status" not in answer:
            raise _silence(peer)
        meaning, words = judge(answer)
        if meaning != Meaning.SUCCESS:
            raise Declined(f"{label(peer)} answered C-ECHO with {words}: ask its administrator why")


def prove(peer: DicomPeer, expected: ExpectedInstance) -> Proof:
    """Return what the peer shows of an instance, beside what is expected (clinical.md 4).

    The instance is asked for by its unique keys, and its study for the identity (PS3.4 C.6.2.1). An instance that is
    not where it should be is asked for once more by its own UID alone: a PACS may have put it into another study.
    ``held_as`` and ``unstated`` use DICOM keywords (``PatientID``); nothing is compared where nothing is expected.

    Raises:
        Unreachable: No answer: ask again later.
        Declined: The peer does not answer such questions.
    """
    with associated(peer, _FIND) as association:
        unique = {
            "StudyInstanceUID": expected.study_uid,
            "SeriesInstanceUID": expected.series_uid,
            "SOPInstanceUID": expected.sop_uid,
        }
        images = _ask(association, peer, "IMAGE", unique, _IMAGE_KEYS) or _ask_by_uid_alone(association, peer, expected)
        images = [image for image in images if image.get("SOPInstanceUID") == expected.sop_uid]
        studies = _studies(association, peer, {"StudyInstanceUID": expected.study_uid}) if images else []
    return _compare(expected, images, [item for item in studies if item["StudyInstanceUID"] == expected.study_uid])


def find_studies(peer: DicomPeer, *, accession: str) -> tuple[StudyFound, ...]:
    """Return the studies of every patient that the peer holds under exactly this accession number (clinical.md 2).

    All patients, so that the caller sees when the number belongs to somebody else too. Spaces at both ends do not count
    (PS3.5 6.2). An empty accession number names no study.

    Raises:
        Unreachable: No answer: ask again later.
        Declined: The peer does not answer such questions.
    """
    wanted = accession.strip()
    if not wanted:
        return ()
    with associated(peer, _FIND) as association:
        answers = _studies(association, peer, {"AccessionNumber": _literal(wanted)})
    found = (
        StudyFound(
            study_uid=answer["StudyInstanceUID"],
            patient_id=answer.get("PatientID", ""),
            issuer_of_patient_id=answer.get("IssuerOfPatientID", ""),
            accession=answer["AccessionNumber"],
        )
        for answer in answers
        if answer.get("AccessionNumber") == wanted
    )
    return tuple(dict.fromkeys(found))


def _literal(value: str) -> str:
    r"""Return a matching key that finds at least the value itself and, of other values, as few as can be.

    ``*`` would match everything and ``\`` would ask for two values (PS3.4 C.2.2.2); ``?`` stands for one character.
    What it finds beside the value is sorted out by comparing again.
    """
    return value.replace("*", "?").replace("\\", "?")


def _ask_by_uid_alone(association: Association, peer: DicomPeer, expected: ExpectedInstance) -> list[Answer]:
    """Ask without naming the study (relational, PS3.4 C.4.1.2.2.2); a peer need not know how, so a no says nothing."""
    try:
        return _ask(association, peer, "IMAGE", {"SOPInstanceUID": expected.sop_uid}, _IMAGE_KEYS)
    except Declined:
        return []


def _studies(association: Association, peer: DicomPeer, keys: Answer) -> list[Answer]:
    answers = _ask(association, peer, "STUDY", keys, _STUDY_KEYS)
    return [answer for answer in answers if answer.get("StudyInstanceUID")]


def _ask(association: Association, peer: DicomPeer, level: str, keys: Answer, wanted: Iterable[str]) -> list[Answer]:
    """Return the answers to one C-FIND as plain values without spaces around them; empty values are left out."""
    identifier = identifier_of(level, dict.fromkeys(wanted, "") | dict(keys))
    answers: list[Answer] = []
    try:
        responses = association.send_c_find(identifier, STUDY_ROOT_FIND)
    except RuntimeError as gone:  # as in echo
        raise _silence(peer) from gone
    for answer, match in responses:
        if "Status" not in answer:
            raise _silence(peer)
        meaning, words = judge(answer)
        if meaning == Meaning.SUCCESS:
            return answers
        if meaning != Meaning.PENDING or match is None:
            raise _refusal(peer, level, meaning, words)
        answers.append(_plain(match, wanted))
        if len(answers) > MOST_ANSWERS:
            raise Declined(
                f"{label(peer)} gives more than {MOST_ANSWERS} answers to a query on {level} level for one object: "
                f"it ignores the matching keys, so it cannot prove anything"
            )
    raise _silence(peer)


def _plain(match: Dataset, wanted: Iterable[str]) -> Answer:
    values = {keyword: text_of(match, keyword) for keyword in wanted}
    return {keyword: value for keyword, value in values.items() if value}


def _silence(peer: DicomPeer) -> Unreachable:
    return Unreachable(
        f"{label(peer)} accepted the association, and then gave no answer within {peer.timeout_seconds:g} s "
        f"or closed the connection: it is asked again later"
    )


def _refusal(peer: DicomPeer, level: str, meaning: Meaning, words: str) -> Unreachable | Declined:
    sentence = f"{label(peer)} answered a query on {level} level with {words}"
    if meaning == Meaning.PASSING:
        return Unreachable(f"{sentence}: it is busy, so it is asked again later")
    return Declined(f"{sentence}: ask its administrator to allow such queries for our AE title")


def _compare(expected: ExpectedInstance, images: list[Answer], studies: list[Answer]) -> Proof:
    should = {
        "SOPClassUID": expected.sop_class,
        "SeriesInstanceUID": expected.series_uid,
        "StudyInstanceUID": expected.study_uid,
        "PatientID": expected.patient_id.strip(),
        "IssuerOfPatientID": expected.issuer_of_patient_id.strip(),
        "AccessionNumber": expected.accession.strip(),
    }
    if not images:
        return Proof(found=False)
    held = {
        keyword: tuple(dict.fromkeys(answer[keyword] for answer in (*images, *studies) if keyword in answer))
        for keyword in should
    }
    conflicts = tuple(
        f"the {_WORDS[keyword]} is {value!r} there, not {right!r}"
        for keyword, right in should.items()
        for value in held[keyword]
        if right and value != right
    )
    misplaced = any(held[key] and should[key] not in held[key] for key in ("SeriesInstanceUID", "StudyInstanceUID"))
    return Proof(
        found=not misplaced,
        conflicts=conflicts,
        unstated=tuple(keyword for keyword, right in should.items() if right and not held[keyword]),
        held_as={keyword: " and ".join(values) for keyword, values in held.items() if values},
    )
