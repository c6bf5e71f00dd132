"""One request to a FHIR server, and what its answer means for us (FHIR R4 3.1.0, RFC 9110).

The rule that everything else rests on: a read that fails has changed nothing, a write whose answer is missing may have
been taken. Which of the two it was is in the error's class.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import httpx

from interfaces.fhir.identifiers import as_list
from models.errors import Declined, OutcomeUnknown, Unreachable

_FHIR_JSON = "application/fhir+json"
_LOCATION = re.compile(r"/([A-Za-z]+)/([A-Za-z0-9.\-]{1,64})(?:/_history/([A-Za-z0-9.\-]{1,64}))?/?$")
_ETAG = re.compile(r'^(?:W/)?"(.*)"$')
_LONGEST_DETAIL = 600

#: The server or something before it is busy or broken for the moment.
_TEMPORARY = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
#: 5xx that will not pass by waiting.
_LASTING = frozenset({HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED})
_NO_ENTRY = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
#: Answers of a server that has search, but not by POST.
_NO_POST_SEARCH = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)
#: httpx errors that come up before a byte of the request has left.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
#: The request could not even be put together; the error's own text may hold the token, so it is not repeated.
_NOT_HTTP = (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError)


@dataclass(frozen=True)
class Answer:
    """What came back: status, the JSON body (empty when there was none) and the headers that name a version."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)
    location: str = ""
    etag: str = ""

    @property
    def id(self) -> str:
        """Server id: from Location, which is always there on a create; a body may be left out or be an outcome."""
        found = _LOCATION.search(self.location)
        if found:
            return found[2]
        return "" if self.is_outcome else str(self.body.get("id", ""))

    @property
    def version_id(self) -> str:
        """Version id from ETag, else Location, else ``meta.versionId``; empty where the server keeps no versions."""
        tag, found = _ETAG.match(self.etag), _LOCATION.search(self.location)
        if tag:
            return tag[1]
        if found and found[3]:
            return found[3]
        return "" if self.is_outcome else str((self.body.get("meta") or {}).get("versionId", ""))

    @property
    def is_outcome(self) -> bool:
        """Whether the body is an OperationOutcome instead of a resource."""
        return self.body.get("resourceType") == "OperationOutcome"


class Transport:
    """Requests to one server. Redirects are not followed: a token must not travel to another place.

    Args:
        base_url: Root of the FHIR API, e.g. ``https://ehr.example.org/fhir``.
        token: Bearer token; empty for none.
        timeout: Seconds to wait for a connection and for each answer.
        http: A client of the caller's (TLS, proxy), which stays the caller's to close.

    Raises:
        Declined: The token cannot stand in a header.
    """

    def __init__(self, base_url: str, *, token: str, timeout: float, http: httpx.Client | None) -> None:
        self.base_url = base_url.rstrip("/")
        if not (token.isascii() and token.isprintable()):
            raise Declined(
                f"the token for {self.base_url} holds characters that HTTP cannot carry (a line end?): mend the "
                "destination's url or its secret"
            )
        self._own = http is None
        self._http = http or httpx.Client(verify=_trusted())
        self._timeout = timeout
        self._search_by_post = True
        self._headers = {"Accept": _FHIR_JSON}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, when they are ours."""
        if self._own:
            self._http.close()

    def read(self, path: str) -> Answer:
        """GET one resource; 404 and 410 are answers, not errors.

        Raises:
            Unreachable: No answer, or a temporary one.
            Declined: Any other refusal.
        """
        return self._ask("GET", path, expected=(HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.GONE))

    def search(self, resource_type: str, parameters: dict[str, str]) -> list[dict[str, Any]]:
        """Return the resources of that type that the server's first page answers with.

        Searches go by POST (FHIR R4 3.1.1.1), so that no patient's number stands in an address that proxies and
        servers write into their logs; a server without that is asked by GET.

        Raises:
            Unreachable: No answer, or a temporary one.
            Declined: The server does not search like that.
        """
        strict = {"Prefer": "handling=strict"}
        if self._search_by_post:
            expected = (HTTPStatus.OK, *_NO_POST_SEARCH)
            answer = self._ask("POST", f"{resource_type}/_search", expected=expected, headers=strict, data=parameters)
            if answer.status == HTTPStatus.OK:
                return self._matches(answer, resource_type)
        answer = self._ask("GET", resource_type, expected=(HTTPStatus.OK,), headers=strict, params=parameters)
        self._search_by_post = False
        return self._matches(answer, resource_type)

    def write(
        self, method: str, path: str, resource: dict[str, Any], *, headers: dict[str, str], conflicts: tuple[int, ...]
    ) -> Answer:
        """POST or PUT one resource; the statuses in ``conflicts`` are answers, not errors.

        Raises:
            Unreachable: Nothing was sent, or the answer was a temporary one.
            OutcomeUnknown: The answer is missing: look before repeating.
            Declined: Any other refusal.
        """
        expected = (HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT, *conflicts)
        return self._ask(method, path, expected=expected, headers=headers, json=resource)

    def _matches(self, answer: Answer, resource_type: str) -> list[dict[str, Any]]:
        """Return the matches of a searchset, without included resources and outcomes (FHIR R4 3.1.1.3).

        Anything but a Bundle is no answer: taking it for "nothing found" would make a second resource.
        """
        if answer.body.get("resourceType") != "Bundle":
            raise Unreachable(
                f"{self.base_url} answered a search of {resource_type} with something that is not a FHIR Bundle: "
                "a gateway stands before it, or the url is wrong"
            )
        entries = [entry for entry in as_list(answer.body.get("entry")) if isinstance(entry.get("resource"), dict)]
        return [
            entry["resource"]
            for entry in entries
            if (entry.get("search") or {}).get("mode", "match") == "match"
            and entry["resource"].get("resourceType") == resource_type
            and entry["resource"].get("id")
        ]

    def _ask(
        self,
        method: str,
        path: str,
        *,
        expected: tuple[int, ...],
        headers: dict[str, str] | None = None,
        **content: Any,
    ) -> Answer:
        """Send one request; ``content`` is httpx's ``params``, ``data`` or, for a write, ``json``."""
        writes = "json" in content
        body_type = {"Content-Type": _FHIR_JSON} if writes else {}
        try:
            response = self._http.request(
                method,
                f"{self.base_url}/{path}",
                headers={**self._headers, **body_type, **(headers or {})},
                timeout=self._timeout,
                follow_redirects=False,
                **content,
            )
        except _NOT_HTTP as error:
            raise Declined(
                f"no request to {self.base_url!r} can be made ({type(error).__name__}): mend the destination's url "
                "or its secret"
            ) from None
        except _NOT_SENT as error:
            raise Unreachable(
                f"{self.base_url} cannot be reached ({_name(error)}): check the address and the network; it is tried "
                "again later"
            ) from error
        except httpx.HTTPError as error:
            raise self._silence(method, path, error, writes=writes) from error
        return self._judge(f"{self.base_url} answered {response.status_code} to {method} {path}", response, expected)

    def _silence(self, method: str, path: str, error: httpx.HTTPError, *, writes: bool) -> Exception:
        lost = f"{self.base_url} gave no answer to {method} {path} ({_name(error)})"
        if writes:
            return OutcomeUnknown(f"{lost}, so it may have been taken: the server is searched before it is repeated")
        return Unreachable(f"{lost}: nothing was written; it is tried again later")

    def _judge(self, said: str, response: httpx.Response, expected: tuple[int, ...]) -> Answer:
        status, headers = response.status_code, response.headers
        web_page = "html" in headers.get("content-type", "").lower()
        if web_page and status not in _NO_ENTRY:
            raise Unreachable(f"{said} with a web page, not FHIR: a gateway stands before it, or the url is wrong")
        body = _json(response)
        if status not in expected:
            raise self._refusal(said, response, body or {})
        if body is None and response.request.method == "GET":
            raise Unreachable(
                f"{said} with something that is not JSON: a gateway stands before it, or the url is wrong"
            )
        return Answer(status, body or {}, headers.get("location", ""), headers.get("etag", ""))

    def _refusal(self, said: str, response: httpx.Response, body: dict[str, Any]) -> Exception:
        status, detail = response.status_code, outcome_text(body)
        because = f": {detail}" if detail else ""
        if status in _TEMPORARY or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in _LASTING):
            wait = response.headers.get("retry-after", "")
            asks = f" (it asks to wait: Retry-After {wait})" if wait else ""
            return Unreachable(f"{said}{asks}{because}; it is tried again later")
        if status in _NO_ENTRY:
            return Declined(f"{said}{because}; the token of this destination is missing, wrong or lacks the right")
        if response.is_redirect:
            return Declined(f"{said}, a redirect to {response.headers.get('location', '')!r}: set that as the url")
        return Declined(f"{said}{because or ' without saying why'}")


@cache
def _trusted() -> ssl.SSLContext:
    """Return the TLS settings of all connections; reading the certificates takes longer than a request."""
    return httpx.create_ssl_context()


def outcome_text(body: dict[str, Any]) -> str:
    """Return the sentences of an OperationOutcome (FHIR R4 2.28), shortened for a person to read."""
    if body.get("resourceType") != "OperationOutcome":
        return ""
    texts = []
    for issue in as_list(body.get("issue")):
        text = (issue.get("details") or {}).get("text") or issue.get("diagnostics") or issue.get("code", "")
        where = ", ".join(str(part) for part in as_list(issue.get("expression")))
        texts.append(f"{text} ({where})" if where else str(text))
    joined = " ".join("; ".join(texts).split())
    return joined if len(joined) <= _LONGEST_DETAIL else f"{joined[:_LONGEST_DETAIL]}..."


def _json(response: httpx.Response) -> dict[str, Any] | None:
    """Return the JSON object, an empty one for an empty body, None for anything else."""
    if not response.content.strip():
        return {}
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _name(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
