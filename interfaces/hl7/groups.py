"""The ORC/OBR groups of an order message, and values found in them by the sender's chains of paths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from interfaces.hl7.parsing import NULL, Element, ParsedMessage, Path, Segment, elements_at, values_at
from models.errors import MessageRefused

#: What ends a batch is no part of the last order.
_TRAILERS = frozenset({"BTS", "FTS"})


@dataclass(frozen=True)
class Group:
    """One ORC with one OBR and what belongs to them; the segments before the first ORC belong to every group.

    Attributes:
        message: The whole message.
        orc: The group's ORC.
        own: The group's segments, ORC and OBR included.
        shared: The segments before the first ORC.
    """

    message: ParsedMessage
    orc: Segment
    own: tuple[Segment, ...]
    shared: tuple[Segment, ...]

    def segments(self, name: str) -> tuple[Segment, ...]:
        """Return the group's segments of a name, else those that all groups share."""
        own = tuple(segment for segment in self.own if segment.name == name)
        return own or tuple(segment for segment in self.shared if segment.name == name)

    def elements(self, path: Path) -> tuple[Element, ...]:
        """Return every repetition of the field that a path names."""
        return tuple(element for _, element in elements_at(self.segments(path.segment), path))

    def values(self, path: Path) -> tuple[str, ...]:
        """Return every value at a path; ``""`` of the sender stays as two quotes."""
        return tuple(value for _, value in values_at(self.segments(path.segment), path))

    def first(self, chain: tuple[Path, ...]) -> str | None:
        """Return the first value of a chain: None when nothing was sent, empty when only "delete" was."""
        found = [value for path in chain for value in self.values(path)]
        said = next((value for value in found if value != NULL), None)
        return said if said is not None else ("" if found else None)

    def location(self, segment: str, field: int) -> str:
        """Return the place of a field for ERR-2, also of a segment that is not there."""
        found = self.segments(segment)
        return found[0].location(field) if found else f"{segment}^1^{field}"


def split_groups(message: ParsedMessage) -> tuple[Group, ...]:
    """Return the groups of a message: each OBR is one, together with the ORC before it; an ORC may stand alone.

    Raises:
        MessageRefused: There is no ORC, an OBR stands before it, or there are two messages or two patients in one.
    """
    _require_one(message, "MSH", "two messages in one frame: send each message in a frame of its own")
    _require_one(message, "PID", "two PID segments, so it is open whose order this is: send one message a patient")
    segments = [segment for segment in message.segments if segment.name not in _TRAILERS]
    first = next((index for index, segment in enumerate(segments) if segment.name == "ORC"), None)
    if first is None:
        raise MessageRefused("the message has no ORC segment, so it orders nothing", location="ORC^1", code="100")
    shared = tuple(segments[:first])
    if any(segment.name == "OBR" for segment in shared):
        raise MessageRefused("an OBR stands before the first ORC: send ORC first", location="OBR^1", code="100")
    return tuple(Group(message, own[0], own, shared) for own in _owned(segments[first:]))


def _require_one(message: ParsedMessage, name: str, sentence: str) -> None:
    if len(message.named(name)) > 1:
        raise MessageRefused(sentence, location=f"{name}^2", code="100")


def _owned(segments: list[Segment]) -> Iterator[tuple[Segment, ...]]:
    """Yield the segments of each group; what stands between an ORC and its first OBR belongs to all its OBRs."""
    lead: list[Segment] = []
    body: list[Segment] = []
    for segment in segments:
        if segment.name == "ORC":
            if lead:
                yield (*lead, *body)
            lead, body = [segment], []
        elif segment.name == "OBR":
            if body:
                yield (*lead, *body)
            body = [segment]
        elif body:
            body.append(segment)
        else:
            lead.append(segment)
    yield (*lead, *body)
