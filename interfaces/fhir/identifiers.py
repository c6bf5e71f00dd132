"""Identifiers as FHIR search takes them, and the test that an answer really carries the one asked for.

A server may not be trusted with the match: one ignores parameters that it does not know, one takes ``A|B`` for ``A``
even when the bar is escaped, one reads a comma as "or". Each of these would hand us another patient's resource.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

_SPECIAL = re.compile(r"([\\|,$])")


def search_token(identifier: dict[str, Any]) -> str:
    r"""Return ``system|value`` with ``\ | , $`` escaped (FHIR R4 3.1.1.4.0.1), not yet URL-encoded."""
    parts = (str(identifier.get("system", "")), str(identifier.get("value", "")))
    return "|".join(_SPECIAL.sub(r"\\\1", part) for part in parts)


def condition(identifier: dict[str, Any]) -> str:
    """Return the query of an If-None-Exist header (FHIR R4 3.1.0.8.1)."""
    return f"identifier={quote(search_token(identifier), safe='')}"


def same_identifier(one: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    """Tell whether both name the same thing: equal values within one system."""
    if not one or not other or not one.get("value"):
        return False
    return bool(one["value"] == other.get("value") and one.get("system", "") == other.get("system", ""))


def carries(resource: dict[str, Any], identifier: dict[str, Any]) -> bool:
    """Tell whether the resource itself is identified by exactly that identifier."""
    return any(same_identifier(held, identifier) for held in as_list(resource.get("identifier")))


def as_list(value: Any) -> list[Any]:
    """Return an element that may be absent, single or repeated as a list."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
