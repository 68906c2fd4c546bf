"""The lowest possible cost of a request: the same bytes, moved without a library and without Flask."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import hiredis

import flask_cloakroom.stores


def pack_command(words: tuple[bytes, ...]) -> bytes:
    """Return the bytes of a command in the server's protocol."""
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub says: of one word
    return packed


class RawRedis:
    """A blocking socket with hiredis' parser, and nothing else between the caller and the server."""

    def __init__(self, path: str, database: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._reader = hiredis.Reader()
        self(b"SELECT", str(database).encode())

    def __call__(self, *words: bytes) -> object:
        return self.send(pack_command(words))

    def send(self, packed: bytes) -> object:
        """Send a packed command and return the parsed answer."""
        self._socket.sendall(packed)
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(65536))
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def close(self) -> None:
        self._socket.close()


#: As long as the store's name for an entry: "session:" and 64 hexadecimal digits.
KEY = b"rawkey::" + b"0" * 64

_SCRIPT = Path(flask_cloakroom.stores.__file__).parent / "redis" / "lua" / "replace.lua"


def number(answer: object) -> int:
    """Return the answer. Raises TypeError unless it is a number."""
    if not isinstance(answer, int):
        raise TypeError(f"Redis answered {answer!r}")
    return answer


def word(answer: object) -> bytes:
    """Return the answer. Raises TypeError unless it is a string."""
    if not isinstance(answer, bytes):
        raise TypeError(f"Redis answered {answer!r}")
    return answer


def redis_get(redis: RawRedis, size: int) -> Callable[[], object]:
    """Return a function for one GET of a value of ``size`` bytes. The command is packed beforehand."""
    redis(b"SET", KEY, bytes(size))
    packed = pack_command((b"GET", KEY))
    return lambda: redis.send(packed)


def redis_get_and_replace(redis: RawRedis, size: int) -> Callable[[], object]:
    """Return a function for one GET and then the package's compare-and-set script. Both are packed beforehand.

    The value alternates between two versions, so that the script always writes, as in a request.
    """
    name = KEY.replace(b"rawkey", b"rawswp")
    versions = (b"version1", b"version2")
    redis(b"SET", name, versions[1].ljust(size, b"."))
    digest = word(redis(b"SCRIPT", b"LOAD", _SCRIPT.read_bytes()))
    get = pack_command((b"GET", name))
    scripts = cycle(
        pack_command((b"EVALSHA", digest, b"1", name, old, new.ljust(size, b"."), b"2678400"))
        for old, new in (versions[::-1], versions)
    )

    def both() -> None:
        redis.send(get)
        if redis.send(next(scripts)) != 1:
            raise RuntimeError("the compare-and-set script did not write. Check replace.lua.")

    return both


def sqlite_read(path: Path, size: int) -> Callable[[], object]:
    """Return a function for one SELECT by primary key of a value of ``size`` bytes, in WAL mode like the store."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE raw (id INTEGER PRIMARY KEY, data BLOB NOT NULL)")
    database.executemany("INSERT INTO raw VALUES (?, ?)", ((i, bytes(size)) for i in range(1000)))
    return lambda: database.execute("SELECT data FROM raw WHERE id = ?", (500,)).fetchone()
