"""A real browser before a real server on a free loopback port."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from interfaces.web.app import create_app
from tests.interfaces.web.fake_desk import FakeDesk, hospital

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--no-first-run",
]


@dataclass
class Console:
    """A served console, its desk, and everything that the browser complained of."""

    desk: FakeDesk
    address: str
    page: Page
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path, "chromium is missing: install the Debian package chromium"
    with sync_playwright() as player:
        started = player.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        started.close()


def serve(desk: FakeDesk) -> tuple[uvicorn.Server, threading.Thread, str]:
    """Serve a desk and wait until it answers."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(desk), log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    return server, thread, f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def console(browser: Browser) -> Iterator[Console]:
    """A signed-out browser window before a fresh desk; a complaint of the browser fails the test."""
    desk = hospital()
    server, thread, address = serve(desk)
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(10_000)
    opened = Console(desk, address, context.new_page())
    opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.page.on(
        "console", lambda said: opened.complaints.append(said.text) if said.type in {"error", "warning"} else None
    )
    opened.page.on("request", lambda request: opened.asked.append(request.url))
    try:
        yield opened
    finally:
        context.close()
        server.should_exit = True
        thread.join(timeout=10)
    assert opened.complaints == []
    assert [url for url in opened.asked if not url.startswith(address)] == [], "nothing is fetched from elsewhere"
