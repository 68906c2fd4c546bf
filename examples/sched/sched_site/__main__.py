"""Run the site on this machine: ``python -m sched_site [--port PORT]``.

An attacking site runs on another port. ``SCHED_ATTACKER_PORT`` is that port, or "off".
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import socket
from types import FrameType
from typing import Any

from alembic.util import CommandError
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError
from waitress import create_server

from flask_cloakroom import SettingError

from . import create_app, database, notices
from .accounts import SAMPLES
from .other_site import serve_other_site
from .redis_client import redis

HOST = "127.0.0.1"
DEFAULT_PORT = 8000
#: The number of further ports that are tried if the default port is in use.
MORE_PORTS = 20
#: Threads for pages. Each open stream of notices needs one more.
THREADS = 8


def main() -> None:
    """Run the site until Ctrl-C or SIGTERM."""
    # A shell that starts this program in the background makes it ignore Ctrl-C. This restores the default.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # No warning about embedded://. The greeting says the same, and a demo may use it.
    logging.getLogger("flask_cloakroom.redis").addFilter(_is_not_about_embedded)
    listener = _listen(_wanted_port())
    attacker = _listen_for_attacker(os.environ.get("SCHED_ATTACKER_PORT", ""))
    try:
        app = create_app(_settings(attacker))
    except (SettingError, ImportError) as error:
        raise SystemExit(f"The site cannot start. {error}") from None
    except SQLAlchemyError as error:
        reason = getattr(error, "orig", None) or error
        raise SystemExit(f"The site cannot start. DATABASE_URL: {reason}") from None
    except CommandError as error:
        raise SystemExit(
            f"The site cannot start. The database belongs to another version of the site: {error}"
        ) from None
    threads = THREADS + app.config["NOTICE_STREAMS"]
    # With a lookahead of 1 Waitress notices that the browser of an open stream has disconnected.
    server = create_server(app, sockets=[listener], threads=threads, channel_request_lookahead=1, ident=None)
    _end_streams_on_signals(app)
    port = listener.getsockname()[1]
    if attacker is not None:
        serve_other_site(attacker, port)
    try:
        _greet(app, port)
        server.run()  # returns at Ctrl-C
    except KeyboardInterrupt:  # Ctrl-C before server.run()
        pass
    server.close()
    print("\nStopped.", flush=True)


def _settings(attacker: socket.socket | None) -> dict[str, Any]:
    """Return the settings that only this program has: the attacking site, and vera as an operator."""
    operators = {} if "SCHED_OPERATORS" in os.environ else {"OPERATORS": ["vera"]}
    return {"OTHER_SITE_PORT": attacker and attacker.getsockname()[1], **operators}


def _is_not_about_embedded(record: logging.LogRecord) -> bool:
    return "embedded://" not in record.getMessage()


def _end_streams_on_signals(app: Flask) -> None:
    """End the open streams at Ctrl-C and SIGTERM. Otherwise Waitress would wait minutes for their threads."""

    def stop(number: int, frame: FrameType | None) -> None:
        notices.end_streams(app)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def _wanted_port() -> int | None:
    parser = argparse.ArgumentParser(prog="python -m sched_site", description="Run the sched site.")
    parser.add_argument(
        "--port",
        type=int,
        default=os.environ.get("PORT") or None,
        help=f"port to listen on, 0 for any free port (default: PORT, or {DEFAULT_PORT}, or the next free port)",
    )
    port: int | None = parser.parse_args().port
    if port is not None and not 0 <= port <= 65535:
        parser.error(f"a port must be a number from 0 to 65535, not {port}")
    return port


def _listen(port: int | None) -> socket.socket:
    """Return a socket that listens on ``port``; if it is None, on the first free port from DEFAULT_PORT on."""
    last = DEFAULT_PORT + MORE_PORTS
    for candidate in [port] if port is not None else range(DEFAULT_PORT, last + 1):
        try:
            listener = socket.create_server((HOST, candidate))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise SystemExit(f"Cannot listen on port {candidate}: {error.strerror}.") from error
            continue
        if port is None and candidate != DEFAULT_PORT:
            print(f"Port {DEFAULT_PORT} is in use. The site uses port {candidate}.", flush=True)
        return listener
    ports = f"Port {port} is" if port is not None else f"All ports from {DEFAULT_PORT} to {last} are"
    raise SystemExit(f"{ports} in use by another program. Choose another port with --port or PORT.")


def _listen_for_attacker(port: str) -> socket.socket | None:
    """Return a socket for the attacking site, on any free port if ``port`` is ""; None if ``port`` is "off"."""
    if port.lower() == "off":
        return None
    number = int(port or 0) if port.isdecimal() or not port else -1
    if not 0 <= number <= 65535:
        raise SystemExit(f'SCHED_ATTACKER_PORT must be a number from 0 to 65535, or "off", not {port!r}.')
    try:
        return socket.create_server((HOST, number))
    except OSError as error:
        problem = f'{port} cannot be used: {error.strerror}. Choose another port, or "off".'
        raise SystemExit(f"SCHED_ATTACKER_PORT {problem}") from None


def _greet(app: Flask, port: int) -> None:
    print(f"Sched runs at     http://{HOST}:{port}")
    if (attacker := app.config["OTHER_SITE_PORT"]) is not None:
        print(f"Attacking site    http://{HOST}:{attacker} (start at http://{HOST}:{port}/attack)")
    print(f"Session store     {app.session_interface.store}")  # type: ignore[attr-defined]
    print(f"Redis client      {redis.connector_for(app).label}")
    if app.config["REDIS_URL"].startswith("embedded://"):
        print("                  A private server for the demo. It starts and stops with the site.")
        print(f"                  Its data is in {app.instance_path}/redis")
    print(f"Accounts          {database.label(app)}")
    operators = app.config["OPERATORS"]
    for number, sample in enumerate(SAMPLES):
        note = " (operator)" if sample.username in operators else ""
        print(f"{'' if number else 'Sign in as':18}{sample.username} / {sample.password}{note}")
    print("Ctrl-C stops the site. All data is kept for the next start.", flush=True)


if __name__ == "__main__":
    main()
