"""A small, honest FHIR R4 server for trials: what an EHR does with our resources, without an EHR.

It keeps what it answered with 200 or 201 over a crash, honours If-Match and If-None-Exist, refuses what is not FHIR R4,
and refuses what it does not know instead of ignoring it. It has no users: keep it on the loopback address.
"""

from __future__ import annotations

import hmac
import json
import socketserver
import sqlite3
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

from interfaces.fhir.sandbox_api import Refused, Reply, SandboxApi
from interfaces.fhir.sandbox_store import SandboxStore

_BASE = "fhir"
_LARGEST_BODY = 16 * 1024 * 1024


class SandboxFhir:
    """The server: start it, use ``base_url``, stop it; the folder keeps everything for the next start.

    Args:
        host: Address to listen on.
        port: Port; 0 takes a free one.
        folder: Where ``fhir.sqlite`` is kept; made when absent.
        token: Bearer token that every request but /metadata must bring; empty for none.
    """

    def __init__(self, host: str, port: int, folder: Path, *, token: str = "") -> None:
        self._host = host
        self._port = port
        self._folder = folder
        self._token = token
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """Root of the FHIR API; the port is known after ``start``."""
        return f"http://{self._host}:{self._port}/{_BASE}"

    def start(self) -> int:
        """Listen, and return the port.

        Raises:
            OSError: The port is taken, or the folder cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._server = _Server((self._host, self._port), self._token)
        self._port = int(self._server.server_address[1])
        self._server.store = SandboxStore(self._folder / "fhir.sqlite")
        self._server.api = SandboxApi(self._server.store, self.base_url)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="sandbox-fhir", daemon=True
        )
        self._thread.start()
        return self._port

    def stop(self) -> None:
        """Stop listening and close the store; what was answered is kept."""
        if self._server and self._thread:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server.store.close()
        self._server = self._thread = None


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    store: SandboxStore
    api: SandboxApi

    def __init__(self, address: tuple[str, int], token: str) -> None:
        super().__init__(address, _Handler)
        self.token = token


class _Handler(BaseHTTPRequestHandler):
    """One connection; the method names are those that http.server calls."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by http.server
        """Write nothing: addresses of searches may name patients."""

    def _serve(self) -> None:
        try:
            reply = self._reply()
        except Refused as refused:
            reply = refused.reply
        except sqlite3.Error as error:
            text = f"the sandbox's store cannot be used: {error}"
            reply = Refused(HTTPStatus.SERVICE_UNAVAILABLE, "transient", text).reply
        body = json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Type": "application/fhir+json; charset=utf-8"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _reply(self) -> Reply:
        body = self._body()
        address = urlsplit(self.path)
        base, *path = [part for part in address.path.split("/") if part] or [""]
        if base != _BASE:
            raise Refused(HTTPStatus.NOT_FOUND, "not-found", f"the FHIR API is at /{_BASE}")
        if path != ["metadata"]:
            self._require_token()
        if self.command == "GET":
            return self.server.api.get(path, address.query)
        answer = self.server.api.post if self.command == "POST" else self.server.api.put
        return answer(path, address.query, self.headers, body)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _LARGEST_BODY:
            self.close_connection = True
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-long", "the body's length is missing or too large")
        return self.rfile.read(int(length))

    def _require_token(self) -> None:
        wanted, given = f"Bearer {self.server.token}", self.headers.get("Authorization", "")
        if self.server.token and not hmac.compare_digest(wanted.encode(), given.encode()):
            raise Refused(HTTPStatus.UNAUTHORIZED, "login", "the bearer token is missing or wrong")
