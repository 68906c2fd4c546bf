"""How the Redis store speaks to a server: on connections of its own, or through a client as it is."""

from __future__ import annotations

import importlib
import os
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, Protocol

from ..errors import StoreError

#: Connections kept for the next use, at most. More are open only while more threads are at work.
IDLE_CONNECTIONS: Final = 64

# What a connection needs to know of the client that it stands in for: where the server is and how to get in.
# The client's time-outs, retries and decoding are left behind, because the store has its own.
_TAKEN_OVER: Final = frozenset(
    {"host", "port", "path", "db", "username", "password", "credential_provider", "client_name", "protocol"}
    | {"socket_keepalive", "socket_keepalive_options", "socket_type", "redis_connect_func"}
)
_PLAIN_CLIENTS: Final = frozenset({("redis.client", "Redis"), ("valkey.client", "Valkey")})
_PLAIN_CONNECTIONS: Final = frozenset({"Connection", "SSLConnection", "UnixDomainSocketConnection"})


class ScriptMissingError(Exception):
    """The server does not have the script of this digest: send the script itself. Never leaves the store."""


class Transport(Protocol):
    """One command, one answer."""

    address: str

    def call(self, *command: bytes) -> Any:
        """Send a command and return its answer, undecoded. Raises StoreError, or ScriptMissingError."""

    def scan(self, pattern: bytes) -> Iterator[bytes]:
        """Yield the names of keys that match, on every node there is."""

    def close(self) -> None:
        """Close what this transport opened."""


def _pack(command: tuple[bytes, ...]) -> bytes:
    parts = [b"*%d\r\n" % len(command)]
    for argument in command:
        parts.append(b"$%d\r\n%b\r\n" % (len(argument), argument))
    return b"".join(parts)


class DirectTransport:
    """Connections of this store's own, made by the driver, used without the driver's pool and retries.

    The pool's bookkeeping costs about as much as the round trip itself, and its default retries wait for
    seconds where a page should say 503. A connection that the server has closed meanwhile is replaced once,
    at once; a server that does not answer in time is not asked again.
    """

    def __init__(self, connection_class: Any, options: dict[str, Any], timeout: float) -> None:
        errors = importlib.import_module(connection_class.__module__.split(".")[0] + ".exceptions")
        self._lost, self._late = errors.ConnectionError, errors.TimeoutError
        self._refused, self._script_missing = errors.ResponseError, errors.NoScriptError
        self._driver_error = errors.RedisError if hasattr(errors, "RedisError") else errors.ValkeyError
        self._connection_class = connection_class
        # Connecting and then waiting for the answer together stay within `timeout`.
        self._options = {**options, "socket_timeout": timeout / 2, "socket_connect_timeout": timeout / 2}
        self._idle: deque[Any] = deque()
        self._pid = os.getpid()
        where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        self.address = f"{where}/{options.get('db') or 0}"

    @classmethod
    def for_client(cls, client: Any, timeout: float) -> DirectTransport | None:
        """Return a transport to the server of a plain client; None if it is not exactly a plain one.

        Subclasses and other clients do something of their own when they are called, so they must be called.
        """
        pool: Any = getattr(client, "connection_pool", None)
        connection_class = getattr(pool, "connection_class", None)
        if (type(client).__module__, type(client).__name__) not in _PLAIN_CLIENTS or connection_class is None:
            return None
        driver = type(client).__module__.split(".")[0]
        if (
            connection_class.__module__ != f"{driver}.connection"
            or connection_class.__name__ not in _PLAIN_CONNECTIONS
            or getattr(pool, "cache", None) is not None
        ):
            return None
        given = pool.connection_kwargs
        options = {name: given[name] for name in given if name in _TAKEN_OVER or name.startswith("ssl_")}
        return cls(connection_class, options, timeout)

    def call(self, *command: bytes) -> Any:
        packed = _pack(command)
        if self._pid != os.getpid():
            self._leave_inherited()
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._fresh(packed)
        try:
            connection.send_packed_command((packed,), False)
            answer = connection.read_response(True)
        except self._refused as error:
            self._give_back(connection)
            self._refuse(error)
        except self._late as error:
            raise StoreError(f"Redis session store at {self.address}: no answer in time") from error
        except self._lost:
            # This one was closed while it lay idle, and so, most likely, were those that lay beside it.
            self._idle.clear()
            return self._fresh(packed)
        except BaseException:
            # Interrupted between command and answer: the answer would be taken for the next command's.
            connection.disconnect()
            raise
        self._give_back(connection)
        return answer

    def _fresh(self, packed: bytes) -> Any:
        connection = self._connection_class(**self._options)
        try:
            connection.connect()
            connection.send_packed_command((packed,), False)
            answer = connection.read_response(True)
        except self._refused as error:
            self._give_back(connection)
            self._refuse(error)
        except self._late as error:
            connection.disconnect()
            raise StoreError(f"Redis session store at {self.address}: no answer in time") from error
        except (self._driver_error, OSError) as error:
            connection.disconnect()
            raise StoreError(f"Redis session store at {self.address} cannot be reached") from error
        except BaseException:
            connection.disconnect()
            raise
        self._give_back(connection)
        return answer

    def _refuse(self, error: Exception) -> Any:
        if isinstance(error, self._script_missing):
            raise ScriptMissingError from error
        # A failover may have made this server a replica; new connections find out where to go.
        self._idle.clear()
        raise StoreError(f"Redis session store at {self.address} refuses: {_first_words(error)}") from error

    def _give_back(self, connection: Any) -> None:
        if len(self._idle) < IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.disconnect()

    def _leave_inherited(self) -> None:
        """In a forked child: the parent's sockets are the parent's. Dropping them closes only our copies."""
        self._idle = deque()
        self._pid = os.getpid()

    def scan(self, pattern: bytes) -> Iterator[bytes]:
        cursor = b"0"
        while True:
            cursor, names = self.call(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"500")
            yield from names
            if cursor == b"0":
                return

    def close(self) -> None:
        while self._idle:
            self._idle.pop().disconnect()


class DelegatedTransport:
    """Calls the application's client as it is: a cluster, Sentinel, a subclass, a stand-in."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.address = type(client).__name__

    def call(self, *command: bytes) -> Any:
        try:
            # NEVER_DECODE: session data is bytes, also where the application's client has decode_responses=True.
            return self._client.execute_command(command[0].decode(), *command[1:], NEVER_DECODE=True)
        except Exception as error:
            # By name, because the client may be of any driver, or a stand-in with errors of its own.
            if type(error).__name__ == "NoScriptError":
                raise ScriptMissingError from error
            raise StoreError(f"Redis session store ({self.address}): {type(error).__name__}") from error

    def scan(self, pattern: bytes) -> Iterator[bytes]:
        try:
            for name in self._client.scan_iter(match=pattern, count=500):
                yield name if isinstance(name, bytes) else name.encode()
        except Exception as error:
            raise StoreError(f"Redis session store ({self.address}): {type(error).__name__}") from error

    def close(self) -> None:
        """Nothing to do: the client belongs to whoever made it."""


def _first_words(error: Exception) -> str:
    """The server's error code and a little more, cut short so that no argument of ours can be in it."""
    return " ".join(str(error).split()[:6])
