"""How the Redis store speaks to a server: on sockets, or through a client as it is."""

from __future__ import annotations

import hashlib
import socket
import struct
import sys
import weakref
from typing import Any, Final, Protocol

from ..errors import StoreError
from ..forking import call_in_child
from ..redis_connections import Connector, Endpoint
from ..redis_connections.bound import Idle, TooManyConnectionsError, close_left_over
from ..secret import SecretBytes

#: Bytes read at once: more than most sessions have, and little enough to be had for nothing.
_CHUNK: Final = 16384

# By the number of a command's parts: what it looks like on the wire. The longest is EVALSHA with seven.
_FORMATS: Final = [b"*%d\r\n" % parts + b"$%d\r\n%b\r\n" * parts for parts in range(8)]


def pack(*command: bytes) -> SecretBytes:
    """Return a command as it is sent."""
    parts = [part for argument in command for part in (len(argument), argument)]
    return SecretBytes(_FORMATS[len(command)] % tuple(parts))


class ScriptMissingError(Exception):
    """The server does not have the script of this digest. Never leaves this module."""


class Script:
    """A Lua script for one key, and what the start of its call looks like."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.digest = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()

    def by_digest(self, *arguments: bytes) -> tuple[bytes, ...]:
        """Return the command for a server that has seen the script."""
        return (b"EVALSHA", self.digest, b"1", *arguments)

    def in_full(self, *arguments: bytes) -> tuple[bytes, ...]:
        """Return the command for one that was restarted, or has never seen it."""
        return (b"EVAL", self.source, b"1", *arguments)


class Transport(Protocol):
    """One command, one answer: bytes, an int, or None. Everything raises StoreError."""

    address: str

    def get(self, name: bytes) -> Any:
        """Return what ``GET`` answers."""

    def call(self, *command: bytes) -> Any:
        """Send a command and return its answer, undecoded."""

    def run(self, script: Script, *arguments: bytes) -> Any:
        """Run a script on the key that is the first argument."""

    def close(self) -> None:
        """Close what this transport opened."""


class DirectTransport:
    """Sockets: the driver opens them and signs in, and from then on its layers of calls are left out.

    They cost more than the round trip itself, and their default retries wait for seconds where a page should say 503.
    A connection that the server has closed meanwhile is replaced once, at once; a server that does not answer in time
    is not asked again. The connections count under the bound of their endpoint, together with those of the
    application's own clients.
    """

    def __init__(self, endpoint: Endpoint, options: dict[str, Any], timeout: float) -> None:
        self.address = endpoint.label
        self._endpoint = endpoint
        self._bound = endpoint.bound
        # Waiting for room, connecting, and waiting for the answer: each has its half, and no page needs all three.
        self._wait = timeout / 2
        self._options = {**options, "socket_timeout": timeout / 2, "socket_connect_timeout": timeout / 2}
        self._look_again = endpoint.look_again
        self._idle = Idle()
        self._bound.join(self._idle)
        call_in_child(self._leave_inherited)
        weakref.finalize(self, close_left_over, self._bound, self._idle).atexit = False

    def get(self, name: bytes) -> Any:
        return self._send(SecretBytes(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(name), name)))

    def call(self, *command: bytes) -> Any:
        return self._send(pack(*command))

    def run(self, script: Script, *arguments: bytes) -> Any:
        try:
            return self._send(pack(*script.by_digest(*arguments)))
        except ScriptMissingError:
            return self._send(pack(*script.in_full(*arguments)))

    def _send(self, packed: bytes) -> Any:
        wire: _Wire | None
        if self._look_again is not None:
            self._look_again()
        try:
            wire = self._room() if self._bound.waiting else self._idle.pop()
        except IndexError:
            wire = self._room()
        if wire is None:
            return self._ask(self._connect(), packed)
        try:
            answer = wire.ask(packed)
        except TimeoutError as error:
            self._drop(wire, error)
            # If something on the way has forgotten this connection, it has forgotten those that lay idle for longer.
            self.close()
            raise self._late() from error
        except (OSError, ValueError):
            self._drop(wire)
            # This one was closed while it lay idle, and so, most likely, were those that lay beside it.
            self.close()
            answer = self._ask(self._open(), packed)
            self._endpoint.watch.replaced(wire.made_since)
            return answer
        except BaseException:
            # Interrupted between command and answer: the answer would be taken for the next command's.
            self._drop(wire)
            raise
        self._give_back(wire)
        return self._refuse(answer) if type(answer) is _Refusal else answer

    def _ask(self, wire: _Wire, packed: bytes) -> Any:
        """Ask on a new connection, which is not tried twice."""
        try:
            answer = wire.ask(packed)
        except TimeoutError as error:
            self._drop(wire, error)
            raise self._late() from error
        except (OSError, ValueError) as error:
            self._drop(wire, error)
            raise self._unreachable() from error
        except BaseException:
            self._drop(wire)
            raise
        self._give_back(wire)
        return self._refuse(answer) if type(answer) is _Refusal else answer

    def _open(self) -> _Wire:
        wire = self._room()
        return self._connect() if wire is None else wire

    def _room(self) -> _Wire | None:
        """Return an idle connection, or None where one may be opened; wait for either."""
        try:
            wire: _Wire | None = self._bound.room(self._idle, self._wait)
        except TooManyConnectionsError as error:
            most = self._bound.most
            raise StoreError(f"Redis session store at {self.address}: all {most} connections are in use") from error
        return wire

    def _connect(self) -> _Wire:
        connection = None
        try:
            connection = self._endpoint.connection(**self._options)
            connection.connect()
            return _Wire(connection)
        except BaseException as error:
            # The driver's errors, by name, and whatever else it makes of a server that is none.
            if connection is not None:
                connection.disconnect()
            self._bound.closed()
            if not isinstance(error, Exception):
                raise
            if type(error).__name__ == "TimeoutError":
                raise self._late() from error
            raise self._unreachable() from error

    def _give_back(self, wire: _Wire) -> None:
        self._idle.append(wire)
        if self._bound.waiting:
            self._bound.wake()

    def _drop(self, wire: _Wire, error: Exception | None = None) -> None:
        wire.disconnect()
        self._bound.closed()
        if error is not None:
            self._endpoint.watch.lost(error, wire.made_since)

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

    def _leave_inherited(self) -> None:
        """In a forked child: the parent's sockets are the parent's. Dropping them closes only our copies."""
        self._idle.clear()

    def close(self) -> None:
        while self._idle.give_up_idle():
            self._bound.closed()


class _Refusal:
    """The server said no."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class _Wire:
    """One connection: a command goes out, its answer comes back. Knows the answers that a store's commands have."""

    __slots__ = ("_connection", "_socket", "made_since")

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.made_since: int = connection.made_since
        self._socket = connection._sock
        _let_the_kernel_wait(self._socket)

    def ask(self, packed: bytes) -> Any:
        """Return bytes, an int, None or a :class:`_Refusal`.

        Raises OSError, or ValueError for what is no answer; then the connection is of no use.
        """
        receive = self._socket.recv
        try:
            self._socket.sendall(packed)
            data = SecretBytes(receive(_CHUNK))
        except BlockingIOError as error:  # the kernel's way to say that the time is over
            raise TimeoutError from error
        while (end := data.find(b"\r\n")) < 0:
            data = SecretBytes(data + self._more(receive))
        kind = data[:1]
        start = 0
        answer: Any = None
        if kind == b"$":
            length = int(data[1:end])
            if length >= 0:
                start = end + 2
                end = start + length
                while len(data) < end + 2:
                    data = SecretBytes(data + self._more(receive))
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
        return data[start:end] if start else answer

    def _more(self, receive: Any) -> Any:
        try:
            data = receive(_CHUNK)
        except BlockingIOError as error:
            raise TimeoutError from error
        if not data:
            raise ConnectionError("closed by the server")
        return data

    def disconnect(self) -> None:
        """Close it, by the name that the driver's connections have for it."""
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
    """Calls a client as it is: a cluster, somebody's Sentinel, a subclass, a stand-in."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self.address = connector.label

    def get(self, name: bytes) -> Any:
        return self.call(b"GET", name)

    def call(self, *command: bytes) -> Any:
        try:
            return self._execute(command)
        except ScriptMissingError as error:
            raise StoreError(f"Redis session store ({self.address}): the script is gone at once") from error

    def run(self, script: Script, *arguments: bytes) -> Any:
        try:
            return self._execute(script.by_digest(*arguments))
        except ScriptMissingError:
            return self.call(*script.in_full(*arguments))

    def _execute(self, command: tuple[bytes, ...]) -> Any:
        try:
            # NEVER_DECODE: session data is bytes, also where the application's client has decode_responses=True.
            return self._connector.client.execute_command(command[0].decode(), *command[1:], NEVER_DECODE=True)
        except Exception as error:
            # By name, because the client may be of any driver, or a stand-in with errors of its own.
            if type(error).__name__ == "NoScriptError":
                raise ScriptMissingError from error
            raise StoreError(f"Redis session store ({self.address}): {type(error).__name__}") from error

    def close(self) -> None:
        """Nothing to do: the client belongs to whoever made it."""
