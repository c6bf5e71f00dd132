"""The notice that the video is in the PACS: ORU^R01, version 2.5.1, in the shape of IHE RAD-132.

One clinical rule changes that shape: that a video is available never completes somebody's order (clinical.md 5). So
ORC-1 is RE and ORC-5 stays empty; SC with CM, as RAD-132 has it, goes out only where the destination's owner switched
OBR-25 to F or C.

Codes: the study is ``113014^DICOM Study^DCM`` as RAD-132 writes it. DICOM PS3.16 has no code for the SOP Instance UID
of an image (110180 is Study Instance UID, 110181 SOP Class UID, 121126 names a performed procedure step), none for a
number of clips and none for the duration of a video, so these have codes of our own; ``99zzz`` is how HL7 table 0396
writes a local coding system. The unit of the duration is UCUM.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message
from hl7apy.exceptions import HL7apyException

from interfaces.hl7.escapes import escape
from interfaces.hl7.times import write_stamp
from models.delivery import ResultNotice
from models.errors import DeliveryFailed
from models.order import Code
from models.patient import Authority, Identifier, Patient, PersonName

_STUDY = ("113014", "DICOM Study", "DCM")
_INSTANCE = ("SOPINSTANCEUID", "SOP Instance UID", "99CINELINK")
_CLIPS = ("CLIPS", "Number of video clips", "99CINELINK")
_DURATION = ("DURATION", "Total duration of video", "99CINELINK")

#: OBR-25 values by which a destination's owner wants the order to count as done.
_DONE = frozenset({"F", "C"})


def build_oru(notice: ResultNotice) -> bytes:
    """Return the message, the same bytes for the same notice, in UTF-8 and with a CR after every segment.

    Raises:
        DeliveryFailed: There is nothing to tell, or hl7apy finds the message not to be valid ORU^R01.
    """
    if not notice.instances:
        raise DeliveryFailed(f"notice {notice.control_id} names no stored object: there is nothing to report")
    try:
        message = Message("ORU_R01", version="2.5.1", validation_level=VALIDATION_LEVEL.TOLERANT)
        _fill_header(message.msh, notice)
        result = message.add_group("ORU_R01_PATIENT_RESULT")
        _fill_patient(result.add_group("ORU_R01_PATIENT"), notice)
        _fill_order(result.add_group("ORU_R01_ORDER_OBSERVATION"), notice)
        message.validate()
        text: str = message.to_er7()
    except HL7apyException as error:
        raise DeliveryFailed(
            f"notice {notice.control_id} is not valid ORU^R01 ({type(error).__name__}: {error}); correct the order's "
            "data and try the delivery again"
        ) from error
    return (text.rstrip("\r") + "\r").encode()


def _fill(segment: Any, **fields: str) -> None:
    """Set fields; an empty one is left out, because an empty element is not the same as none for hl7apy."""
    for name, value in fields.items():
        if value:
            setattr(segment, f"{segment.name.lower()}_{name.lstrip('f')}", value)


def _fill_header(msh: Any, notice: ResultNotice) -> None:
    _fill(
        msh,
        f3=escape(notice.sending_application),
        f4=escape(notice.sending_facility),
        f5=escape(notice.receiving_application),
        f6=escape(notice.receiving_facility),
        f7=write_stamp(notice.event_at),
        f9="ORU^R01^ORU_R01",
        f10=escape(notice.control_id),
        f11=escape(notice.processing_id),
        f18="UNICODE UTF-8",
    )


def _fill_patient(group: Any, notice: ResultNotice) -> None:
    patient = notice.order.patient
    _fill(
        group.add_segment("PID"),
        f1="1",
        f3=_identifiers(patient),
        f5=_person(patient.name),
        f7=patient.birth_date.strftime("%Y%m%d") if patient.birth_date else "",
        f8=patient.sex,
    )
    visit = notice.order.visit_number
    _fill(group.add_group("ORU_R01_VISIT").add_segment("PV1"), f1="1", f2="U", f19=_cx(visit), f51="V")


def _fill_order(group: Any, notice: ResultNotice) -> None:
    order = notice.order
    done = notice.result_status in _DONE
    placer, filler = _ei(order.placer), _ei(order.filler)
    _fill(group.add_segment("ORC"), f1="SC" if done else "RE", f2=placer, f3=filler, f5="CM" if done else "")
    procedure = _coded(order.procedure)
    _fill(
        group.add_segment("OBR"),
        f1="1",
        f2=placer,
        f3=filler,
        f4=procedure,
        f7=write_stamp(notice.started_at) if notice.started_at else "",
        f8=write_stamp(notice.ended_at) if notice.ended_at else "",
        f18=escape(order.accession),
        f19=escape(order.requested_procedure_id),
        f20=escape(order.scheduled_step_id),
        f22=write_stamp(notice.event_at),
        f24=escape(order.modality or notice.instances[0].modality),
        f25=escape(notice.result_status),
        f44=procedure,
    )
    timing = group.add_group("ORU_R01_TIMING_QTY").add_segment("TQ1")
    _fill(timing, f1="1", f7=write_stamp(order.scheduled_at) if order.scheduled_at else "")
    for number, (kind, code, sub, value, unit) in enumerate(_observations(notice), start=1):
        _fill(
            group.add_group("ORU_R01_OBSERVATION").add_segment("OBX"),
            f1=str(number),
            f2=kind,
            f3="^".join(code),
            f4=sub,
            f5=value,
            f6=unit,
            f11=escape(notice.observation_status),
        )


def _observations(notice: ResultNotice) -> Iterator[tuple[str, tuple[str, str, str], str, str, str]]:
    """Yield value type, code, sub-id, value and unit of every OBX."""
    for study in dict.fromkeys(instance.study_uid for instance in notice.instances):
        yield "ST", _STUDY, "", escape(study), ""
    for place, instance in enumerate(notice.instances, start=1):
        yield "ST", _INSTANCE, str(place), escape(instance.sop_uid), ""
    yield "NM", _CLIPS, "", str(len(notice.instances)), ""
    duration = sum(instance.duration for instance in notice.instances)
    yield "NM", _DURATION, "", f"{duration:.1f}", "s^second^UCUM"


# --- data types ----------------------------------------------------------------------------------------------------


def _join(separator: str, *parts: str) -> str:
    return separator.join(parts).rstrip(separator)


def _hd(authority: Authority) -> str:
    parts = (authority.namespace, authority.universal_id, authority.universal_id_type)
    return _join("&", *(escape(part) for part in parts))


def _cx(identifier: Identifier | None) -> str:
    if identifier is None:
        return ""
    return _join("^", escape(identifier.value), "", "", _hd(identifier.authority), escape(identifier.type_code))


def _identifiers(patient: Patient) -> str:
    return "~".join(_cx(identifier) for identifier in (patient.identifier, *patient.others))


def _ei(identifier: Identifier | None) -> str:
    if identifier is None:
        return ""
    authority = identifier.authority
    parts = (identifier.value, authority.namespace, authority.universal_id, authority.universal_id_type)
    return _join("^", *(escape(part) for part in parts))


def _coded(code: Code) -> str:
    return _join("^", escape(code.value), escape(code.meaning), escape(code.scheme))


def _person(name: PersonName) -> str:
    """Write an XPN: suffix before prefix; L is the legal name, U one that nobody told us (HL7 v2.5.1 2.A.88)."""
    parts = [escape(part) for part in (name.family, name.given, name.middle, name.suffix, name.prefix)]
    return _join("^", *parts, "", "L" if any(parts) else "U")
