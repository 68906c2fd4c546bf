"""How many bytes the measured session takes: in the store, and in the cookie that goes with every request."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from apps import CLOAKROOM_DB, FLASK_SESSION_DB, Place, make_app, start_session
from raw import RawRedis, number, word

_DATABASES = {"flask-session": FLASK_SESSION_DB, "cloakroom-redis": CLOAKROOM_DB}


@dataclass(frozen=True)
class Size:
    """Bytes. ``memory`` is what Redis itself says that key and value take, ``MEMORY USAGE``."""

    cookie: int
    stored: int | None = None
    memory: int | None = None


def measure(contestants: list[str], place: Place) -> dict[str, Size]:
    """Start one session with the same contents under each contestant; ``place`` must be empty before."""
    return {name: _measure(name, place) for name in contestants if name not in ("bare", "cloakroom-memory")}


def _measure(contestant: str, place: Place) -> Size:
    redis = RawRedis(place.socket, _DATABASES.get(contestant, 0))
    # What a browser sends: the value alone, the name being the site's choice.
    cookie = len(start_session(make_app(contestant, place)).partition("=")[2])
    if contestant in _DATABASES:
        key = word(redis(b"RANDOMKEY"))
        return Size(cookie, number(redis(b"STRLEN", key)), number(redis(b"MEMORY", b"USAGE", key)))
    if contestant == "cloakroom-sqlite":
        with sqlite3.connect(place.sqlite) as database:
            row = database.execute("SELECT length(version) + length(data) FROM cloakroom_entries").fetchone()
        return Size(cookie, int(row[0]))
    return Size(cookie)
