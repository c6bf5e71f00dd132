"""From an error of ours to an HTTP status and one sentence; from any other error to nothing that tells of internals."""

from __future__ import annotations

import logging

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from interfaces.web.gate import SECURITY_HEADERS
from interfaces.web.rendering import Renderer
from models.errors import (
    CinelinkError,
    DeliveryFailed,
    Held,
    MappingError,
    MessageRefused,
    NotAllowed,
    NotFound,
    RecordingRejected,
)

log = logging.getLogger("cinelink." + __name__)

_STATUS: tuple[tuple[type[CinelinkError], int], ...] = (
    (NotFound, 404),
    (NotAllowed, 409),
    (Held, 409),
    (MappingError, 409),
    (MessageRefused, 422),
    (RecordingRejected, 422),
    (DeliveryFailed, 502),
)

_SENTENCES = {
    404: "there is nothing at this address: start from the list of orders",
    405: "this address does not take this method",
}

UNEXPECTED = "something failed inside Cinelink; nothing was changed by this request: see the log of the engine"


class SeveralOrders(NotAllowed):
    """One accession number names several orders, so a person must say which.

    Args:
        sentence: What to do.
        orders: What tells them apart, without patient data: id, requested procedure, status.
    """

    def __init__(self, sentence: str, orders: list[dict[str, str]]) -> None:
        super().__init__(sentence)
        self.orders = orders


def status_of(error: CinelinkError) -> int:
    """Return the HTTP status of an error of ours; 500 when it is not the asker's."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


class Answers:
    """One answer for each kind of error: JSON for the API, a page for people."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    def _answer(self, request: Request, status: int, sentence: str, **more: object) -> Response:
        if request.scope["path"].startswith("/api/"):
            return JSONResponse({"error": sentence, **more}, status_code=status)
        return self._render.bare("error.html", status=status, sentence=sentence)

    def ours(self, request: Request, error: CinelinkError) -> Response:
        """An error that we raised on purpose: its sentence is for people."""
        more = {"orders": error.orders} if isinstance(error, SeveralOrders) else {}
        return self._answer(request, status_of(error), str(error), **more)

    def invalid(self, request: Request, error: RequestValidationError) -> Response:
        """A request that is not what the route takes."""
        return self._answer(request, 422, _what_is_wrong(error))

    def http(self, request: Request, error: HTTPException) -> Response:
        """An address or a method that is not there."""
        return self._answer(request, error.status_code, _SENTENCES.get(error.status_code, str(error.detail)))

    def unexpected(self, request: Request, error: Exception) -> Response:
        """Anything else. This answer leaves outside all middleware, so the headers are put on here."""
        log.error("request failed", extra={"action": "web.failed", "kind": type(error).__name__})
        if request.scope["path"] == "/readyz":
            failed: Response = JSONResponse({"ready": False, "not_ready": ["engine"]}, status_code=503)
        else:
            failed = self._answer(request, 500, UNEXPECTED)
        failed.headers.update({**SECURITY_HEADERS, "Cache-Control": "no-store"})
        return failed


def handle_errors(app: FastAPI, render: Renderer) -> None:
    """Register the answers."""
    answers = Answers(render)
    app.exception_handler(CinelinkError)(answers.ours)
    app.exception_handler(RequestValidationError)(answers.invalid)
    app.exception_handler(HTTPException)(answers.http)
    app.exception_handler(Exception)(answers.unexpected)


def _what_is_wrong(error: RequestValidationError) -> str:
    """Say which field and why, without the value, which may be patient data."""
    told = [
        f"{'.'.join(str(part) for part in problem['loc'][1:]) or 'body'}: {problem['msg']}"
        for problem in error.errors()
    ]
    return f"the request is not usable ({'; '.join(told)})"
