"""Who an order names: the patient, the people around the order, the visit (HL7 v2.5.1 3.4.2, 2.A.14, 2.A.88)."""

from __future__ import annotations

from interfaces.hl7.groups import Group
from interfaces.hl7.parsing import NULL, Element, ParsedMessage, Segment, parse_path
from interfaces.hl7.times import read_date
from models.errors import MessageRefused
from models.patient import Authority, Identifier, Patient, PersonName

#: HL7 table 0001 to DICOM (PS3.3 C.7.1.1); U (unknown) is empty.
_SEX = {"M": "M", "F": "F", "O": "O", "A": "O", "N": "O", "X": "O"}
_LONGEST_ID = 64


def read_patient(message: ParsedMessage, authority: str) -> Patient:
    """Return the patient of PID.

    Args:
        message: The message.
        authority: Namespace or universal id of the PID-3 repetition to use; else type MR, else the first.

    Raises:
        MessageRefused: There is no PID, or no usable identifier in PID-3.
    """
    found = message.named("PID")
    if not found:
        raise MessageRefused("the message has no PID segment, so it names no patient", location="PID^1", code="100")
    pid = found[0]
    identifiers = [read_cx(element) for element in pid.elements(3)]
    identifiers = [item for item in identifiers if item.value not in ("", NULL)]
    if not identifiers:
        raise MessageRefused("PID-3 holds no patient identifier", location=pid.location(3), code="101")
    chosen = _choose(identifiers, authority)
    _require_dicom_text(chosen.value, pid.location(3))
    return Patient(
        identifier=chosen,
        others=tuple(item for item in identifiers if item != chosen),
        name=_patient_name(pid),
        birth_date=read_date(pid.part(7)) or read_date(pid.part(7, 2)),
        sex=_SEX.get(pid.part(8)[:1].upper(), ""),
    )


def _choose(identifiers: list[Identifier], authority: str) -> Identifier:
    for identifier in identifiers:
        if authority and authority in (identifier.authority.namespace, identifier.authority.universal_id):
            return identifier
    return next((item for item in identifiers if item.type_code.upper() == "MR"), identifiers[0])


def _require_dicom_text(value: str, location: str) -> None:
    """Patient ID is an LO: 64 characters, no backslash, no control characters (PS3.5 6.2)."""
    if len(value) > _LONGEST_ID or "\\" in value or not value.isprintable():
        raise MessageRefused(
            "the patient identifier does not fit DICOM (PS3.5 6.2 LO): at most 64 characters, no backslash and no "
            "control characters",
            location=location,
            code="102",
        )


def read_cx(element: Element) -> Identifier:
    """Read a CX: id, check digit, scheme, assigning authority (HD), type."""
    return Identifier(value=element.part(1), authority=_hd(element, 4), type_code=element.part(5))


def _hd(element: Element, component: int) -> Authority:
    parts = [element.part(component, place) for place in (1, 2, 3)]
    return Authority(namespace=_said(parts[0]), universal_id=_said(parts[1]), universal_id_type=_said(parts[2]))


def _said(text: str) -> str:
    return "" if text == NULL else text


def _patient_name(pid: Segment) -> PersonName:
    """Read PID-5: the legal name (XPN-7 is L), else the first."""
    names = pid.elements(5)
    if not names:
        return PersonName()
    legal = next((name for name in names if name.part(7) == "L"), names[0])
    return _name(legal, first=1)


def _name(element: Element, *, first: int) -> PersonName:
    """Read family, given, middle, suffix and prefix from a component on; family is the surname of an FN."""
    family = _said(element.part(first, 1))
    given, middle, suffix, prefix = (_said(element.part(first + step)) for step in range(1, 5))
    return PersonName(family=family, given=given, middle=middle, suffix=suffix, prefix=prefix)


def read_person(group: Group, *paths: str) -> PersonName | None:
    """Return the first person that fields of type XCN name; None when none was sent, empty for "delete"."""
    deleted = False
    for path in paths:
        for element in group.elements(parse_path(path)):
            if element.text == NULL:
                deleted = True
            elif (name := _name(element, first=2)) != PersonName():
                return name
    return PersonName() if deleted else None


def read_performer(group: Group) -> PersonName | None:
    """Return the technician: OBR-34.1 is an NDL, whose first component is a CNN in subcomponents (2.A.47)."""
    for element in group.elements(parse_path("OBR-34")):
        if element.text == NULL:
            return PersonName()
        family, given, middle, suffix, prefix = (element.part(1, place) for place in range(2, 7))
        if family or given:
            return PersonName(family=family, given=given, middle=middle, suffix=suffix, prefix=prefix)
    return None


def read_visit(group: Group) -> Identifier | None:
    """Return the visit number: PV1-19, else the account number PID-18."""
    for path in ("PV1-19", "PID-18"):
        for element in group.elements(parse_path(path)):
            identifier = read_cx(element)
            if identifier.value not in ("", NULL):
                return identifier
    return None
