"""What the EHR is told once the PACS has shown that it holds the object (clinical.md 4 and 5)."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

from interfaces.fhir.resources import build_resources
from interfaces.hl7.results import build_oru
from models.delivery import DeliveryKind, ResultNotice
from models.mapping import DestinationRow, MappingSet
from models.order import Order
from models.patient import Identifier
from models.recording import Recording
from models.study import Instance
from models.value import Value


class Sender(Value):
    """Who we are in MSH-3 and MSH-4."""

    application: str = "CINELINK"
    facility: str = ""


def control_id(sop_uid: str, destination: str) -> str:
    """Return MSH-10 of a notice: the same for every repeat, at most 20 characters (HL7 v2.5.1 2.15.9.10)."""
    return f"CL{hashlib.sha256(f'{sop_uid}@{destination}'.encode()).hexdigest()[:18].upper()}"


def _system(tables: MappingSet, identifier: Identifier | None, kind: str) -> str:
    if identifier is None:
        return ""
    row = tables.authority(identifier.authority, kind)
    if row and row.fhir_system:
        return row.fhir_system
    universal = identifier.authority.universal_id
    return f"urn:oid:{universal}" if identifier.authority.universal_id_type == "ISO" and universal else ""


def build_notice(
    order: Order,
    recording: Recording,
    instances: tuple[Instance, ...],
    row: DestinationRow,
    tables: MappingSet,
    *,
    event_at: datetime,
    sender: Sender,
) -> ResultNotice:
    """Return the facts of a notice about a recording that was just proven, for one destination.

    ``instances`` are all proven instances of the order, the recording's own last; ``event_at`` is when it was proven.
    """
    procedure = tables.procedure(order.procedure, order.sender.namespace)
    facts = recording.facts
    started = (facts.created_at if facts else None) or recording.started_at
    accession = Identifier(value=order.accession, authority=order.accession_authority)
    return ResultNotice(
        control_id=control_id(instances[-1].sop_uid, row.name),
        event_at=event_at,
        order=order,
        instances=instances,
        sending_application=sender.application,
        sending_facility=sender.facility,
        receiving_application=row.application,
        receiving_facility=row.facility,
        result_status=row.result_status,
        observation_status=row.observation_status,
        started_at=started,
        patient_system=_system(tables, order.patient.identifier, "patient"),
        accession_system=_system(tables, accession, "accession"),
        placer_system=_system(tables, order.placer, "placer"),
        filler_system=_system(tables, order.filler, "filler"),
        fhir_code=procedure.fhir,
        with_procedure=row.procedure,
    )


def payload_of(notice: ResultNotice, kind: DeliveryKind) -> str:
    """Return the text that goes out; it is fixed when first built, so a repeat is the same to the byte."""
    if kind == DeliveryKind.HL7:
        return bytes(build_oru(notice)).decode()
    return json.dumps(build_resources(notice), separators=(",", ":"))
