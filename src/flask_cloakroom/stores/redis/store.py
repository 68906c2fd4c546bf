"""The store in Redis or Valkey.

An entry is one string: 8 bytes of version, then the data. No command touches two keys, so each session is in one slot
of a cluster.
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

# Characters with a meaning in a pattern for names.
_PATTERN_CHARACTERS: Final = re.compile(rb"[*?\[\]\\^]")
_LUA: Final = Path(__file__).with_name("lua")
_REPLACE: Final = Script(_LUA.joinpath("replace.lua").read_bytes())
_CLAIM: Final = Script(_LUA.joinpath("claim.lua").read_bytes())
_OWNED: Final = Script(_LUA.joinpath("owned.lua").read_bytes())
_TOUCH: Final = Script(_LUA.joinpath("touch.lua").read_bytes())


class RedisClient(Protocol):
    """A client of redis-py or valkey-py, also for a cluster or Sentinel, or a stand-in such as fakeredis."""

    def execute_command(self, *args: Any, **options: Any) -> Any: ...


class RedisStore:
    """Entries have the name ``prefix`` + key, owners ``prefix`` + ``owner:`` + owner, in hexadecimal digits."""

    def __init__(
        self,
        client: RedisClient | Connector | str,
        *,
        prefix: str = "session:",
        timeout: float = 2.0,
        folder: Path | None = None,
    ) -> None:
        """Take a client, a connector, or a URL (see :mod:`..redis_connections.url`). ``close()`` leaves a client open.

        ``timeout``: seconds after which a call to a server that does not answer is a StoreError. With a URL, a
        connector or a plain client, the store has connections of its own to the same server. Time-outs and retries of
        the client do not count. Every other client (of a cluster or Sentinel, or a subclass) is called as it is, with
        its own time-outs. ``folder``: the instance folder, for ``embedded://``.

        Raises TypeError for an object that is no client, ValueError for a wrong URL, and ImportError without a driver.
        """
        if isinstance(client, str):
            client = Secret(client)
        #: For ``walk`` and for the command ``flask redis``.
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
        # An entry is there. If the answer to a first try was lost, it is the entry of this call.
        entry = self.load(key)
        return version if entry is not None and entry.version == version else None

    def replace(self, key: bytes, data: bytes, ttl: int, expected: bytes) -> Saved | Conflict | Gone:
        version = new_version()
        arguments = (expected, SecretBytes(version + data), b"%d" % check_ttl(ttl))
        found = self._transport.run(read_replaced, _REPLACE, self._key(key), *arguments)
        if not isinstance(found, Entry):
            return Saved(version) if found else Gone()
        # If the answer to a first try was lost, the entry has this call's version: it was saved.
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
            except ValueError:  # a key of another application that begins with the same prefix
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
            # Any driver's error, or a stand-in's.
            problem = f"Redis session store: walking failed ({type(error).__name__})"
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
            f"{type(client).__name__} is no Redis or Valkey client: it has no execute_command. Pass a client."
        )
    if ".asyncio." in type(client).__module__:
        raise TypeError("An asyncio client cannot be used here. Pass the synchronous client.")
    return ExternalClient(client)
