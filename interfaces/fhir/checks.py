"""Is this really FHIR R4? The model library's checks, and what it is known to let through.

fhir.resources knows structure, cardinality and types, but not the required bindings, and it lets empty values and
periods that end before they start pass (FHIR R4 2.6.1, 4.1.2.1, per-1). Its top level is R5; R4B is the same as R4
for every resource that is named here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

#: Codes of required bindings (hl7.org/fhir/R4/valueset-*.html), by resource type and element.
REQUIRED_CODES: dict[tuple[str, str], frozenset[str]] = {
    ("ImagingStudy", "status"): frozenset({"registered", "available", "cancelled", "entered-in-error", "unknown"}),
    ("Procedure", "status"): frozenset(
        {
            "preparation",
            "in-progress",
            "not-done",
            "on-hold",
            "stopped",
            "completed",
            "entered-in-error",
            "unknown",
        }
    ),
    ("ServiceRequest", "status"): frozenset(
        {"draft", "active", "on-hold", "revoked", "completed", "entered-in-error", "unknown"}
    ),
    ("ServiceRequest", "intent"): frozenset(
        {
            "proposal",
            "plan",
            "directive",
            "order",
            "original-order",
            "reflex-order",
            "filler-order",
            "instance-order",
            "option",
        }
    ),
    ("Patient", "gender"): frozenset({"male", "female", "other", "unknown"}),
}


def faults(resource: dict[str, Any]) -> tuple[str, ...]:
    """Return what is wrong with a resource as FHIR R4, one short text for each fault; empty when it is sound."""
    kind = str(resource.get("resourceType", ""))
    try:
        model = get_fhir_model_class(kind)
    except (ValueError, KeyError):
        return (f"{kind or 'a resource without resourceType'} is no FHIR R4 resource",)
    try:
        model.model_validate(resource)
    except ValidationError as error:
        return tuple(f"{kind}.{_path(issue['loc'])}: {issue['msg']}" for issue in error.errors())
    return (*_unknown_codes(kind, resource), *_hollow(kind, resource), *_backward(kind, resource))


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _unknown_codes(kind: str, resource: dict[str, Any]) -> Iterator[str]:
    for (name, element), codes in REQUIRED_CODES.items():
        if name == kind and element in resource and resource[element] not in codes:
            yield f"{kind}.{element}: {resource[element]!r} is not in the required value set"


def _hollow(path: str, value: Any) -> Iterator[str]:
    """Yield the paths of empty values: FHIR has no way to say nothing but to leave the element out."""
    if value is None or value in ({}, []) or (isinstance(value, str) and not value.strip()):
        yield f"{path}: is empty"
    for name, child in _children(value):
        yield from _hollow(f"{path}.{name}", child)


def _backward(path: str, value: Any) -> Iterator[str]:
    """Yield the periods that end before they start (per-1)."""
    if isinstance(value, dict) and isinstance(value.get("start"), str) and isinstance(value.get("end"), str):
        start, end = _moment(value["start"]), _moment(value["end"])
        if start and end and end < start:
            yield f"{path}: ends before it starts"
    for name, child in _children(value):
        yield from _backward(f"{path}.{name}", child)


def _children(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return [(str(index), item) for index, item in enumerate(value)] if isinstance(value, list) else []


def _moment(text: str) -> datetime | None:
    """Return a full dateTime; None for a partial date, which has no order against another."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
