"""The attacking site: its page tries to send requests in the name of the shop's visitors.

The attacking site is not part of the shop. ``python -m sched_site`` serves it on another port of this machine.
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

#: The page. ``[[shop]]`` in it is replaced by the shop's address.
_PAGE = Path(__file__).with_name("other_site.html").read_text(encoding="utf-8")
_LOOPBACK = re.compile(r"(127\.0\.0\.1|(?:[a-z0-9\-]{1,63}\.){0,3}localhost)(?::[0-9]{1,5})?", re.ASCII).fullmatch

Start = Callable[[str, list[tuple[str, str]]], object]
Application = Callable[[dict[str, Any], Start], Iterable[bytes]]


def loopback_name(host: str) -> str:
    """Return the name in a Host header if it is a name of this machine, else 127.0.0.1.

    Otherwise a forged Host header could make the page link to a foreign server.
    """
    found = _LOOPBACK(host)
    return found[1] if found else "127.0.0.1"


def make_other_site(shop_port: int) -> Application:
    """Return a WSGI application with one page, which attacks the shop on a port of this machine."""

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
    """Serve the attacking site in a thread until the program ends."""
    # A socket map of its own. By default all Waitress servers of a process share one map and its sockets.
    server = create_server(make_other_site(shop_port), map={}, sockets=[listener], threads=2, ident=None)
    Thread(target=server.run, name="other site", daemon=True).start()
