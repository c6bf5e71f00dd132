"""The door to a FHIR R4 server: what it can do, and bringing resources to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from interfaces.fhir.publication import Publication
from interfaces.fhir.strategy import Capabilities, read_capabilities
from interfaces.fhir.transport import Transport
from models.delivery import FhirPublished
from models.errors import Declined


class FhirClient:
    """Publishes to one FHIR R4 server.

    It holds no connection between calls: one that idled until the server dropped it would turn the next write into an
    unknown outcome.

    Args:
        base_url: Root of the FHIR API, e.g. ``https://ehr.example.org/fhir``.
        token: Bearer token; empty for none.
        timeout: Seconds to wait for a connection and for each answer.
        http: A client of the caller's (TLS, proxy), which stays the caller's to close.
    """

    def __init__(self, base_url: str, *, token: str = "", timeout: float, http: httpx.Client | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._timeout = timeout
        self._http = http
        self._capabilities: Capabilities | None = None

    def capabilities(self) -> Capabilities:
        """Ask the server what it is and can (``GET /metadata``).

        Raises:
            Unreachable: No answer, or no FHIR answer.
            Declined: It is not FHIR R4 (4.0.x), or it refuses.
        """
        with self._connected() as transport:
            return self._ask_capabilities(transport)

    def publish(self, resources: Sequence[dict[str, Any]]) -> tuple[FhirPublished, ...]:
        """Bring the resources of ``build_resources`` to the server, in order; safe to repeat at any time.

        An ImagingStudy is created, or completed by what it lacks; a Procedure is created only where the server holds
        none for the order, and is never touched again (clinical.md 5).

        Returns:
            One for each resource, as the server now holds it; ``created`` is False for one that was there already.

        Raises:
            Unreachable: Nothing was handed over; try again later.
            OutcomeUnknown: The answer to a write is missing; publishing again looks before it writes.
            Declined: A person has to mend something: the sentence says what.
        """
        with self._connected() as transport:
            able = self._capabilities or self._ask_capabilities(transport)
            return Publication(transport, able).bring(resources)

    def _connected(self) -> Transport:
        return Transport(self._base_url, token=self._token, timeout=self._timeout, http=self._http)

    def _ask_capabilities(self, transport: Transport) -> Capabilities:
        answer = transport.read("metadata")
        if answer.body.get("resourceType") != "CapabilityStatement":
            raise Declined(f"{self._base_url}/metadata is no CapabilityStatement: mend the destination's url")
        found = read_capabilities(answer.body)
        if not found.fhir_version.startswith("4.0."):
            raise Declined(
                f"{self._base_url} speaks FHIR {found.fhir_version or '(version not stated)'}, and Cinelink writes R4 "
                "(4.0.x): give the destination the url of its R4 API"
            )
        self._capabilities = found
        return found
