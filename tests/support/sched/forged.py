"""Sites for tests of forged requests, in this process: the shop under several names, and those who attack it.

Chromium takes every name that ends in ``.test`` or ``localhost`` for this machine (``browsing.RESOLVER``), and treats
each of them as it would on the Internet: another name is another site, a sibling name the same site.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition, Thread
from typing import Any, NamedTuple

from flask import Flask, Response, request
from werkzeug.serving import WSGIRequestHandler, make_server

from flask_cloakroom import csrf_refused
from support.sched.processes import TEST_TIMEOUT
from support.servers.special import make_certificate

#: Where a recorder finds why a request was refused.
REASON = "tests.refused"


class Seen(NamedTuple):
    """A request, as the shop saw it."""

    method: str
    fetch_site: str | None
    origin: str | None
    has_cookie: bool
    status: int
    #: Why it was refused as forged; None if it was not.
    refused: str | None


class Recorder:
    """Stands before an application, and notes each request when it has been answered."""

    def __init__(self, app: Flask) -> None:
        self._wrapped = app.wsgi_app
        self._cookie = app.config["SESSION_COOKIE_NAME"]
        self._changed = Condition()
        self._seen: dict[str, list[Seen]] = {}
        csrf_refused.connect(self._note, sender=app)
        app.wsgi_app = self  # type: ignore[method-assign]

    def _note(self, sender: Flask, reason: str) -> None:
        request.environ[REASON] = reason

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        statuses: list[int] = []

        def started(status: str, *rest: Any) -> Any:
            statuses.append(int(status[:3]))
            return start(status, *rest)

        answer = self._wrapped(environ, started)
        seen = Seen(
            environ["REQUEST_METHOD"],
            environ.get("HTTP_SEC_FETCH_SITE"),
            environ.get("HTTP_ORIGIN"),
            f"{self._cookie}=" in environ.get("HTTP_COOKIE", ""),
            statuses[-1],
            environ.get(REASON),
        )
        with self._changed:
            self._seen.setdefault(environ["PATH_INFO"], []).append(seen)
            self._changed.notify_all()
        return answer

    def forget(self) -> None:
        """Begin anew."""
        with self._changed:
            self._seen.clear()

    def wait_for(self, path: str) -> Seen:
        """Return the first request to that path since the last :meth:`forget`, waiting until it is there."""
        with self._changed:
            assert self._changed.wait_for(lambda: path in self._seen, TEST_TIMEOUT), f"nothing was sent to {path}"
            return self._seen[path][0]

    def all(self, path: str) -> list[Seen]:
        """Return what came to that path up to now."""
        with self._changed:
            return list(self._seen.get(path, ()))


class Pages:
    """Pages that a test puts onto a site, and the redirect ``/back`` that keeps the method (307)."""

    def __init__(self) -> None:
        self.html = ""
        #: The Referrer-Policy of the page, "" for none.
        self.policy = ""
        #: Where ``/back`` leads to.
        self.target = ""

    def page(self) -> Response:
        """Serve the page."""
        headers = {"Cache-Control": "no-store", "Content-Security-Policy": ""}
        if self.policy:
            headers["Referrer-Policy"] = self.policy
        return Response(self.html, mimetype="text/html", headers=headers)

    def back(self) -> Response:
        """Redirect what was posted, body and all."""
        return Response(status=307, headers={"Location": self.target})

    def put_into(self, app: Flask) -> None:
        """Let an application have them."""
        app.add_url_rule("/tests/page", "tests_page", self.page)
        app.add_url_rule("/tests/back", "tests_back", self.back, methods=["GET", "POST"])


class Quiet(WSGIRequestHandler):
    """Writes no line for each request."""

    def log(self, type: str, message: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def served(app: Callable[..., Any], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve an application on a loopback port, which is yielded."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    if tls is not None:
        # The handshake is for the thread of the connection: a browser opens some that it does not use yet.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.ssl_context = tls
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(TEST_TIMEOUT)
        server.server_close()


def self_signed(folder: Path) -> ssl.SSLContext:
    """Return a server's side of TLS, with a certificate that only a browser takes that was told to take any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(folder))
    return context
