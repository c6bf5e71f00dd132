"""The numbers of an order: placer, filler, accession, requested procedure (HL7 v2.5.1 2.A.28 EI).

A number is taken whole or not at all: never trimmed, never chosen from two that disagree (clinical.md 2).
"""

from __future__ import annotations

from dataclasses import dataclass

from interfaces.hl7.groups import Group
from interfaces.hl7.parsing import NULL, Element, Path, parse_chain
from models.errors import MessageRefused
from models.patient import Authority, Identifier

#: Accession Number is an SH (PS3.5 6.2).
_LONGEST_ACCESSION = 16
_LONGEST_NUMBER = 64

#: Fields that by standard or by IHE hold the accession number; other paths of a chain are a sender's makeshift.
_ACCESSION_HOMES = frozenset({("IPC", 1), ("OBR", 18)})

#: Segments whose fields of numbers are EIs, with the authority beside the number.
_EI_FIELDS = frozenset({("IPC", 1), ("OBR", 18), ("ORC", 2), ("ORC", 3), ("OBR", 2), ("OBR", 3)})


#: An authority that was not named.
NOBODY = Authority()


@dataclass(frozen=True)
class Accession:
    """The accession number with its authority; ``value`` is None when none was sent."""

    value: str | None
    authority: Authority = NOBODY


def order_number(group: Group, field: int) -> Identifier | None:
    """Return the placer (2) or filler (3) number: ORC's, else OBR's; where they differ, ORC's.

    Raises:
        MessageRefused: The field is repeated with another number, or is no number.
    """
    found = [(name, _entity(group, Path(name, field))) for name in ("ORC", "OBR")]
    known = [(name, number) for name, number in found if number is not None]
    if not known:
        return None
    name, number = known[0]
    _require_plain(number.value, group.location(name, field), _LONGEST_NUMBER)
    if not number.authority.key:
        # OBR often repeats the number in full where ORC has it bare.
        return next((other for _, other in known if other.value == number.value and other.authority.key), number)
    return number


def _entity(group: Group, path: Path) -> Identifier | None:
    elements = [element for element in group.elements(path) if element.part(1) not in ("", NULL)]
    if not elements:
        return None
    if len({element.part(1) for element in elements}) > 1:
        raise _two_values(group, path, "order number")
    return Identifier(value=elements[0].part(1), authority=_authority(elements[0]))


def _authority(element: Element) -> Authority:
    namespace, universal, kind = ("" if part == NULL else part for part in map(element.part, (2, 3, 4)))
    return Authority(namespace=namespace, universal_id=universal, universal_id_type=kind)


def accession(group: Group, chain: str) -> Accession:
    """Return the accession number by the sender's chain.

    Raises:
        MessageRefused: It does not fit DICOM (it is never trimmed), or IPC-1 and OBR-18 disagree.
    """
    paths = parse_chain(chain)
    homes = [path for path in paths if (path.segment, path.field) in _ACCESSION_HOMES]
    _require_agreement(group, homes, "accession number")
    for path in paths:
        for element in group.elements(path):
            value = element.part(path.component or 1, path.subcomponent)
            if value not in ("", NULL):
                _require_agreement(group, [path], "accession number")
                _require_plain(value, group.location(path.segment, path.field), _LONGEST_ACCESSION)
                owned = (path.segment, path.field) in _EI_FIELDS and path.component in (0, 1)
                return Accession(value, _authority(element) if owned else NOBODY)
    return Accession(group.first(paths))


def one_value(group: Group, chain: str, what: str) -> str | None:
    """Return the value of a chain whose paths all mean the same thing.

    Raises:
        MessageRefused: Two values disagree, or the value is no number.
    """
    paths = parse_chain(chain)
    _require_agreement(group, list(paths), what)
    value = group.first(paths)
    if value:
        _require_plain(value, _location(group, paths), _LONGEST_NUMBER)
    return value


def _location(group: Group, paths: tuple[Path, ...]) -> str:
    path = next(path for path in paths if group.values(path))
    return group.location(path.segment, path.field)


def _require_agreement(group: Group, paths: list[Path], what: str) -> None:
    values = [(value, path) for path in paths for value in group.values(path) if value != NULL]
    if len({value for value, _ in values}) > 1:
        raise _two_values(group, values[-1][1], what)


def _two_values(group: Group, path: Path, what: str) -> MessageRefused:
    return MessageRefused(
        f"the order carries two different values of its {what}: send one, or name its one place in the senders table",
        location=group.location(path.segment, path.field),
        code="102",
    )


def _require_plain(value: str, location: str, longest: int) -> None:
    place = location.split("^")
    where = f"{place[0]}-{place[2]}"
    if len(value) > longest:
        raise MessageRefused(
            f"the number in {where} has {len(value)} characters, DICOM takes {longest} (PS3.5 6.2); it is never "
            "trimmed: send a shorter one, or name another place in the senders table",
            location=location,
            code="102",
        )
    if "\\" in value or not value.isprintable():
        raise MessageRefused(
            f"the number in {where} holds a backslash or a control character, which DICOM does not take (PS3.5 6.2)",
            location=location,
            code="102",
        )
