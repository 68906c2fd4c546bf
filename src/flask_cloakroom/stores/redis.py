"""Sessions in Redis or Valkey, through whatever client the application hands over.

An entry is one string: 8 bytes of version, then the data. No command touches two keys, so every session lives
in one slot of a cluster.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from ..errors import StoreError
from .base import VERSION_BYTES, Conflict, Entry, Gone, Saved, check_ttl, new_version
from .redis_transport import DelegatedTransport, DirectTransport, ScriptMissingError, Transport

SCHEMES: Final = frozenset({"redis", "rediss", "unix", "valkey", "valkeys"})
# What means something in a pattern that Redis matches names with.
_PATTERN_SIGNS: Final = re.compile(rb"[*?\[\]\\^]")
_REPLACE: Final = Path(__file__).with_name("lua").joinpath("replace.lua").read_bytes()
_REPLACE_SHA: Final = hashlib.sha1(_REPLACE, usedforsecurity=False).hexdigest().encode()


class RedisClient(Protocol):
    """What a client must have: redis-py's and valkey-py's, their cluster and Sentinel clients, fakeredis …"""

    def execute_command(self, *args: Any, **options: Any) -> Any: ...


class RedisStore:
    """Entries under ``prefix`` + the key in hexadecimal digits."""

    def __init__(self, client: RedisClient | str, *, prefix: str = "session:", timeout: float = 2.0) -> None:
        """Take a client, which stays its owner's to close, or a URL (redis, rediss, unix, valkey, valkeys).

        ``timeout``: seconds after which a call to a server that does not answer is a StoreError. A plain
        client's address and credentials are used on connections of this store's own, so that neither its
        time-outs nor its retries lengthen that bound; every other client (cluster, Sentinel, a subclass) is
        called as it is, with its own.

        Raises TypeError for what is no client, ValueError for a URL that can't be one, ImportError if no
        driver is installed.
        """
        self._owned = isinstance(client, str)
        self._client: Any = client_from_url(client) if isinstance(client, str) else _checked_client(client)
        self._prefix = prefix.encode()
        self._transport: Transport = DirectTransport.for_client(self._client, timeout) or DelegatedTransport(
            self._client
        )

    def __str__(self) -> str:
        return f"Redis ({self._transport.address})"

    def _key(self, key: bytes) -> bytes:
        return self._prefix + key.hex().encode()

    def load(self, key: bytes) -> Entry | None:
        found = self._transport.call(b"GET", self._prefix + key.hex().encode())
        return None if found is None else _entry(found)

    def create(self, key: bytes, data: bytes, ttl: int) -> bytes | None:
        version = new_version()
        seconds = b"%d" % check_ttl(ttl)
        if self._transport.call(b"SET", self._key(key), version + data, b"NX", b"EX", seconds) is not None:
            return version
        # Refused, unless this is the second try of a command whose first answer was lost: then ours is there.
        entry = self.load(key)
        return version if entry is not None and entry.version == version else None

    def replace(self, key: bytes, data: bytes, ttl: int, expected: bytes) -> Saved | Conflict | Gone:
        version = new_version()
        arguments = (b"1", self._key(key), expected, version + data, b"%d" % check_ttl(ttl))
        try:
            found = self._transport.call(b"EVALSHA", _REPLACE_SHA, *arguments)
        except ScriptMissingError:  # a server that was restarted, or has never seen it
            found = self._transport.call(b"EVAL", _REPLACE, *arguments)
        if found == 1:
            return Saved(version)
        if found == 0 or found is None:
            return Gone()
        entry = _entry(found)
        # A lost answer and a second try meet the first one's work: it was saved.
        return Saved(version) if entry.version == version else Conflict(entry)

    def touch(self, key: bytes, ttl: int) -> bool:
        return bool(self._transport.call(b"EXPIRE", self._key(key), b"%d" % check_ttl(ttl)))

    def delete(self, key: bytes) -> bool:
        return bool(self._transport.call(b"DEL", self._key(key)))

    def walk(self) -> Iterator[tuple[bytes, Entry]]:
        start = len(self._prefix)
        for name in self._names():
            try:
                key = bytes.fromhex(name[start:].decode("ascii"))
            except ValueError:  # somebody else's key that begins like ours
                continue
            entry = self.load(key)
            if entry is not None:
                yield key, entry

    def _names(self) -> Iterator[bytes]:
        pattern = _PATTERN_SIGNS.sub(rb"\\\g<0>", self._prefix) + b"*"
        try:
            for name in self._client.scan_iter(match=pattern, count=500, _type="string"):
                yield name if isinstance(name, bytes) else name.encode()
        except Exception as error:
            # Any driver's, or a stand-in's.
            raise StoreError(f"Redis session store: walking failed ({type(error).__name__})") from error

    def close(self) -> None:
        self._transport.close()
        if self._owned:
            self._client.close()


def _entry(found: bytes) -> Entry:
    return Entry(found[VERSION_BYTES:], found[:VERSION_BYTES])


def _checked_client(client: Any) -> Any:
    if not callable(getattr(client, "execute_command", None)):
        raise TypeError(f"not a Redis or Valkey client (it has no execute_command): {type(client).__name__}")
    if ".asyncio." in type(client).__module__:
        raise TypeError("an asyncio client cannot be used here; hand over the synchronous one")
    return client


def client_from_url(url: str) -> Any:
    """Return redis-py's client for ``url``, or valkey-py's where only that is installed."""
    scheme, found, rest = url.partition("://")
    if not found or scheme not in SCHEMES:
        raise ValueError(f"a Redis URL begins with one of {', '.join(f'{name}://' for name in sorted(SCHEMES))}")
    # Both drivers speak to both servers, so the scheme need not match the driver.
    scheme = {"valkey": "redis", "valkeys": "rediss"}.get(scheme, scheme)
    from_url = _driver()
    try:
        return from_url(f"{scheme}://{rest}")
    except ValueError:
        # The driver's text repeats the part that it did not expect, which may be half a password.
        raise ValueError(
            "this Redis URL cannot be read; in a password, signs such as / # ? @ : must be percent-encoded"
        ) from None


def _driver() -> Callable[[str], Any]:
    for module, name in (("redis", "Redis"), ("valkey", "Valkey")):
        try:
            client: Any = getattr(importlib.import_module(module), name)
        except ImportError:
            continue
        from_url: Callable[[str], Any] = client.from_url
        return from_url
    raise ImportError("a Redis URL needs a driver: pip install flask-cloakroom[redis]")
