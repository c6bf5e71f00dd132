"""What we tell an EHR: the ImagingStudy that the PACS was proven to hold and, where switched on, its Procedure.

Demographics are never written: a resource names its patient by identifier only, so that an old order cannot overwrite
a newer A08. The same notice always gives the same resources, so that they can be stored, compared and sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from interfaces.fhir.checks import faults
from models.delivery import ResultNotice
from models.errors import Declined, MappingMiss
from models.order import OrderStatus
from models.patient import Authority
from models.study import Instance, SopClass, derive_uid

#: Identifier system of DICOM UIDs, whose values are ``urn:oid:`` and the UID (FHIR R4 ImagingStudy.identifier).
DICOM_UID = "urn:dicom:uid"
#: Identifier system of values that are URIs themselves (FHIR R4 2.24.0.12).
URI = "urn:ietf:rfc:3986"

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_SNOMED = "http://snomed.info/sct"
_V2_TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
_TYPE_NAMES = {
    "MR": "Medical record number",
    "PI": "Patient internal identifier",
    "ACSN": "Accession ID",
    "FILL": "Filler Identifier",
    "PLAC": "Placer Identifier",
}
_MODALITY_NAMES = {
    "ES": "Endoscopy",
    "GM": "General Microscopy",
    "XC": "External-camera Photography",
    "US": "Ultrasound",
    "IVUS": "Intravascular Ultrasound",
}
_SOP_CLASS_NAMES: dict[str, str] = {
    SopClass.VIDEO_ENDOSCOPIC: "Video Endoscopic Image Storage",
    SopClass.VIDEO_MICROSCOPIC: "Video Microscopic Image Storage",
    SopClass.VIDEO_PHOTOGRAPHIC: "Video Photographic Image Storage",
    SopClass.US_MULTI_FRAME: "Ultrasound Multi-frame Image Storage",
}
#: DICOM coding scheme designators (PS3.16 8) whose FHIR system is fixed; any other goes out as words only.
_CODE_SYSTEMS = {"SCT": _SNOMED, "DCM": _DCM}
_LATERALITY = {
    "L": {"system": _SNOMED, "code": "419161000", "display": "Unilateral left"},
    "R": {"system": _SNOMED, "code": "419465000", "display": "Unilateral right"},
    "B": {"system": _SNOMED, "code": "51440002", "display": "Bilateral"},
}

#: What we may say of a Procedure that we create once and never touch again: that it is over, when the order's owner
#: said so, else that we do not know. A video in the PACS completes nothing (clinical.md 5), and an "in-progress" that
#: nobody ever ends would be wrong the next day.
_PROCEDURE_STATUS = {OrderStatus.COMPLETED: "completed"}


def build_resources(notice: ResultNotice) -> tuple[dict[str, Any], ...]:
    """Build the FHIR R4 resources of "the video is in the PACS", ready to be stored and published.

    One ImagingStudy for each study of the proven instances (one, unless a study was adopted midway), then the
    Procedure when ``notice.with_procedure``. No instances give no resources: nothing is available, so nothing is said.

    Raises:
        MappingMiss: The patient's authority, or for a Procedure that of its order number, has no FHIR system.
        Declined: An instance belongs to another order, or the resource would not be valid FHIR R4.
    """
    strangers = sorted({one.sop_uid for one in notice.instances if one.order_id != notice.order.id})
    if strangers:
        raise Declined(
            f"the notice of order {notice.order.id} names instances of another order ({', '.join(strangers)}): "
            "nothing was sent; link the recordings again"
        )
    studies: dict[str, dict[str, Instance]] = {}
    for one in notice.instances:
        studies.setdefault(one.study_uid, {})[one.sop_uid] = one
    resources = [_imaging_study(notice, uid, tuple(instances.values())) for uid, instances in studies.items()]
    if resources and notice.with_procedure:
        resources.append(_procedure(notice))
    for resource in resources:
        _require_valid(resource, notice)
    return tuple(resources)


def _imaging_study(notice: ResultNotice, study_uid: str, instances: Sequence[Instance]) -> dict[str, Any]:
    """R4 ImagingStudy, its elements mapped from DICOM as the resource's own mapping table says."""
    series: dict[str, list[Instance]] = {}
    for one in instances:
        series.setdefault(one.series_uid, []).append(one)
    study_identifier = {
        "type": {"coding": [{"system": _DCM, "code": "110180", "display": "Study Instance UID"}]},
        "system": DICOM_UID,
        "value": f"urn:oid:{study_uid}",
    }
    # IHE IMR and the EU profile look for the accession in basedOn, R4 itself in identifier: both get it, with exactly
    # one coding in the type, because IMR's profile fails on a second one.
    accession = _accession(notice)
    requests = [number for number in (accession, _filler(notice), _placer(notice)) if number]
    return _without_empty(
        {
            "resourceType": "ImagingStudy",
            "identifier": [study_identifier, accession],
            "status": "available",
            "modality": [_modality(code) for code in dict.fromkeys(one.modality for one in instances)],
            "subject": _subject(notice),
            "started": _moment(notice.started_at),
            "basedOn": [_request(number) for number in requests[:1]],
            "numberOfSeries": len(series),
            "numberOfInstances": len(instances),
            "procedureCode": [_procedure_code(notice)],
            "description": notice.order.procedure.meaning,
            "series": [_series(members, notice.order.laterality) for members in series.values()],
        }
    )


def _series(instances: Sequence[Instance], laterality: str) -> dict[str, Any]:
    """R4 ImagingStudy.series; UIDs stand bare here, because their type is ``id``."""
    first = instances[0]
    return {
        "uid": first.series_uid,
        "number": first.series_number,
        "modality": _modality(first.modality),
        "description": first.series_description,
        "numberOfInstances": len(instances),
        "bodySite": _body_site(first),
        "laterality": _LATERALITY.get(laterality),
        "instance": [
            {
                "uid": one.sop_uid,
                "sopClass": {
                    "system": URI,
                    "code": f"urn:oid:{one.sop_class}",
                    "display": _SOP_CLASS_NAMES.get(one.sop_class),
                },
                "number": one.instance_number,
            }
            for one in instances
        ],
    }


def _procedure(notice: ResultNotice) -> dict[str, Any]:
    """R4 Procedure: identifies itself by a UID of its own; the order's numbers stand in basedOn (clinical.md 5).

    The placer number goes along, because an EHR that placed the order knows it by that one.
    """
    requests = [number for number in (_filler(notice), _placer(notice)) if number and number.get("system")]
    if not requests:
        raise MappingMiss(
            "authorities",
            notice.order.filler.authority.key if notice.order.filler else "",
            f"order {notice.order.id} has no filler or placer number with a FHIR system, so a Procedure could not be "
            "tied to it: add the system to the authorities table, or switch Procedure off for this destination",
        )
    return _without_empty(
        {
            "resourceType": "Procedure",
            "identifier": [{"system": URI, "value": f"urn:oid:{derive_uid('procedure', notice.order.id)}"}],
            "basedOn": [_request(number) for number in requests],
            "status": _PROCEDURE_STATUS.get(notice.order.status, "unknown"),
            "code": _procedure_code(notice),
            "subject": _subject(notice),
            "performedPeriod": _period(notice.started_at, notice.ended_at),
        }
    )


def _subject(notice: ResultNotice) -> dict[str, Any]:
    """Return the patient by identifier; a number without its system would fit any hospital's patient."""
    identifier = notice.order.patient.identifier
    system = _system(notice.patient_system, identifier.authority)
    if not system:
        raise MappingMiss(
            "authorities",
            identifier.authority.key,
            f"the patient authority {identifier.authority.key or '(none)'!r} has no FHIR system: add it to the "
            "authorities table, publish, and repeat the delivery",
        )
    return {"type": "Patient", "identifier": _identifier(identifier.value, system, identifier.type_code)}


def _accession(notice: ResultNotice) -> dict[str, Any] | None:
    order = notice.order
    if not order.accession:
        return None
    return _identifier(order.accession, _system(notice.accession_system, order.accession_authority), "ACSN")


def _filler(notice: ResultNotice) -> dict[str, Any] | None:
    number = notice.order.filler
    return _identifier(number.value, _system(notice.filler_system, number.authority), "FILL") if number else None


def _placer(notice: ResultNotice) -> dict[str, Any] | None:
    number = notice.order.placer
    return _identifier(number.value, _system(notice.placer_system, number.authority), "PLAC") if number else None


def _identifier(value: str, system: str, type_code: str) -> dict[str, Any]:
    coding = {"system": _V2_TYPES, "code": type_code, "display": _TYPE_NAMES.get(type_code)} if type_code else None
    return _without_empty({"type": {"coding": [coding]}, "system": system, "value": value})


def _system(mapped: str, authority: Authority) -> str:
    """Return the mapped system, else what the authority's own universal id says (HL7 v2.5.1 table 0301)."""
    if mapped or not authority.universal_id:
        return mapped
    prefix = {"ISO": "urn:oid:", "UUID": "urn:uuid:", "URI": ""}.get(authority.universal_id_type)
    return "" if prefix is None else prefix + authority.universal_id


def _request(identifier: dict[str, Any]) -> dict[str, Any]:
    return {"type": "ServiceRequest", "identifier": identifier}


def _modality(code: str) -> dict[str, Any]:
    return {"system": _DCM, "code": code, "display": _MODALITY_NAMES.get(code)}


def _body_site(instance: Instance) -> dict[str, Any] | None:
    system = _CODE_SYSTEMS.get(instance.body_part_scheme)
    if instance.body_part_code and system:
        return {"system": system, "code": instance.body_part_code, "display": instance.body_part_meaning}
    return {"display": instance.body_part_meaning}


def _procedure_code(notice: ResultNotice) -> dict[str, Any]:
    code = notice.fhir_code
    coding = {"system": code.scheme, "code": code.value, "display": code.meaning} if code.value else None
    return {"coding": [coding], "text": notice.order.procedure.meaning}


def _period(start: datetime | None, end: datetime | None) -> dict[str, Any]:
    """Return start and end, or the start alone where the end is not known or lies before it (a clock that jumped)."""
    credible = end if end is not None and (start is None or end >= start) else None
    return {"start": _moment(start), "end": _moment(credible)}


def _moment(value: datetime | None) -> str | None:
    """Return a FHIR dateTime in whole seconds with its offset; a naive one is left for the check to refuse."""
    return value.isoformat(timespec="seconds") if value else None


def _without_empty(resource: dict[str, Any]) -> dict[str, Any]:
    """Return the resource without anything empty in it: FHIR says nothing by leaving the element out."""
    kept = {name: _pruned(child) for name, child in resource.items()}
    return {name: child for name, child in kept.items() if not _is_empty(child)}


def _pruned(value: Any) -> Any:
    if isinstance(value, dict):
        return _without_empty(value)
    if isinstance(value, list):
        return [child for child in map(_pruned, value) if not _is_empty(child)]
    return value


def _is_empty(value: Any) -> bool:
    return value is None or value in ({}, []) or (isinstance(value, str) and not value.strip())


def _require_valid(resource: dict[str, Any], notice: ResultNotice) -> None:
    found = faults(resource)
    if found:
        raise Declined(
            f"the {resource['resourceType']} of order {notice.order.id} would not be valid FHIR R4, so it was not "
            f"sent ({'; '.join(found)}): mend the order or the mapping and repeat the delivery"
        )
