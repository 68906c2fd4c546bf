"""The cost of CSRF protection: the page with a form, and the POST of that form.

Both packages get the same request as from a browser: with the token in a field, and with the headers that tell its
origin. The views read the form, so every figure contains the parsing of the form.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any
from urllib.parse import urlencode

from flask import Flask, request
from werkzeug.test import EnvironBuilder

from apps import BARE_COOKIE, CONTENTS, Environment, make_app, start_session
from commands import Counts, count_page
from inprocess import Samples, in_turns

#: The two pages, and what each does with the token.
PAGES = {"/form": "a page with a form and a token", "/send": "the POST of that form"}

BARE = "bare"
UNPROTECTED = "cloakroom, sessions alone"
OURS = "cloakroom, protected"
THEIRS = "flask-session + flask-wtf"

#: The way to keep sessions of each contestant, as in ``apps``.
SESSIONS = {BARE: "bare", UNPROTECTED: "cloakroom-redis", OURS: "cloakroom-redis", THEIRS: "flask-session"}

_FIELD = '<form method="post" action="/send"><input name="item"><input name="csrf_token" value="{}"></form>'
_TOKEN = re.compile('name="csrf_token" value="([^"]*)"')


@dataclass(frozen=True)
class Forms:
    """Microseconds of each page, and the commands that it sends to Redis."""

    samples: Samples
    #: Microseconds of the check alone, measured inside such requests, one figure for each round.
    check: list[float]
    commands: dict[str, dict[str, Counts]]


def _make_app(contestant: str, environment: Environment) -> Flask:
    app = make_app(SESSIONS[contestant], environment)
    make_token: Callable[[], str] = lambda: "n" * 72  # noqa: E731  as long as ours
    if contestant == OURS:
        from flask_cloakroom import CSRFProtect, generate_csrf

        CSRFProtect(app)
        make_token = generate_csrf
    elif contestant == THEIRS:
        from flask_wtf.csrf import CSRFProtect as TheirProtect
        from flask_wtf.csrf import generate_csrf as their_token

        app.config["SECRET_KEY"] = "a secret of the benchmark, 32+ characters"
        TheirProtect(app)
        make_token = their_token

    @app.get("/form")
    def form() -> str:
        return _FIELD.format(make_token())

    @app.post("/send")
    def send() -> str:
        return request.form["item"]

    return app


def _calls(app: Flask, contestant: str, environment: Environment) -> dict[str, Callable[[], bytes]]:
    """Return a function for each request. Check that a request with a token passes and one without does not."""
    cookie = BARE_COOKIE if contestant == BARE else start_session(app)
    show = _prepare(app, EnvironBuilder(path="/form", headers=[("Cookie", cookie)]))
    found = _TOKEN.search(show().decode())
    if found is None:
        raise RuntimeError(f"{contestant}: the page has no token. Check the site.")
    headers = [
        ("Cookie", cookie),
        ("Sec-Fetch-Site", "same-origin"),
        ("Origin", "http://localhost"),
        ("Referer", "http://localhost/form"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ]
    body = urlencode({"item": CONTENTS["user"], "csrf_token": found[1]})
    send = _prepare(app, EnvironBuilder(path="/send", method="POST", headers=headers, data=body))
    if send() != CONTENTS["user"].encode():
        raise RuntimeError(f"{contestant}: the form was refused. Check the token.")
    if contestant in (OURS, THEIRS) and app.test_client().post("/send").status_code != 400:
        raise RuntimeError(f"{contestant}: a form without a token was accepted. Check the protection.")
    return {"/form": show, "/send": send}


def _prepare(app: Flask, builder: EnvironBuilder) -> Callable[[], bytes]:
    environ = builder.get_environ()
    body = builder.input_stream.read() if builder.input_stream else b""
    wsgi: Any = app.wsgi_app

    def start_response(status: str, headers: object, exc_info: object = None) -> None:
        if not status.startswith("200"):
            raise RuntimeError(f"{environ['PATH_INFO']} answered {status}")

    def call() -> bytes:
        answer = wsgi({**environ, "wsgi.input": io.BytesIO(body)}, start_response)
        try:
            return b"".join(answer)
        finally:
            answer.close()

    return call


def _time_check(environment: Environment, rounds: int, block: int) -> list[float]:
    """Time the check at its real place: between the other parts of a request, with the caches as these leave them."""
    app = _make_app(OURS, environment)
    protection = app.extensions["csrf"]
    check = protection._before_request
    times: list[int] = []

    def timed(app: Flask) -> None:
        start = time.perf_counter_ns()
        check(app)
        times.append(time.perf_counter_ns() - start)

    protection._before_request = timed
    send = _calls(app, OURS, environment)["/send"]
    series = []
    for _ in range(rounds):
        times.clear()
        for _ in range(block):
            send()
        series.append(median(times) / 1000)
    return series


def measure(environment: Environment, rounds: int, block: int) -> Forms:
    """Time the pages in turns, then count the commands that they send."""
    calls = {name: _calls(_make_app(name, environment), name, environment) for name in SESSIONS}
    timed: dict[str, Callable[[], object]] = {
        f"{name} {page}": call for name, pages in calls.items() for page, call in pages.items()
    }
    samples = in_turns(timed, rounds, block)
    commands = {
        name: {page: count_page(environment.socket, call) for page, call in pages.items()}
        for name, pages in calls.items()
        if name != BARE
    }
    return Forms(samples, _time_check(environment, rounds, block), commands)
