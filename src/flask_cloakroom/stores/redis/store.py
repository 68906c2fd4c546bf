"""The store in Redis or Valkey.

An entry is one Redis string: 8 bytes of version, then the data. No command uses two Redis keys, so the store also works
in a Redis cluster, where two keys may be on different servers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from ...errors import StoreError
from ...redis_connections import Connector, ExternalClient, connect
from ...secret import Secret, SecretBytes
from ..base import Claim, Conflict, Entry, Gone, Saved, check_ttl, new_version
from .answers import read_claims, read_created, read_entry_among_others, read_entry_or_none, read_flag, read_replaced
from .transport import DelegatedTransport, DirectTransport, Script, Transport

# Characters with a special meaning in a pattern of the command SCAN. A backslash makes them ordinary characters.
_PATTERN_CHARACTERS: Final = re.compile(rb"[*?\[\]\\^]")
_LUA: Final = Path(__file__).with_name("lua")
_REPLACE: Final = Script(_LUA.joinpath("replace.lua").read_bytes())
_CLAIM: Final = Script(_LUA.joinpath("claim.lua").read_bytes())
_OWNED: Final = Script(_LUA.joinpath("owned.lua").read_bytes())
_TOUCH: Final = Script(_LUA.joinpath("touch.lua").read_bytes())


class RedisClient(Protocol):
    """A client of redis-py or valkey-py, also for a cluster or Sentinel, or a replacement such as fakeredis."""

    def execute_command(self, *args: Any, **options: Any) -> Any: ...


class RedisStore:
    """Stores each entry and each owner's claims under one Redis key.

    The Redis key of an entry is ``prefix`` and the store key. The Redis key of an owner's claims is ``prefix``,
    ``owner:`` and the owner. Store key and owner are in hexadecimal digits.
    """

    def __init__(
        self,
        client: RedisClient | Connector | str,
        *,
        prefix: str = "session:",
        timeout: float = 2.0,
        folder: Path | None = None,
    ) -> None:
        """Make a store from a client, a connector or a URL (see :mod:`..redis_connections.url`).

        With a URL, a connector or a client of the class Redis, the store opens its own connections to the same server.
        Then a call raises StoreError if the server does not answer within ``timeout`` seconds, and the time-outs and
        retries of the client have no effect. Any other client (of a cluster or Sentinel, or of a subclass) is called
        directly, and its own time-outs apply. ``folder``: the instance folder, for a URL ``embedded://``.
        :meth:`close` does not close a client.

        Raises TypeError for an object that is no client, ValueError for a wrong URL, and ImportError if no driver is
        installed.
        """
        if isinstance(client, str):
            client = Secret(client)
        #: Has the client that :meth:`walk` and the commands ``flask redis`` use.
        self.connector = _connector(client, folder)
        self._prefix = prefix.encode()
        access = self.connector.direct_access
        self._transport: Transport = (
            DelegatedTransport(self.connector) if access is None else DirectTransport(*access, timeout)
        )

    def __str__(self) -> str:
        return f"Redis ({self._transport.address})"

    def _key(self, key: bytes) -> SecretBytes:
        return SecretBytes(self._prefix + key.hex().encode())

    def load(self, key: bytes) -> Entry | None:
        return self._transport.get(SecretBytes(self._prefix + key.hex().encode()), read_entry_or_none)

    def create(self, key: bytes, data: bytes, ttl: int) -> bytes | None:
        version = new_version()
        seconds = b"%d" % check_ttl(ttl)
        data = SecretBytes(version + data)
        if self._transport.call(read_created, (b"SET", self._key(key), data, b"NX", b"EX", seconds)):
            return version
        # The key has an entry. If the answer to a first try was lost, this call may have written the entry itself.
        entry = self.load(key)
        return version if entry is not None and entry.version == version else None

    def replace(self, key: bytes, data: bytes, ttl: int, expected: bytes) -> Saved | Conflict | Gone:
        version = new_version()
        arguments = (expected, SecretBytes(version + data), b"%d" % check_ttl(ttl))
        found = self._transport.run(read_replaced, _REPLACE, self._key(key), *arguments)
        if not isinstance(found, Entry):
            return Saved(version) if found else Gone()
        # If the answer to a first try was lost, the entry has the new version of this call. Then the first try wrote.
        return Saved(version) if found.version == version else Conflict(found)

    def touch(self, key: bytes, ttl: int) -> bool:
        return self._transport.run(read_flag, _TOUCH, self._key(key), b"%d" % check_ttl(ttl))

    def delete(self, key: bytes) -> bool:
        return self._transport.call(read_flag, (b"DEL", self._key(key)))

    def _owner(self, owner: bytes) -> bytes:
        return b"%bowner:%b" % (self._prefix, owner.hex().encode())

    def claim(self, owner: bytes, key: bytes, ttl: int, limit: int | None = None) -> bool:
        others = b"-1" if limit is None else b"%d" % limit
        arguments = (SecretBytes(key.hex().encode()), b"%d" % check_ttl(ttl), others)
        return self._transport.run(read_flag, _CLAIM, self._owner(owner), *arguments)

    def release(self, owner: bytes, key: bytes) -> bool:
        return self._transport.call(read_flag, (b"ZREM", self._owner(owner), SecretBytes(key.hex().encode())))

    def owned(self, owner: bytes) -> list[Claim]:
        return self._transport.run(read_claims, _OWNED, self._owner(owner))

    def walk(self) -> Iterator[tuple[bytes, Entry]]:
        start = len(self._prefix)
        for name in map(SecretBytes, self._names()):
            try:
                key = SecretBytes.fromhex(name[start:].decode("ascii"))
            except ValueError:  # a Redis key of another application that begins with the same prefix
                continue
            entry = self._transport.get(self._key(key), read_entry_among_others)
            if entry is not None:
                yield key, entry

    def _names(self) -> Iterator[bytes]:
        pattern = _PATTERN_CHARACTERS.sub(rb"\\\g<0>", self._prefix) + b"*"
        try:
            for name in self.connector.client.scan_iter(match=pattern, count=500, _type="string"):
                yield name if isinstance(name, bytes) else name.encode()
        except Exception as error:
            # Any error, because each driver and each replacement for a driver has its own error classes.
            problem = f"Redis session store: the entries could not be listed ({type(error).__name__})"
            raise StoreError(f"{problem}. Check the server, and try again.") from error

    def close(self) -> None:
        self._transport.close()


def _connector(client: Any, folder: Path | None) -> Connector:
    if isinstance(client, str):
        return connect(client, folder=folder)
    if isinstance(client, Connector):
        return client
    if not callable(getattr(client, "execute_command", None)):
        raise TypeError(
            f"{type(client).__name__} is no Redis client, because it has no execute_command. Pass a client or a URL."
        )
    if ".asyncio." in type(client).__module__:
        raise TypeError("An asyncio client cannot be used here. Pass the synchronous client.")
    return ExternalClient(client)
