"""Another site, for the page that shows attacks: its own page tries to act in the name of the shop's visitors.

It is no part of the shop. ``python -m sched_site`` serves it from a port of its own, on this machine alone.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from threading import Thread
from typing import Any

from waitress import create_server

#: Its page. What stands in double square brackets is put in.
_PAGE = Path(__file__).with_name("other_site.html").read_text(encoding="utf-8")
_LOOPBACK = re.compile(r"(127\.0\.0\.1|(?:[a-z0-9\-]{1,63}\.){0,3}localhost)(?::[0-9]{1,5})?", re.ASCII).fullmatch

Start = Callable[[str, list[tuple[str, str]]], object]
Application = Callable[[dict[str, Any], Start], Iterable[bytes]]


def loopback_name(host: str) -> str:
    """Return the name in a Host header if it is one of this machine, else 127.0.0.1: a page may lead nowhere else."""
    found = _LOOPBACK(host)
    return found[1] if found else "127.0.0.1"


def make_other_site(shop_port: int) -> Application:
    """Make the WSGI application: one page, which attacks the shop on that port of the machine."""

    def other_site(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        shop = f"http://{loopback_name(environ.get('HTTP_HOST', ''))}:{shop_port}"
        found = environ["REQUEST_METHOD"] in ("GET", "HEAD") and environ["PATH_INFO"] == "/"
        body = (_PAGE.replace("[[shop]]", escape(shop)) if found else "Nothing here.").encode()
        kind = "html" if found else "plain"
        headers = [
            ("Content-Type", f"text/{kind}; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ]
        start("200 OK" if found else "404 Not Found", headers)
        return [body]

    return other_site


def serve_other_site(listener: socket.socket, shop_port: int) -> None:
    """Serve it for as long as the program runs."""
    # A map of its own, because Waitress keeps the sockets of all servers of a process in one otherwise.
    server = create_server(make_other_site(shop_port), map={}, sockets=[listener], threads=2, ident=None)
    Thread(target=server.run, name="other site", daemon=True).start()
