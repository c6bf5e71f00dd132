"""Signing in to the console with a token, and out again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from interfaces.web.desk import Desk
from interfaces.web.gate import COOKIE
from interfaces.web.rendering import Renderer
from interfaces.web.sessions import Sessions

WRONG_TOKEN = "This token is not known here, or it was revoked. Ask for a new one: cinelink token create NAME"  # noqa: S105 - a sentence


def local_path(wanted: str) -> str:
    """Return a path on this very server; anything that could lead elsewhere becomes the first page."""
    leads_away = not wanted.startswith("/") or wanted.startswith("//") or "\\" in wanted
    return "/" if leads_away or not wanted.isprintable() else wanted


def signin_routes(desk: Desk, sessions: Sessions, render: Renderer) -> APIRouter:
    """Return the routes of signing in and out. A token is read from a form body only, never from an address."""
    router = APIRouter(include_in_schema=False)

    @router.get("/sign-in")
    def ask(wanted: Annotated[str, Query(alias="next")] = "/") -> Response:
        return render.bare("sign_in.html", wanted=local_path(wanted), problem="")

    @router.post("/sign-in")
    def sign_in(
        request: Request,
        token: Annotated[str, Form(max_length=1000)] = "",
        wanted: Annotated[str, Form(alias="next")] = "/",
    ) -> Response:
        secret = token.strip()
        if not secret or desk.authenticate(secret) is None:
            return render.bare("sign_in.html", status=401, wanted=local_path(wanted), problem=WRONG_TOKEN)
        sessions.close(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse(local_path(wanted), status_code=303)
        answer.set_cookie(
            COOKIE,
            sessions.open(secret),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    @router.post("/sign-out")
    def sign_out(request: Request) -> Response:
        sessions.close(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse("/sign-in", status_code=303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    return router
