"""Orders out of a message: every ORC/OBR group of ORM^O01, OMG^O19 and OMI^O23 (HL7 v2.5.1 4.4, IHE RAD-4).

What is missing is None ("not sent"), ``""`` is the sender's "delete" (2.5.3). Where a value that decides who or what
is meant cannot be read for certain, the message is refused with its place: a guess would link a wrong patient.
"""

from __future__ import annotations

import logging
import re
from datetime import datetime
from zoneinfo import ZoneInfo

from interfaces.hl7 import numbers, people
from interfaces.hl7.groups import Group, split_groups
from interfaces.hl7.parsing import NULL, ParsedMessage, Path, parse, parse_chain
from interfaces.hl7.sides import read_side
from interfaces.hl7.times import read_stamp
from models.errors import MessageRefused
from models.mapping import SenderRow
from models.order import Code, OrderRequest
from models.patient import Authority, Patient

log = logging.getLogger("cinelink." + __name__)

#: Controls that make a new order, which needs an OBR to say for what (HL7 table 0119).
_NEW = frozenset({"NW", "SN", "RO"})

#: Order details of other kinds (HL7 v2.5.1 4.4.1): an ORC with one of these orders no imaging.
_OTHER_DETAILS = {
    "RXO": "a pharmacy order", "RQD": "a requisition", "RQ1": "a requisition", "ODS": "a diet", "ODT": "a diet",
}  # fmt: skip

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_LONGEST_UID = 64


def read_orders(raw: bytes, sender: SenderRow) -> tuple[OrderRequest, ...]:
    """Return what every ORC/OBR group of a message says, in order.

    Args:
        raw: The message, without VT and FS.
        sender: Where this sender puts things (the ``senders`` table).

    Raises:
        MessageRefused: Something that an order cannot do without is missing, unreadable or said twice; the error
            names the place (ERR-2) and the code of HL7 table 0357.
    """
    message = parse(raw, sender.character_set)
    for warning in message.warnings:
        log.warning("character set: %s", warning, extra={"action": "hl7.character_set"})
    patient = people.read_patient(message, sender.patient_authority)
    groups = split_groups(message)
    requests = tuple(_request(group, patient, sender) for group in groups)
    requests = _share_study(message, requests)
    _require_told_apart(groups, requests)
    return requests


def _request(group: Group, patient: Patient, sender: SenderRow) -> OrderRequest:
    control = group.orc.part(1).upper()
    _require_imaging(group, control)
    placer, filler = numbers.order_number(group, 2), numbers.order_number(group, 3)
    accession = numbers.accession(group, sender.accession)
    if placer is None and filler is None and not accession.value:
        raise MessageRefused(
            "the order has no number: send a placer number (ORC-2), a filler number (ORC-3) or an accession number "
            "(OBR-18, or where the senders table says)",
            location=group.orc.location(2),
            code="101",
        )
    return OrderRequest(
        control=control,
        order_status=group.first((Path("ORC", 5, 1),)) or "",
        sent_at=_sent_at(group.message, sender),
        sender=_sender(group.message),
        patient=patient,
        placer=placer,
        filler=filler,
        accession=accession.value,
        accession_authority=accession.authority,
        study_uid=_study_uid(group, sender),
        requested_procedure_id=numbers.one_value(group, sender.requested_procedure_id, "requested procedure id"),
        scheduled_step_id=group.first(parse_chain(sender.scheduled_step_id)),
        procedure=_procedure(group, sender),
        modality=group.first(parse_chain(sender.modality)),
        laterality=read_side(group, parse_chain(sender.laterality)),
        scheduled_at=_scheduled_at(group, sender),
        station=group.first(parse_chain(sender.station)),
        requester=people.read_person(group, "ORC-12", "OBR-16"),
        referrer=people.read_person(group, "PV1-8"),
        performer=people.read_performer(group),
        reason=group.first(parse_chain("OBR-31.2|OBR-31.1|OBR-13.1")),
        visit_number=people.read_visit(group),
    )


def _require_imaging(group: Group, control: str) -> None:
    if group.segments("OBR"):
        return
    for name, kind in _OTHER_DETAILS.items():
        if group.segments(name):
            raise MessageRefused(
                f"the order is {kind} ({name}), not an imaging order (OBR): send it to the system that it is for",
                location=group.segments(name)[0].location(1),
                code="100",
            )
    if control in _NEW:
        raise MessageRefused(
            f"a new order (ORC-1 {control}) needs an OBR that says for what", location="OBR^1", code="100"
        )


def _sender(message: ParsedMessage) -> Authority:
    return Authority(namespace=message.header.part(3), universal_id=message.header.part(4))


def _sent_at(message: ParsedMessage, sender: SenderRow) -> datetime | None:
    stamp = read_stamp(message.header.part(7), ZoneInfo(sender.time_zone))
    return stamp.at if stamp else None


# --- the study -----------------------------------------------------------------------------------------------------


def _study_uid(group: Group, sender: SenderRow) -> str | None:
    uid = numbers.one_value(group, sender.study_uid, "Study Instance UID")
    if uid and (len(uid) > _LONGEST_UID or not _UID.fullmatch(uid)):
        place = next(path for path in parse_chain(sender.study_uid) if group.values(path))
        raise MessageRefused(
            "the Study Instance UID is no UID: numbers without leading zeros between dots, at most 64 characters "
            "(PS3.5 9.1)",
            location=group.location(place.segment, place.field),
            code="102",
        )
    return uid


def _share_study(message: ParsedMessage, requests: tuple[OrderRequest, ...]) -> tuple[OrderRequest, ...]:
    """Give the one ZDS at the end to all groups of its requested procedure (IHE RAD-4: one ZDS a message).

    Only groups that name the same requested procedure share it: two procedures are two studies.
    """
    last = requests[-1]
    if len(message.named("ZDS")) != 1 or not last.study_uid or not last.requested_procedure_id:
        return requests
    return tuple(
        request.model_copy(update={"study_uid": last.study_uid})
        if request.study_uid is None and request.requested_procedure_id == last.requested_procedure_id
        else request
        for request in requests
    )


def _require_told_apart(groups: tuple[Group, ...], requests: tuple[OrderRequest, ...]) -> None:
    """Two procedures under the same numbers would overwrite each other: refuse them (one order, one procedure)."""
    seen: dict[tuple[object, ...], str] = {}
    for group, request in zip(groups, requests, strict=True):
        key = (request.placer, request.filler, request.accession, request.requested_procedure_id)
        procedure = request.procedure.value or request.procedure.meaning if request.procedure else ""
        if seen.setdefault(key, procedure) != procedure:
            raise MessageRefused(
                "two OBR ask for different procedures under the same numbers, so they cannot be told apart: give each "
                "its own number in ORC-2, ORC-3 or OBR-19",
                location=group.location("OBR", 4),
                code="205",
            )


# --- what and when -------------------------------------------------------------------------------------------------


def _procedure(group: Group, sender: SenderRow) -> Code | None:
    """Return the first code of the chain; a text without a code only when no path has a code."""
    found: list[Code] = []
    deleted = False
    for path in parse_chain(sender.procedure):
        for element in group.elements(path):
            deleted = deleted or element.text == NULL
            value, meaning, scheme = ("" if part == NULL else part for part in map(element.part, (1, 2, 3)))
            found.append(Code(value=value, meaning=meaning, scheme=scheme))
    coded = [code for code in found if code.value] or [code for code in found if code.meaning]
    if coded:
        return coded[0]
    return Code() if deleted else None


def _scheduled_at(group: Group, sender: SenderRow) -> datetime | None:
    """Return the first time of the chain that says the hour.

    A day without an hour is no slot: it is passed over, and without another time the order has none. Something that
    is no time at all is refused, because the room would wait for the patient in a wrong slot.
    """
    for path in parse_chain(sender.scheduled_at):
        for value in group.values(path):
            if value == NULL:
                continue
            stamp = read_stamp(value, ZoneInfo(sender.time_zone))
            if stamp is None:
                raise MessageRefused(
                    f"the scheduled time in {path.segment}-{path.field} cannot be read: send YYYYMMDDHHMM[SS][+ZZZZ]",
                    location=group.location(path.segment, path.field),
                    code="102",
                )
            if stamp.has_hour:
                return stamp.at
    return None
