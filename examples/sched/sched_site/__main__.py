"""Run the site on this machine: ``python -m sched_site [--port PORT]``.

Another site runs beside it, which attacks it. ``SCHED_ATTACKER_PORT`` is its port, or "off".
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
#: How many ports after the default one are tried when it is taken.
MORE_PORTS = 20
#: Threads for pages. Each open stream of notices has another one.
THREADS = 8


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    # Set here, because a shell that starts this in the background has told it to ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # The greeting says it in its own words, and this is a sample run on purpose.
    logging.getLogger("flask_cloakroom.redis").addFilter(_is_no_warning_of_embedded)
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
        raise SystemExit(f"The site cannot start. The database is of another version of it: {error}") from None
    threads = THREADS + app.config["NOTICE_STREAMS"]
    # One request more is read while one is answered, which is how Waitress notices that a stream's browser has gone.
    server = create_server(app, sockets=[listener], threads=threads, channel_request_lookahead=1, ident=None)
    _end_streams_first(app)
    port = listener.getsockname()[1]
    if attacker is not None:
        serve_other_site(attacker, port)
    try:
        _greet(app, port)
        server.run()  # returns at Ctrl-C, which can come before it, too
    except KeyboardInterrupt:
        pass
    server.close()
    print("\nStopped.", flush=True)


def _settings(attacker: socket.socket | None) -> dict[str, Any]:
    """What this program has and another server has not: the site that attacks, and an operator whom all can be."""
    operators = {} if "SCHED_OPERATORS" in os.environ else {"OPERATORS": ["vera"]}
    return {"OTHER_SITE_PORT": attacker and attacker.getsockname()[1], **operators}


def _is_no_warning_of_embedded(record: logging.LogRecord) -> bool:
    return "embedded://" not in record.getMessage()


def _end_streams_first(app: Flask) -> None:
    """Let Ctrl-C and SIGTERM end the open streams too: Waitress waits for their threads before it stops."""

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
        help=f"port to listen on, 0 for any (environment's PORT, else {DEFAULT_PORT} or the next free one)",
    )
    port: int | None = parser.parse_args().port
    if port is not None and not 0 <= port <= 65535:
        parser.error(f"a port is a number from 0 to 65535, not {port}")
    return port


def _listen(port: int | None) -> socket.socket:
    """Listen on the port that was asked for, or on the first free one from the default on."""
    last = DEFAULT_PORT + MORE_PORTS
    for candidate in [port] if port is not None else range(DEFAULT_PORT, last + 1):
        try:
            listener = socket.create_server((HOST, candidate))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise SystemExit(f"Cannot listen on port {candidate}: {error.strerror}.") from error
            continue
        if port is None and candidate != DEFAULT_PORT:
            print(f"Port {DEFAULT_PORT} is taken, so this is on {candidate}.", flush=True)
        return listener
    taken = f"Port {port} is" if port is not None else f"Ports {DEFAULT_PORT} to {last} are all"
    raise SystemExit(f"{taken} taken by another program. Choose another one with --port or PORT.")


def _listen_for_attacker(port: str) -> socket.socket | None:
    """Listen where the other site shall be: on any free port if none is named, and nowhere if that is "off"."""
    if port.lower() == "off":
        return None
    number = int(port or 0) if port.isdecimal() or not port else -1
    if not 0 <= number <= 65535:
        raise SystemExit(f'SCHED_ATTACKER_PORT is a number from 0 to 65535, or "off", not {port!r}.')
    try:
        return socket.create_server((HOST, number))
    except OSError as error:
        problem = f'{port} cannot be listened on: {error.strerror}. Choose another one, or "off".'
        raise SystemExit(f"SCHED_ATTACKER_PORT {problem}") from None


def _greet(app: Flask, port: int) -> None:
    print(f"Sched is open at  http://{HOST}:{port}")
    if (attacker := app.config["OTHER_SITE_PORT"]) is not None:
        print(f"It is attacked by http://{HOST}:{attacker} (http://{HOST}:{port}/attack tells of it)")
    print(f"Sessions are in   {app.session_interface.store}")  # type: ignore[attr-defined]
    print(f"Redis client on   {redis.connector_for(app).label}")
    if app.config["REDIS_URL"].startswith("embedded://"):
        print("                  A private server, for trying things out. It starts and ends with the site;")
        print(f"                  its data is in {app.instance_path}/redis")
    print(f"Accounts are in   {database.label(app)}")
    logins = [f"{sample.username} / {sample.password}" for sample in SAMPLES]
    print("Sign in as        " + "\n                  ".join(logins))
    print("Ctrl-C stops it. Everything is kept for the next time.", flush=True)


if __name__ == "__main__":
    main()
