"""The console and the JSON API as one ASGI app over a desk."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles

from interfaces.web.api import api_routes
from interfaces.web.desk import Desk
from interfaces.web.errors import handle_errors
from interfaces.web.gate import Gate, Headed
from interfaces.web.pages import page_routes
from interfaces.web.rendering import Renderer
from interfaces.web.sessions import Sessions
from interfaces.web.signin import signin_routes

STATIC = Path(__file__).parent / "static"


def create_app(desk: Desk, *, sessions: Sessions | None = None) -> FastAPI:
    """Build the app.

    Args:
        desk: Answers every question and carries out every step.
        sessions: Who is signed in; a fresh set when not given.

    Returns:
        An ASGI app that reads no settings and starts nothing.
    """
    held = sessions or Sessions()
    render = Renderer(desk)
    app = FastAPI(
        title="Cinelink",
        version=version("cinelink"),
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.include_router(api_routes(desk))
    app.include_router(signin_routes(desk, held, render))
    app.include_router(page_routes(desk, render))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    _health_routes(app, desk)
    handle_errors(app, render)
    app.add_middleware(Gate, desk=desk, sessions=held)
    app.add_middleware(Headed)
    return app


def _health_routes(app: FastAPI, desk: Desk) -> None:
    @app.get("/healthz", include_in_schema=False)
    def alive() -> dict[str, str]:
        """Say that this process answers; nothing else is looked at."""
        return {"status": "alive"}

    @app.get("/readyz", include_in_schema=False)
    def ready() -> Response:
        """Say whether work can be taken. Open to everybody, so it names what is not well, and says no more."""
        health = desk.health()
        troubled = [door.name for door in health.doors if not door.ok]
        return JSONResponse({"ready": health.ready, "not_ready": troubled}, status_code=200 if health.ready else 503)
