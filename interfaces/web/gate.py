"""Who comes in: every path is closed unless it is named here, before any body is read or route is looked at."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from interfaces.web.desk import Desk
from interfaces.web.sessions import Sessions
from models.audit import Actor

#: The cookie that stands for a session.
COOKIE = "cinelink_session"

#: What answers without knowing who asks.
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/sign-in"})
OPEN_FOLDERS = ("/static/",)

#: Pages that ask again by themselves; they do not keep a session alive.
REFRESHING = "/fragments/"

#: Bytes of a request body; no form or JSON of ours comes near it.
MOST_BODY_BYTES = 64 * 1024

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

#: On every answer. ``Referrer-Policy: no-referrer`` would make browsers send ``Origin: null`` with our own forms.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

SIGNED_OUT = "sign in first: send a valid token as 'Authorization: Bearer <token>' (cinelink token create NAME)"
FOREIGN_FORM = "this form was sent from another site and was not carried out: open the page here and send it again"
TOO_LARGE = f"the request body is larger than {MOST_BODY_BYTES} bytes: send less"


class Headed:
    """Puts the security headers on every answer, and keeps everything but static files out of all caches."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and head what comes back."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caching = "no-cache" if scope["path"].startswith(OPEN_FOLDERS) else "no-store"

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in {**SECURITY_HEADERS, "Cache-Control": caching}.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, headed)


class Gate:
    """Lets a request in when its path is open, or when it says who sends it.

    ``/api/`` takes a bearer token and never the cookie, so that no other site can make a browser use it. Pages take the
    cookie, and a page that changes something must come from this very origin. The actor is left in the request's state.
    """

    def __init__(self, app: ASGIApp, desk: Desk, sessions: Sessions) -> None:
        self._app = app
        self._desk = desk
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer at the gate, or pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refusal = await self._refusal(request)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, _limited(receive), send)

    async def _refusal(self, request: Request) -> Response | None:
        path = request.scope["path"]
        if _announced(request.headers) > MOST_BODY_BYTES:
            return JSONResponse({"error": TOO_LARGE}, status_code=413)
        from_api = path.startswith("/api/")
        if not from_api and request.method not in _SAFE_METHODS and not same_origin(request.headers):
            return JSONResponse({"error": FOREIGN_FORM}, status_code=403)
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDERS):
            return None
        actor = await run_in_threadpool(self._by_token if from_api else self._by_cookie, request)
        if actor is None:
            return _unknown(request, from_api=from_api)
        request.state.actor = actor
        return None

    def _by_token(self, request: Request) -> Actor | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return self._desk.authenticate(token.strip()) if scheme.lower() == "bearer" else None

    def _by_cookie(self, request: Request) -> Actor | None:
        by_person = not request.scope["path"].startswith(REFRESHING)
        token = self._sessions.token(request.cookies.get(COOKIE, ""), by_person=by_person)
        return self._desk.authenticate(token) if token else None


def actor_of(request: Request) -> Actor:
    """Return who the gate let in."""
    actor: Actor = request.state.actor
    return actor


def same_origin(headers: Headers) -> bool:
    """Say whether a browser sent this from a page of ours (Fetch Metadata, and the Origin header of RFC 6454)."""
    site = headers.get("sec-fetch-site", "")
    if site and site != "same-origin":
        return False
    origin = headers.get("origin", "")
    return bool(origin) and urlsplit(origin).netloc == headers.get("host", "")


def _unknown(request: Request, *, from_api: bool) -> Response:
    """Answer one who is not signed in: the same whether a token is missing, malformed, unknown or revoked."""
    path = request.scope["path"]
    if from_api or path.startswith(REFRESHING):
        return JSONResponse({"error": SIGNED_OUT}, status_code=401, headers={"WWW-Authenticate": "Bearer"})
    wanted = path if request.method == "GET" else "/"
    return RedirectResponse(f"/sign-in?next={quote(quote(wanted, safe='/'), safe='/')}", status_code=303)


def _announced(headers: Headers) -> int:
    length = headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() else 0


def _limited(receive: Receive) -> Receive:
    """Return a receiver that ends a body of unannounced length at the limit, as if the sender had gone."""
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message: dict[str, Any] = dict(await receive())
        taken += len(message.get("body", b""))
        return {"type": "http.disconnect"} if taken > MOST_BODY_BYTES else message

    return limited
