"""The rules of the sandbox EHR (FHIR R4 3.1.0 and 3.1.1), without the sockets."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from interfaces.fhir.checks import faults
from interfaces.fhir.identifiers import as_list
from interfaces.fhir.sandbox_store import SandboxStore, Token

#: The resources that it keeps.
KINDS = ("Patient", "ServiceRequest", "ImagingStudy", "Procedure", "Task", "DiagnosticReport", "DocumentReference")

#: Search parameters that compare an identifier, and the index that holds it.
_BY_IDENTIFIER = {
    "identifier": "identifier",
    "patient:identifier": "subject:identifier",
    "subject:identifier": "subject:identifier",
    "based-on:identifier": "based-on:identifier",
}
#: Search parameters that compare a literal reference: the index, and the type of a bare id.
_BY_REFERENCE = {
    "patient": ("subject", "Patient"),
    "subject": ("subject", "Patient"),
    "based-on": ("based-on", "ServiceRequest"),
    "focus": ("focus", "ServiceRequest"),
}
#: Search parameters that ask for the identifier of what is referred to, by resource or by logical reference.
_CHAINED = {"patient.identifier": "patient", "subject.identifier": "subject", "based-on.identifier": "based-on"}
#: Parameters that shape the answer and choose nothing.
_SHAPING = frozenset({"_count", "_format", "_sort", "_total"})
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_ETAG = re.compile(r'(?:W/)?"(\d+)"')


@dataclass(frozen=True)
class Reply:
    """What is answered."""

    status: HTTPStatus
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


class Refused(Exception):
    """The request is answered with this status and an OperationOutcome that says why."""

    def __init__(self, status: HTTPStatus, code: str, *texts: str) -> None:
        super().__init__("; ".join(texts))
        issues = [{"severity": "error", "code": code, "details": {"text": text}} for text in texts]
        self.reply = Reply(status, {"resourceType": "OperationOutcome", "issue": issues})


class SandboxApi:
    """Answers requests out of a store.

    Args:
        store: Where the resources are.
        base_url: What Location headers begin with.
    """

    def __init__(self, store: SandboxStore, base_url: str) -> None:
        self._store = store
        self._base_url = base_url

    def get(self, path: list[str], query: str) -> Reply:
        """Read, vread, history of one resource, search, or the capability statement."""
        match path:
            case ["metadata"]:
                return Reply(HTTPStatus.OK, capability_statement())
            case [kind]:
                return self._search(kind, query)
            case [kind, identity]:
                return _versioned(HTTPStatus.OK, self._versions(kind, identity)[-1])
            case [kind, identity, "_history"]:
                return Reply(HTTPStatus.OK, _bundle("history", self._versions(kind, identity)[::-1]))
            case [kind, identity, "_history", version]:
                for one in self._versions(kind, identity):
                    if one["meta"]["versionId"] == version:
                        return _versioned(HTTPStatus.OK, one)
        raise _not_found("/".join(path))

    def post(self, path: list[str], query: str, headers: Message, body: bytes) -> Reply:
        """Search, or create; with If-None-Exist only where nothing fits (FHIR R4 3.1.0.8.1)."""
        match path:
            case [kind, "_search"]:
                return self._search(kind, "&".join(part for part in (query, body.decode(errors="replace")) if part))
            case [kind]:
                resource = _sound(kind, body)
                condition = headers.get("If-None-Exist", "")
                with self._store.transaction():
                    fitting = self._only_one(kind, condition) if condition else None
                    if fitting:
                        return _versioned(HTTPStatus.OK, fitting)
                    return self._created(self._store.write(resource))
        raise _not_found("/".join(path))

    def put(self, path: list[str], query: str, headers: Message, body: bytes) -> Reply:
        """Update by id or by condition, under If-Match where given (FHIR R4 3.1.0.4, 3.1.0.4.3)."""
        match path:
            case [kind, identity] if _ID.fullmatch(identity):
                resource = _sound(kind, body)
                if resource.get("id") != identity:
                    raise Refused(HTTPStatus.BAD_REQUEST, "invalid", "the id of the body is not the id of the address")
            case [kind] if query:
                resource, identity = _sound(kind, body), ""
            case _:
                raise _not_found("/".join(path))
        with self._store.transaction():
            if identity:
                versions = self._store.versions(kind, identity)
                held = versions[-1] if versions else None
            else:
                held = self._only_one(kind, query)
                identity = str((held or resource).get("id", ""))
            _require_version(held, headers.get("If-Match", ""))
            stored = self._store.write(resource, identity)
        return _versioned(HTTPStatus.OK, stored) if held else self._created(stored)

    def _search(self, kind: str, query: str) -> Reply:
        _require_kind(kind)
        return Reply(HTTPStatus.OK, _bundle("searchset", self._found(kind, query)))

    def _found(self, kind: str, query: str) -> list[dict[str, Any]]:
        pairs = parse_qsl(query, keep_blank_values=True)
        return self._store.find(kind, [self._tokens(name, text) for name, text in pairs if name not in _SHAPING])

    def _tokens(self, name: str, text: str) -> list[Token]:
        """Return what one parameter asks for; a parameter that is not known is refused, never ignored."""
        values = _split(text, ",")
        if name == "_id":
            return [Token("_id", _unescaped(value)) for value in values]
        if name in _BY_IDENTIFIER:
            return [_identifier_token(_BY_IDENTIFIER[name], value) for value in values]
        if name in _BY_REFERENCE:
            index, kind = _BY_REFERENCE[name]
            return [Token(index, value if "/" in value else f"{kind}/{value}") for value in map(_unescaped, values)]
        if name in _CHAINED:
            index, kind = _BY_REFERENCE[_CHAINED[name]]
            tokens = [_identifier_token("identifier", value) for value in values]
            targets = [Token(index, f"{kind}/{one['id']}") for one in self._store.find(kind, [tokens])]
            return [*targets, *(_identifier_token(f"{index}:identifier", value) for value in values)]
        raise Refused(HTTPStatus.BAD_REQUEST, "not-supported", f"the search parameter {name!r} is not known here")

    def _only_one(self, kind: str, query: str) -> dict[str, Any] | None:
        pairs = [name for name, _ in parse_qsl(query, keep_blank_values=True) if name not in _SHAPING]
        if not pairs:
            raise Refused(HTTPStatus.PRECONDITION_FAILED, "required", "the condition selects nothing in particular")
        found = self._found(kind, query)
        if len(found) > 1:
            raise Refused(HTTPStatus.PRECONDITION_FAILED, "multiple-matches", f"{len(found)} resources fit {query}")
        return found[0] if found else None

    def _versions(self, kind: str, identity: str) -> list[dict[str, Any]]:
        _require_kind(kind)
        versions = self._store.versions(kind, identity)
        if not versions:
            raise _not_found(f"{kind}/{identity}")
        return versions

    def _created(self, stored: dict[str, Any]) -> Reply:
        reply = _versioned(HTTPStatus.CREATED, stored)
        place = f"{self._base_url}/{stored['resourceType']}/{stored['id']}/_history/{stored['meta']['versionId']}"
        return Reply(reply.status, reply.body, {**reply.headers, "Location": place})


def capability_statement() -> dict[str, Any]:
    """Return what /metadata answers: only what is done here (FHIR R4 5.1)."""
    interactions = ("read", "vread", "update", "history-instance", "create", "search-type")
    parameters = ["_id", *_BY_IDENTIFIER, *_BY_REFERENCE]
    resources = [
        {
            "type": kind,
            "interaction": [{"code": code} for code in interactions],
            "versioning": "versioned-update",
            "updateCreate": True,
            "conditionalCreate": True,
            "conditionalUpdate": True,
            "searchParam": [
                {"name": name, "type": "reference" if name in _BY_REFERENCE else "token"}
                for name in parameters
                if ":" not in name
            ],
        }
        for kind in KINDS
    ]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-01-01",
        "kind": "instance",
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "software": {"name": "Cinelink sandbox EHR"},
        "implementation": {"description": "For trials: no users, no privileges"},
        "rest": [{"mode": "server", "resource": resources}],
    }


def _sound(kind: str, body: bytes) -> dict[str, Any]:
    """Return the resource of a body, or refuse it with every fault found."""
    _require_kind(kind)
    try:
        resource = json.loads(body)
    except ValueError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "structure", f"the body is no JSON: {error}") from error
    if not isinstance(resource, dict) or resource.get("resourceType") != kind:
        raise Refused(HTTPStatus.BAD_REQUEST, "invalid", f"the body is no {kind}")
    found = faults(resource)
    if found:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", *found)
    return resource


def _require_kind(kind: str) -> None:
    if kind not in KINDS:
        raise _not_found(kind)


def _require_version(held: dict[str, Any] | None, tag: str) -> None:
    """Refuse a write over a version that the writer has not seen (FHIR R4 3.1.0.5)."""
    if not tag:
        return
    seen, current = _ETAG.fullmatch(tag.strip()), held["meta"]["versionId"] if held else ""
    if not seen or seen[1] != current:
        raise Refused(HTTPStatus.PRECONDITION_FAILED, "conflict", f"If-Match {tag} is not the version {current!r} here")


def _not_found(what: str) -> Refused:
    return Refused(HTTPStatus.NOT_FOUND, "not-found", f"there is no {what} here")


def _versioned(status: HTTPStatus, resource: dict[str, Any]) -> Reply:
    return Reply(status, resource, {"ETag": f'W/"{resource["meta"]["versionId"]}"'})


def _bundle(kind: str, resources: list[dict[str, Any]]) -> dict[str, Any]:
    search = {"search": {"mode": "match"}} if kind == "searchset" else {}
    entries = [{"resource": one, **search} for one in as_list(resources)]
    bundle = {"resourceType": "Bundle", "type": kind, "total": len(entries)}
    return {**bundle, "entry": entries} if entries else bundle


def _identifier_token(name: str, text: str) -> Token:
    """Read ``system|value``, ``|value`` (without a system) or ``value`` (of any system)."""
    parts = [_unescaped(part) for part in _split(text, "|")]
    return Token(name, parts[0]) if len(parts) == 1 else Token(name, "|".join(parts[1:]), parts[0])


def _split(text: str, separator: str) -> list[str]:
    r"""Split at separators that no ``\`` stands before; the escapes stay for the next reader."""
    parts, escaped = [""], False
    for character in text:
        if character == separator and not escaped:
            parts.append("")
        else:
            parts[-1] += character
        escaped = character == "\\" and not escaped
    return parts


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
