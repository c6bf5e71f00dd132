"""What a FHIR server says of itself in /metadata, and how we therefore create there without duplicates.

Every publication is *look, then write*: find by identifier, read, then create or merge and write the literal resource
under If-Match. What differs between servers is only the create:

======================  ==============================  ==========================================================
strategy                create                          servers (fhir.md 0.1, 0.2)
======================  ==============================  ==========================================================
CONDITIONAL_CREATE      POST with If-None-Exist         HAPI, Medplum, SEKMET, Azure, Firely, our own sandbox
SEARCH_THEN_CREATE      POST, having just searched      Epic, Oracle Health, Google, AWS HealthLake
======================  ==============================  ==========================================================

Transactions are not used: each resource is idempotent by itself, so a replay mends what an interruption left.
Conditional *update* is not used either: Medplum and SEKMET ignore If-Match on it, so it would write over what somebody
else added. Every POST also carries AWS HealthLake's idempotency key, which other servers ignore.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from interfaces.fhir.identifiers import as_list
from models.value import Value


class Strategy(StrEnum):
    """How a resource is created without a second one."""

    CONDITIONAL_CREATE = "conditional create"
    SEARCH_THEN_CREATE = "search, then create"


class ResourceAbility(Value):
    """What the server offers for one resource type; ``None`` interactions are not stated, so they are tried."""

    interactions: frozenset[str] | None = None
    conditional_create: bool = False
    conditional_update: bool = False

    def can(self, interaction: str) -> bool:
        """Tell whether ``read``, ``create``, ``update`` or ``search-type`` is offered."""
        return self.interactions is None or interaction in self.interactions


class Capabilities(Value):
    """The parts of a CapabilityStatement that decide how we publish (FHIR R4 5.1).

    Attributes:
        fhir_version: ``4.0.1`` for R4.
        software: Name and version of the server, for people.
        transaction: It takes transaction bundles (told to people; we do not need them).
        resources: By resource type.
    """

    fhir_version: str
    software: str = ""
    transaction: bool = False
    resources: dict[str, ResourceAbility] = Field(default_factory=dict)

    def can(self, resource_type: str, interaction: str) -> bool:
        """Tell whether the server offers an interaction for a resource type."""
        ability = self.resources.get(resource_type)
        return ability is not None and ability.can(interaction)

    def strategy(self, resource_type: str) -> Strategy:
        """Return how a resource of that type is created without a second one."""
        ability = self.resources.get(resource_type)
        return Strategy.CONDITIONAL_CREATE if ability and ability.conditional_create else Strategy.SEARCH_THEN_CREATE


def read_capabilities(statement: dict[str, Any]) -> Capabilities:
    """Read a CapabilityStatement; what it does not say is taken as not offered."""
    server: dict[str, Any] = next((rest for rest in as_list(statement.get("rest")) if rest.get("mode") == "server"), {})
    software = statement.get("software") or {}
    return Capabilities(
        fhir_version=str(statement.get("fhirVersion", "")),
        software=" ".join(str(software[part]) for part in ("name", "version") if software.get(part)),
        transaction="transaction" in _codes(server),
        resources={str(one.get("type")): _ability(one) for one in as_list(server.get("resource"))},
    )


def _ability(resource: dict[str, Any]) -> ResourceAbility:
    return ResourceAbility(
        interactions=_codes(resource) if "interaction" in resource else None,
        conditional_create=resource.get("conditionalCreate") is True,
        conditional_update=resource.get("conditionalUpdate") is True,
    )


def _codes(part: dict[str, Any]) -> frozenset[str]:
    return frozenset(str(one.get("code")) for one in as_list(part.get("interaction")))
