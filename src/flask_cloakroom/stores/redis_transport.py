"""How the Redis store speaks to a server: on connections of its own, or through a client as it is."""

from __future__ import annotations

import socket
import struct
import sys
from collections import deque
from typing import Any, Final, Protocol

from ..errors import StoreError
from .base import call_in_child

#: Connections kept for the next use, at most. More are open only while more threads are at work.
IDLE_CONNECTIONS: Final = 64

#: Bytes read at once: more than most sessions have, and little enough to be had for nothing.
_CHUNK: Final = 16384

# What a connection needs to know of the client that it stands in for: where the server is and how to get in.
# The client's time-outs, retries and decoding are left behind, because the store has its own.
_TAKEN_OVER: Final = frozenset(
    {"host", "port", "path", "db", "username", "password", "credential_provider", "client_name", "protocol"}
    | {"socket_keepalive", "socket_keepalive_options", "socket_type", "redis_connect_func"}
)
_PLAIN_CLIENTS: Final = frozenset({("redis.client", "Redis"), ("valkey.client", "Valkey")})
_PLAIN_CONNECTIONS: Final = frozenset({"Connection", "SSLConnection", "UnixDomainSocketConnection"})


# By the number of a command's parts: what it looks like on the wire. The longest is EVALSHA with seven.
_FORMATS: Final = [b"*%d\r\n" % parts + b"$%d\r\n%b\r\n" * parts for parts in range(8)]


class ScriptMissingError(Exception):
    """The server does not have the script of this digest: send the script itself. Never leaves the store."""


class Transport(Protocol):
    """One command, one answer: bytes, an int, or None."""

    address: str

    def call(self, *command: bytes) -> Any:
        """Send a command and return its answer, undecoded. Raises StoreError, or ScriptMissingError."""

    def close(self) -> None:
        """Close what this transport opened."""


class DirectTransport:
    """Connections of this store's own: the driver opens them and signs in, and from then on we use the socket.

    The driver's pool, retries and layers of calls cost more than the round trip itself, and its default retries
    wait for seconds where a page should say 503. A connection that the server has closed meanwhile is replaced
    once, at once; a server that does not answer in time is not asked again.
    """

    def __init__(self, connection_class: Any, options: dict[str, Any], timeout: float) -> None:
        self._connection_class = connection_class
        # Connecting and then waiting for the answer together stay within `timeout`.
        self._options = {**options, "socket_timeout": timeout / 2, "socket_connect_timeout": timeout / 2}
        self._idle: deque[_Wire] = deque()
        call_in_child(self._leave_inherited)
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
            or type(pool).__module__ != f"{driver}.connection"
            or getattr(pool, "cache", None) is not None
        ):
            return None
        given = pool.connection_kwargs
        options = {name: given[name] for name in given if name in _TAKEN_OVER or name.startswith("ssl_")}
        return cls(connection_class, options, timeout)

    def call(self, *command: bytes) -> Any:
        packed = _FORMATS[len(command)] % tuple([part for argument in command for part in (len(argument), argument)])
        try:
            wire = self._idle.pop()
        except IndexError:
            return self._ask(self._connect(), packed)
        try:
            answer = wire.ask(packed)
        except TimeoutError as error:
            wire.close()
            # If something on the way has forgotten this connection, it has forgotten those that lay idle for longer.
            self.close()
            raise self._late() from error
        except (OSError, ValueError):
            wire.close()
            # This one was closed while it lay idle, and so, most likely, were those that lay beside it.
            self.close()
            return self._ask(self._connect(), packed)
        except BaseException:
            # Interrupted between command and answer: the answer would be taken for the next command's.
            wire.close()
            raise
        self._give_back(wire)
        return self._refuse(answer) if type(answer) is _Refusal else answer

    def _ask(self, wire: _Wire, packed: bytes) -> Any:
        """Ask on a new connection, which is not tried twice."""
        try:
            answer = wire.ask(packed)
        except TimeoutError as error:
            wire.close()
            raise self._late() from error
        except (OSError, ValueError) as error:
            wire.close()
            raise self._unreachable() from error
        except BaseException:
            wire.close()
            raise
        self._give_back(wire)
        return self._refuse(answer) if type(answer) is _Refusal else answer

    def _connect(self) -> _Wire:
        connection = None
        try:
            connection = self._connection_class(**self._options)
            connection.connect()
        except Exception as error:
            # The driver's errors, by name, and whatever else it makes of a server that is none.
            if connection is not None:
                connection.disconnect()
            if type(error).__name__ == "TimeoutError":
                raise self._late() from error
            raise self._unreachable() from error
        return _Wire(connection)

    def _late(self) -> StoreError:
        return StoreError(f"Redis session store at {self.address}: no answer in time")

    def _unreachable(self) -> StoreError:
        return StoreError(f"Redis session store at {self.address} cannot be reached")

    def _refuse(self, refusal: _Refusal) -> Any:
        if refusal.text.startswith("NOSCRIPT"):
            raise ScriptMissingError
        # A failover may have made this server a replica; new connections find out where to go.
        self.close()
        # Cut short, so that no argument of ours can be in it.
        raise StoreError(f"Redis session store at {self.address} refuses: {' '.join(refusal.text.split()[:6])}")

    def _give_back(self, wire: _Wire) -> None:
        if len(self._idle) < IDLE_CONNECTIONS:
            self._idle.append(wire)
        else:
            wire.close()

    def _leave_inherited(self) -> None:
        """In a forked child: the parent's sockets are the parent's. Dropping them closes only our copies."""
        self._idle = deque()

    def close(self) -> None:
        while True:
            try:
                wire = self._idle.pop()
            except IndexError:
                return
            wire.close()


class _Refusal:
    """The server said no."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class _Wire:
    """One connection: a command goes out, its answer comes back. Knows the answers that a store's commands have."""

    __slots__ = ("_connection", "_socket")

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._socket = connection._sock
        _let_the_kernel_wait(self._socket)

    def ask(self, packed: bytes) -> Any:
        """Return bytes, an int, None or a :class:`_Refusal`.

        Raises OSError, or ValueError for what is no answer; then the connection is of no use.
        """
        receive = self._socket.recv
        try:
            self._socket.sendall(packed)
            data = receive(_CHUNK)
        except BlockingIOError as error:  # the kernel's way to say that the time is over
            raise TimeoutError from error
        while (end := data.find(b"\r\n")) < 0:
            data += self._more(receive)
        kind = data[:1]
        if kind == b"$":
            length = int(data[1:end])
            answer: Any = None
            if length >= 0:
                start = end + 2
                end = start + length
                while len(data) < end + 2:
                    data += self._more(receive)
                answer = data[start:end]
        elif kind == b":":
            answer = int(data[1:end])
        elif kind == b"+":
            answer = data[1:end]
        elif kind == b"_":
            answer = None
        elif kind == b"-":
            answer = _Refusal(data[1:end].decode("utf-8", "replace"))
        else:
            raise ConnectionError("an answer of a kind that no command of ours has")
        if len(data) != end + 2:
            raise ConnectionError("more than one answer to one command")
        return answer

    def _more(self, receive: Any) -> Any:
        try:
            data = receive(_CHUNK)
        except BlockingIOError as error:
            raise TimeoutError from error
        if not data:
            raise ConnectionError("closed by the server")
        return data

    def close(self) -> None:
        self._connection.disconnect()


def _let_the_kernel_wait(connected: Any) -> None:
    """Let the kernel bound the waiting instead of Python, which asks it before each call whether there is a need to.

    That is two system calls less for each command. Only for the standard library's plain socket: TLS has its own
    way to wait, and gevent and eventlet put another class in its place, which must never block.
    """
    seconds = connected.gettimeout()
    if type(connected).__module__ != "socket" or seconds is None or not sys.platform.startswith("linux"):
        return
    timeval = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
    connected.settimeout(None)


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

    def close(self) -> None:
        """Nothing to do: the client belongs to whoever made it."""
