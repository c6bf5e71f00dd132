"""Adding what we know to an ImagingStudy that a server already holds: nothing that is there is changed or removed.

The study may hold more than we know (stills of the same session, another order's clip, a note of the EHR), so a notice
with fewer instances takes nothing away, and a replay leaves it as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from interfaces.fhir.identifiers import as_list, same_identifier

#: A study in one of these was taken back by somebody: a late notice does not bring it to life again.
_WITHDRAWN = frozenset({"cancelled", "entered-in-error"})


def conflict(held: dict[str, Any], wanted: dict[str, Any], base_url: str) -> str:
    """Return why our facts must not be added to the study that is held, or an empty text (clinical.md 4)."""
    if held.get("status") in _WITHDRAWN:
        return f"it was marked {held['status']} there"
    if not same_patient(held.get("subject") or {}, wanted["subject"], base_url):
        return "it is held there under a patient who cannot be shown to be the order's patient"
    return ""


def merged(held: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the held ImagingStudy with what it lacked; equal to ``held`` when it lacked nothing.

    Counts never fall, and never claim more than the instances that are listed or were claimed before.
    """
    study = deepcopy(held)
    for name in ("started", "description", "procedureCode"):
        if name in wanted:
            study.setdefault(name, wanted[name])
    study["status"] = wanted["status"]
    study["subject"] = {**wanted["subject"], **(study.get("subject") or {})}
    _add(study, wanted, "identifier", same_identifier)
    _add(study, wanted, "modality", _same_coding)
    _add(study, wanted, "basedOn", _same_reference)
    _add(study, wanted, "series", _same_uid)
    for series in as_list(study.get("series")):
        ours: dict[str, Any] = next((one for one in as_list(wanted.get("series")) if _same_uid(one, series)), {})
        _add(series, ours, "instance", _same_uid)
        _count(series, "numberOfInstances", len(as_list(series.get("instance"))))
    _count(study, "numberOfSeries", len(as_list(study.get("series"))))
    listed = sum(max(series.get("numberOfInstances", 0), 0) for series in as_list(study.get("series")))
    _count(study, "numberOfInstances", listed)
    return study


def _add(
    held: dict[str, Any], wanted: dict[str, Any], name: str, same: Callable[[dict[str, Any], dict[str, Any]], bool]
) -> None:
    """Add the members that are not there yet; one that is there only gains what it does not say (a reference)."""
    members = as_list(held.get(name))
    for new in as_list(wanted.get(name)):
        twin = next((one for one in members if same(one, new)), None)
        if twin is None:
            members.append(deepcopy(new))
        elif name == "basedOn":
            twin.update({key: value for key, value in new.items() if key not in twin})
    if members:
        held[name] = members


def _count(part: dict[str, Any], name: str, listed: int) -> None:
    if listed or name in part:
        part[name] = max(part.get(name, 0), listed)


def _same_uid(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one.get("uid") == other.get("uid"))


def _same_coding(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool((one.get("system"), one.get("code")) == (other.get("system"), other.get("code")))


def _same_reference(one: dict[str, Any], other: dict[str, Any]) -> bool:
    literal = one.get("reference")
    return same_identifier(one.get("identifier"), other.get("identifier")) or (
        literal is not None and literal == other.get("reference")
    )


def same_patient(held: dict[str, Any], wanted: dict[str, Any], base_url: str) -> bool:
    """Equal identifiers, or the same resource on this server; anything less is not shown to be the same."""
    if same_identifier(held.get("identifier"), wanted.get("identifier")):
        return True
    ours = wanted.get("reference")
    return ours is not None and held.get("reference") in (ours, f"{base_url}/{ours}")
