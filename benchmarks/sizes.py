"""The size of the measured session in bytes: in the store, and in the cookie of every request."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from apps import CLOAKROOM_DB, FLASK_SESSION_DB, Environment, make_app, start_session
from raw import RawRedis, number, word

_DATABASES = {"flask-session": FLASK_SESSION_DB, "cloakroom-redis": CLOAKROOM_DB}


@dataclass(frozen=True)
class Size:
    """Bytes. ``memory`` is Redis' own figure for key and value together, from ``MEMORY USAGE``."""

    cookie: int
    stored: int | None = None
    memory: int | None = None


def measure(contestants: list[str], environment: Environment) -> dict[str, Size]:
    """Start one session with the same contents for each contestant. The databases of ``environment`` must be empty."""
    return {name: _measure(name, environment) for name in contestants if name not in ("bare", "cloakroom-memory")}


def _measure(contestant: str, environment: Environment) -> Size:
    redis = RawRedis(environment.socket, _DATABASES.get(contestant, 0))
    # Only the value counts: the site chooses the name.
    cookie = len(start_session(make_app(contestant, environment)).partition("=")[2])
    if contestant in _DATABASES:
        key = word(redis(b"RANDOMKEY"))
        return Size(cookie, number(redis(b"STRLEN", key)), number(redis(b"MEMORY", b"USAGE", key)))
    if contestant == "cloakroom-sqlite":
        with sqlite3.connect(environment.sqlite) as database:
            row = database.execute("SELECT length(version) + length(data) FROM cloakroom_entries").fetchone()
        return Size(cookie, int(row[0]))
    return Size(cookie)
