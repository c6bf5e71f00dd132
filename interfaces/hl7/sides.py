"""The side of the body, from codes only (clinical.md 10): a text such as "knee right?" is never read for it."""

from __future__ import annotations

from interfaces.hl7.groups import Group
from interfaces.hl7.parsing import Element, Path

#: HL7 tables 0163 and 0495, CPT/HCPCS modifiers (OBR-45, table 0340), SNOMED CT and its older SRT codes.
_CODES = {
    "R": "R", "RT": "R", "24028007": "R", "G-A100": "R",
    "L": "L", "LT": "L", "7771000": "L", "G-A101": "L",
    "B": "B", "50": "B", "51440002": "B", "G-A102": "B",
}  # fmt: skip

#: The meanings of those codes, word for word.
_MEANINGS = {"RIGHT": "R", "LEFT": "L", "BILATERAL": "B", "RIGHT AND LEFT": "B"}


def read_side(group: Group, chain: tuple[Path, ...]) -> str | None:
    """Return ``R``, ``L`` or ``B``; None when no side was sent; empty when the sides that were sent disagree.

    All paths of the chain are read, not only the first that has a value: a code and a meaning that contradict each
    other must reach a person, and an empty side of a paired organ does.
    """
    sides: set[str] = set()
    for path in chain:
        for element in group.elements(path):
            sides |= _sides(element, path)
    if not sides:
        return None
    return sides.pop() if len(sides) == 1 else ""


def _sides(element: Element, path: Path) -> set[str]:
    """Return every side that a coded element names: code and text, and the alternate code and text."""
    if path.component and not path.subcomponent:
        parts = [element.part(path.component, place) for place in (1, 2, 4, 5)]
    elif path.component:
        parts = [element.part(path.component, path.subcomponent)]
    else:
        parts = [element.part(place) for place in (1, 2, 4, 5)]
    found = {_CODES.get(part.upper()) or _MEANINGS.get(part.upper()) for part in parts}
    return {side for side in found if side}
