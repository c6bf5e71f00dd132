"""Bringing resources to a FHIR R4 server so that a replay, a crash or a second worker never makes a second one.

Look, then write: the resource is found by its own identifier and read; then it is created, or what is missing is added
to it and the literal resource is written under If-Match. Every step can be repeated from the start, so a repeat after
an unknown outcome needs no memory: it finds what was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid5

from interfaces.fhir.identifiers import as_list, carries, condition, same_identifier, search_token
from interfaces.fhir.merge import conflict, merged, same_patient
from interfaces.fhir.strategy import Capabilities, Strategy
from interfaces.fhir.transport import Answer, Transport
from models.delivery import FhirPublished
from models.errors import Declined, Unreachable

#: Name space of the idempotency keys of AWS HealthLake (a UUID in ``x-amz-fhir-idempotency-key``).
_KEYS = UUID("1f0f5f53-4a3c-5b0e-9d51-7c8d1f6f4a10")
#: How often a resource that changes under our hands is read again before we come back later.
_ROUNDS = 5


class Publication:
    """One run of publishing to one server.

    Args:
        transport: The open connection.
        able: What the server says that it can do.
    """

    def __init__(self, transport: Transport, able: Capabilities) -> None:
        self._transport = transport
        self._able = able

    def bring(self, resources: Sequence[dict[str, Any]]) -> tuple[FhirPublished, ...]:
        """Bring the resources in order; nothing is written before the server is known to take all of their kinds."""
        for resource in resources:
            self._require_ability(resource["resourceType"])
        bring = {"ImagingStudy": self._bring_study, "Procedure": self._bring_procedure}
        return tuple(bring[one["resourceType"]](self._with_references(one)) for one in resources)

    def _require_ability(self, kind: str) -> None:
        for interaction in ("create", "search-type", "read"):
            if not self._able.can(kind, interaction):
                raise Declined(
                    f"{self._transport.base_url} offers no {interaction} for {kind} in its /metadata: "
                    f"take {kind} out of this destination, or have the server's owner open it"
                )

    def _bring_study(self, wanted: dict[str, Any]) -> FhirPublished:
        """Create the study, or add what the held one lacks; on a conflict read again and redo."""
        kind = wanted["resourceType"]
        for _ in range(_ROUNDS):
            held = self._held(wanted)
            if held is None:
                created = self._create(wanted)
                if created:
                    return created
                continue
            why_not = conflict(held.body, wanted, self._transport.base_url)
            if why_not:
                raise Declined(
                    f"{self._transport.base_url} holds {kind}/{held.body['id']} of this study, but {why_not}: "
                    "nothing was written; a person must look at both"
                )
            study = merged(held.body, wanted)
            if study == held.body:
                return _published(held, wanted, created=False)
            written = self._update(held, study)
            if written:
                return written
        raise self._restless(kind)

    def _bring_procedure(self, wanted: dict[str, Any]) -> FhirPublished:
        """Create the Procedure unless there is one: ours from an earlier attempt, or anybody's for the same order."""
        for _ in range(_ROUNDS):
            held = self._held(wanted)
            if held is not None:
                return _published(held, wanted, created=False)
            for request in wanted["basedOn"]:
                other = self._procedure_of(request["identifier"])
                if other:
                    return _published(Answer(HTTPStatus.OK, other), wanted, created=False)
            created = self._create({**wanted, "basedOn": _distinct(wanted["basedOn"])})
            if created:
                return created
        raise self._restless("Procedure")

    def _procedure_of(self, number: dict[str, Any]) -> dict[str, Any] | None:
        """Return a Procedure that is based on the order of that number, named by reference or by identifier.

        A refused search by reference stops us, because then it is not shown that there is none. The one by identifier
        is only a second look: many servers refuse it, and Medplum answers it with nothing.
        """
        if self._able.can("ServiceRequest", "search-type"):
            for order in self._holding("ServiceRequest", number):
                reference = f"ServiceRequest/{order['id']}"
                for found in self._transport.search("Procedure", {"based-on": reference}):
                    if any(_refers(one, reference) for one in as_list(found.get("basedOn"))):
                        return found
        for found in self._search_if_offered("Procedure", {"based-on:identifier": search_token(number)}):
            if any(same_identifier(one.get("identifier"), number) for one in as_list(found.get("basedOn"))):
                return found
        return None

    def _with_references(self, resource: dict[str, Any]) -> dict[str, Any]:
        """Return the resource with literal references beside the identifiers, where the server holds their targets.

        Without one, most EHRs do not show a study in the patient's chart. An order whose patient is not shown to be
        ours keeps its number only: numbers are used again, and a literal reference would tie two patients together.
        """
        subject = self._resolved(resource["subject"])

        def of_this_patient(order: dict[str, Any]) -> bool:
            return same_patient(order.get("subject") or {}, subject, self._transport.base_url)

        orders = [self._resolved(one, of_this_patient) for one in as_list(resource.get("basedOn"))]
        return {**resource, "subject": subject, **({"basedOn": orders} if orders else {})}

    def _resolved(
        self, reference: dict[str, Any], fits: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> dict[str, Any]:
        """Add the literal reference; several holders of one identifier are left alone: choosing is not ours."""
        kind, identifier = reference["type"], reference["identifier"]
        if not self._able.can(kind, "search-type") or not identifier.get("system"):
            return reference
        found = self._search_if_offered(kind, {"identifier": search_token(identifier)})
        holders = [one for one in found if carries(one, identifier) and one.get("active") is not False]
        if len(holders) != 1 or not fits(holders[0]):
            return reference
        return {"reference": f"{kind}/{holders[0]['id']}", **reference}

    def _held(self, wanted: dict[str, Any]) -> Answer | None:
        """Return the one resource that carries the first identifier of ``wanted``, freshly read, or None."""
        kind, identifier = wanted["resourceType"], wanted["identifier"][0]
        found = self._holding(kind, identifier)
        if not found:
            return None
        if len(found) > 1:
            ids = ", ".join(sorted(f"{kind}/{one['id']}" for one in found))
            raise Declined(
                f"{self._transport.base_url} holds {len(found)} {kind} resources of the same identifier ({ids}): "
                "a person must mend that there, we never pick one"
            )
        place = f"{kind}/{found[0]['id']}"
        answer = self._transport.read(place)
        if answer.body.get("id") != found[0]["id"] or not carries(answer.body, identifier):
            # A search index that lags behind, or a resource that was just deleted: creating now could make a second.
            raise Unreachable(
                f"{self._transport.base_url} finds {place} by a search, but reading it gives something else "
                f"({answer.status}): it is tried again later"
            )
        return answer

    def _holding(self, kind: str, identifier: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the resources that carry the identifier; the server's word for a match is not enough."""
        found = self._transport.search(kind, {"identifier": search_token(identifier)})
        fitting = [one for one in found if carries(one, identifier)]
        if found and not fitting:
            raise Declined(
                f"{self._transport.base_url} answered a search of {kind} by identifier with {len(found)} others: it "
                "does not search exactly, so it cannot be shown whether it holds ours; nothing was written"
            )
        return fitting

    def _search_if_offered(self, kind: str, parameters: dict[str, str]) -> list[dict[str, Any]]:
        """Search for something that is helpful, not needed: a server that refuses has answered "nothing"."""
        try:
            return self._transport.search(kind, parameters)
        except Declined:
            return []

    def _create(self, wanted: dict[str, Any]) -> FhirPublished | None:
        """POST a new resource; None when the server found one after all (200, or the 409 of AWS HealthLake)."""
        kind, identifier = wanted["resourceType"], wanted["identifier"][0]
        headers = {"x-amz-fhir-idempotency-key": str(uuid5(_KEYS, f"{kind}|{search_token(identifier)}"))}
        if self._able.strategy(kind) is Strategy.CONDITIONAL_CREATE:
            headers["If-None-Exist"] = condition(identifier)
        statuses = (HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED)
        answer = self._transport.write("POST", kind, wanted, headers=headers, conflicts=statuses)
        if answer.status == HTTPStatus.PRECONDITION_FAILED:
            raise Declined(
                f"{self._transport.base_url} holds several {kind} resources of the same identifier (412): "
                "a person must mend that there, we never pick one"
            )
        taken = answer.status == HTTPStatus.CREATED and bool(answer.id)
        return _published(answer, wanted, created=True) if taken else None

    def _update(self, held: Answer, study: dict[str, Any]) -> FhirPublished | None:
        """PUT the literal resource over the version that was read; None when somebody was faster (409, 412)."""
        kind = study["resourceType"]
        if not self._able.can(kind, "update"):
            raise Declined(
                f"{self._transport.base_url} holds {kind}/{study['id']}, which lacks what is new, and offers no update "
                f"for {kind} in its /metadata: have the server's owner open it"
            )
        tag = held.etag or (f'W/"{held.version_id}"' if held.version_id else "")
        headers = {"If-Match": tag} if tag else {}
        statuses = (HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED)
        answer = self._transport.write("PUT", f"{kind}/{study['id']}", study, headers=headers, conflicts=statuses)
        return None if answer.status in statuses else _published(answer, study, created=False)

    def _restless(self, kind: str) -> Unreachable:
        return Unreachable(
            f"the {kind} at {self._transport.base_url} changed under our hands {_ROUNDS} times: it is tried again later"
        )


def _published(answer: Answer, resource: dict[str, Any], *, created: bool) -> FhirPublished:
    """Say what the server now holds; a server that answers an update without a body keeps the id that we wrote to."""
    identity = answer.id or str(resource.get("id", ""))
    return FhirPublished(
        resource_type=resource["resourceType"], id=identity, version_id=answer.version_id, created=created
    )


def _distinct(references: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the references without a second one to the same order, known by filler and by placer number."""
    literals: set[str] = set()
    kept = []
    for one in references:
        literal = one.get("reference", "")
        if literal not in literals:
            kept.append(one)
        literals.update({literal} - {""})
    return kept


def _refers(reference: dict[str, Any], wanted: str) -> bool:
    literal = str(reference.get("reference", ""))
    return literal == wanted or literal.endswith(f"/{wanted}")
