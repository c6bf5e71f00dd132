"""Invented notices of proven video."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from models.delivery import ResultNotice
from models.order import Code, Order, OrderStatus
from models.patient import Authority, Identifier, Patient, PersonName
from models.study import Instance, SopClass, TransferSyntax, derive_uid

PATIENTS, PLACERS, FILLERS, ACCESSIONS = (f"urn:oid:2.999.1.{arc}" for arc in (1, 2, 3, 4))
STARTED = datetime(2026, 3, 1, 9, 10, tzinfo=timezone(timedelta(hours=1)))


def study_uid(key: str) -> str:
    return derive_uid("test study", key)


def study_identifier(key: str) -> dict[str, Any]:
    return {"system": "urn:dicom:uid", "value": f"urn:oid:{study_uid(key)}"}


def order(key: str, **changes: Any) -> Order:
    values: dict[str, Any] = {
        "id": f"order-{key}",
        "version": 1,
        "status": OrderStatus.SCHEDULED,
        "sender": Authority(namespace="DEMO_RIS"),
        "patient": Patient(
            identifier=Identifier(value=f"M{key}", authority=Authority(namespace="DEMO"), type_code="MR"),
            name=PersonName(family="Muster", given="Ana"),
        ),
        "placer": Identifier(value=f"P{key}", authority=Authority(namespace="DEMO_EHR")),
        "filler": Identifier(value=f"F{key}", authority=Authority(namespace="DEMO_RIS")),
        "accession": f"E{key}",
        "study_uid": study_uid(key),
        "procedure": Code(value="EGD", meaning="Upper endoscopy", scheme="L"),
    }
    return Order(**{**values, **changes})


def clip(key: str, number: int, **changes: Any) -> Instance:
    values: dict[str, Any] = {
        "sop_uid": derive_uid("test clip", key, str(number)),
        "sop_class": SopClass.VIDEO_ENDOSCOPIC,
        "transfer_syntax": TransferSyntax.H264_HIGH_41,
        "series_uid": derive_uid("test series", key, str(number)),
        "study_uid": study_uid(key),
        "order_id": f"order-{key}",
        "recording_id": f"recording-{number}",
        "modality": "ES",
        "series_number": number,
        "series_description": "Upper endoscopy video",
        "body_part_code": "32849002",
        "body_part_scheme": "SCT",
        "body_part_meaning": "Esophagus",
        "file_sha256": "ab" * 32,
    }
    return Instance(**{**values, **changes})


def notice(key: str, clips: int = 1, **changes: Any) -> ResultNotice:
    values: dict[str, Any] = {
        "control_id": f"CL{key}",
        "event_at": datetime(2026, 3, 1, 8, 40, tzinfo=UTC),
        "order": order(key),
        "instances": tuple(clip(key, number) for number in range(1, clips + 1)),
        "started_at": STARTED,
        "patient_system": PATIENTS,
        "placer_system": PLACERS,
        "filler_system": FILLERS,
        "accession_system": ACCESSIONS,
        "fhir_code": Code(scheme="http://snomed.info/sct", value="76009000", meaning="Esophagogastroduodenoscopy"),
    }
    return ResultNotice(**{**values, **changes})
