"""A browser without a window: keeps cookies, follows nothing, and calls the app without a socket."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from interfaces.web.app import create_app
from interfaces.web.sessions import Sessions
from tests.interfaces.web.fake_desk import TOKEN, FakeDesk

HOST = "cinelink.test"
OWN_FORM = {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin"}


class Visitor:
    """One asker of one app. Starlette's own test client warns of its successor, and a warning is an error here."""

    def __init__(self, desk: FakeDesk, sessions: Sessions | None = None) -> None:
        self.app = create_app(desk, sessions=sessions)
        self.cookies = httpx.Cookies()

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send one request, and answer with whatever came back, also when the app failed."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url=f"http://{HOST}", cookies=self.cookies
            ) as client:
                answer = await client.request(method, path, **more)
                self.cookies = client.cookies
                return answer

        return asyncio.run(send())

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.ask("GET", path, **more)

    def api(self, path: str, token: str = TOKEN) -> httpx.Response:
        return self.get(f"/api/v1{path}", headers={"Authorization": f"Bearer {token}"})

    def api_post(self, path: str, body: object, token: str = TOKEN) -> httpx.Response:
        return self.ask("POST", f"/api/v1{path}", json=body, headers={"Authorization": f"Bearer {token}"})

    def submit(self, path: str, **fields: str) -> httpx.Response:
        """Send a form as a browser sends one of our own pages."""
        return self.ask("POST", path, data=fields, headers=OWN_FORM)

    def sign_in(self, token: str = TOKEN) -> httpx.Response:
        return self.submit("/sign-in", token=token)
