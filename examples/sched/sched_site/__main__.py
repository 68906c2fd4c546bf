"""Run the site on this machine: ``python -m sched_site [--port PORT]``."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import socket

from flask import Flask
from waitress import create_server

from flask_cloakroom import SettingError

from . import create_app
from .accounts import SAMPLE_LOGINS

HOST = "127.0.0.1"
DEFAULT_PORT = 8000
#: How many ports after the default one are tried when it is taken.
MORE_PORTS = 20
THREADS = 8


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    # Set here, because a shell that starts this in the background has told it to ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    listener = _listen(_wanted_port())
    try:
        app = create_app()
    except SettingError as error:
        raise SystemExit(f"The site cannot start. {error}") from None
    server = create_server(app, sockets=[listener], threads=THREADS, ident=None)
    try:
        _greet(app, listener.getsockname()[1])
        server.run()  # returns at Ctrl-C, which can come before it, too
    except KeyboardInterrupt:
        pass
    server.close()
    print("\nStopped.", flush=True)


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


def _greet(app: Flask, port: int) -> None:
    print(f"Sched is open at  http://{HOST}:{port}")
    print(f"Sessions are in   {app.session_interface.store}")  # type: ignore[attr-defined]
    print("Sign in as        " + "\n                  ".join(" / ".join(pair) for pair in SAMPLE_LOGINS))
    print("Ctrl-C stops it. Sessions are kept for the next time.", flush=True)


if __name__ == "__main__":
    main()
