"""How the Redis store speaks to a server: on sockets, or through a client as it is."""

from __future__ import annotations

import hashlib
import select
import socket
import struct
import sys
import weakref
from collections.abc import Callable
from fcntl import ioctl
from functools import partial
from termios import FIONREAD
from typing import Any, Final, Protocol, TypeVar

from ...errors import StoreError
from ...forking import call_in_child
from ...redis_connections import Connector, Endpoint
from ...redis_connections.limit import Idle, Room, TooManyConnectionsError, close_left_over
from ...secret import SecretBytes
from .answers import UnexpectedAnswerError

#: Bytes read at once: more than most sessions have, and little enough to be had for nothing.
_CHUNK: Final = 16384

# By the number of a command's parts: what it looks like on the wire. The longest is EVALSHA with seven.
_FORMATS: Final = [b"*%d\r\n" % parts + b"$%d\r\n%b\r\n" * parts for parts in range(8)]


def pack(*command: bytes) -> SecretBytes:
    """Return a command as it is sent."""
    parts = [part for argument in command for part in (len(argument), argument)]
    return SecretBytes(_FORMATS[len(command)] % tuple(parts))


class ScriptMissingError(StoreError):
    """The server does not have the script of this digest."""


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


Result = TypeVar("Result")

#: Turns an answer (bytes, an int, True for OK, or None) into what a verb of the store returns.
#: Raises :class:`UnexpectedAnswerError` for an answer that the command cannot have.
Reader = Callable[[Any], Result]


class Transport(Protocol):
    """One command, one answer, which ``read`` understands. Everything raises StoreError."""

    address: str

    def get(self, name: bytes, read: Reader[Result]) -> Result:
        """Return what ``GET`` answers."""

    def call(self, read: Reader[Result], *command: bytes) -> Result:
        """Send a command and return its answer."""

    def run(self, read: Reader[Result], script: Script, *arguments: bytes) -> Result:
        """Run a script on the key that is the first argument, and return its answer."""

    def close(self) -> None:
        """Close what this transport opened."""


class DirectTransport:
    """Sockets: the driver opens them and signs in, and from then on its layers of calls are left out.

    They cost more than the round trip itself, and their default retries wait for seconds where a page should say 503.
    A connection that the server has closed meanwhile, or whose next bytes are no answer to the command, is replaced
    once, at once; a server that does not answer in time is not asked again. The connections count under the bound of
    their endpoint, together with those of the application's own clients.
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

    def get(self, name: bytes, read: Reader[Result]) -> Result:
        return self._send(SecretBytes(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(name), name)), read)

    def call(self, read: Reader[Result], *command: bytes) -> Result:
        return self._send(pack(*command), read)

    def run(self, read: Reader[Result], script: Script, *arguments: bytes) -> Result:
        try:
            return self._send(pack(*script.by_digest(*arguments)), read)
        except ScriptMissingError:
            return self._send(pack(*script.in_full(*arguments)), read)

    def _send(self, packed: bytes, read: Reader[Result]) -> Result:
        if self._look_again is not None:
            self._look_again()
        try:
            found = self._room() if self._bound.waiting else self._idle.pop()
        except IndexError:
            found = self._room()
        if type(found) is Room:
            return self._ask(self._connect(found), packed, read)
        wire: _Wire = found
        try:
            if wire.unread():
                raise UnexpectedAnswerError("bytes that no command has asked for, or the end of the connection")
            answer = wire.ask(packed, read)
        except TimeoutError as error:
            self._drop(wire, error)
            # If something on the way has forgotten this connection, it has forgotten those that lay idle for longer.
            self.close()
            raise self._late() from error
        except (OSError, ValueError):
            self._drop(wire)
            # This one was closed while it lay idle, or has an answer that nobody waits for, and so, most likely, were
            # or have those that lay beside it.
            self.close()
            answer = self._ask(self._open(), packed, read)
            self._endpoint.watch.replaced(wire.made_since)
            return answer
        except BaseException:
            # Interrupted between command and answer: the answer would be taken for the next command's.
            self._drop(wire)
            raise
        self._give_back(wire)
        if isinstance(answer, _Refusal):
            raise self._refused(answer)
        return answer

    def _ask(self, wire: _Wire, packed: bytes, read: Reader[Result]) -> Result:
        """Ask on a new connection, which is not tried twice."""
        try:
            answer = wire.ask(packed, read)
        except TimeoutError as error:
            self._drop(wire, error)
            raise self._late() from error
        except OSError as error:
            self._drop(wire, error)
            raise self._unreachable() from error
        except ValueError as error:
            self._drop(wire)
            raise self._unexpected() from error
        except BaseException:
            self._drop(wire)
            raise
        self._give_back(wire)
        if isinstance(answer, _Refusal):
            raise self._refused(answer)
        return answer

    def _open(self) -> _Wire:
        """Return a connection that is new, or that another thread has given back and that has nothing unread."""
        while type(found := self._room()) is not Room:
            wire: _Wire = found
            if not wire.unread():
                return wire
            self._drop(wire)
        return self._connect(found)

    def _room(self) -> Any:
        """Return an idle connection, or the room to open one in; wait for either."""
        try:
            return self._bound.room(self._idle, self._wait)
        except TooManyConnectionsError as error:
            most = self._bound.most
            raise StoreError(f"Redis session store at {self.address}: all {most} connections are in use") from error

    def _connect(self, room: Room) -> _Wire:
        connection = None
        try:
            connection = self._endpoint.connection(**self._options)
            connection.connect()
            # After a TLS handshake there are bytes that are no answer: the server's session tickets.
            if not hasattr(connection._sock, "pending") and connection.can_read():
                raise UnexpectedAnswerError("more answers than commands at the beginning of a connection")
            return _Wire(connection, room)
        except BaseException as error:
            # The driver's errors, by name, and whatever else it makes of a server that is none.
            if connection is not None:
                connection.disconnect()
            self._bound.closed(room)
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
        self._bound.closed(wire.room)
        if error is not None:
            self._endpoint.watch.lost(error, wire.made_since)

    def _late(self) -> StoreError:
        return StoreError(f"Redis session store at {self.address}: no answer in time")

    def _unreachable(self) -> StoreError:
        return StoreError(f"Redis session store at {self.address} cannot be reached")

    def _unexpected(self) -> StoreError:
        return StoreError(f"Redis session store at {self.address}: {UNEXPECTED}")

    def _refused(self, refusal: _Refusal) -> StoreError:
        # Cut short, so that no argument of ours can be in it.
        text = f"Redis session store at {self.address} refuses: {' '.join(refusal.text.split()[:6])}"
        if refusal.text.startswith("NOSCRIPT"):
            return ScriptMissingError(text)
        # A failover may have made this server a replica; new connections find out where to go.
        self.close()
        return StoreError(text)

    def _leave_inherited(self) -> None:
        """In a forked child: the parent's sockets are the parent's. Dropping them closes only our copies."""
        self._idle.clear()

    def close(self) -> None:
        while (room := self._idle.give_up_idle()) is not None:
            self._bound.closed(room)


#: What every transport says of an answer that does not fit.
UNEXPECTED: Final = "the answer does not fit the command. Check that a Redis server, and nothing else, listens there."


class _Refusal:
    """The server said no."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class _Wire:
    """One connection: a command goes out, its answer comes back. Knows the answers that a store's commands have."""

    __slots__ = ("_connection", "_socket", "made_since", "room", "unread")

    def __init__(self, connection: Any, room: Room) -> None:
        self._connection = connection
        self.room = room
        self.made_since: int = connection.made_since
        self._socket = connection._sock
        #: Tells, without waiting, whether there are bytes that nobody has read, or the end of the connection.
        self.unread = _look_for_unread_bytes(self._socket)
        _let_the_kernel_wait(self._socket)

    def ask(self, packed: bytes, read: Reader[Result]) -> Result | _Refusal:
        """Return what ``read`` makes of the answer, or a :class:`_Refusal`.

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
        answer: Any = None
        if kind == b"$":
            length = int(data[1:end])
            if length >= 0:
                start = end + 2
                end = start + length
                while len(data) < end + 2:
                    data = SecretBytes(data + self._more(receive))
                answer = SecretBytes(data[start:end])
            elif length != -1:
                raise UnexpectedAnswerError("a length below zero")
        elif kind == b":":
            answer = int(data[1:end])
        elif kind == b"+" and data[1:end] == b"OK":
            answer = True
        elif kind == b"-":
            answer = _Refusal(data[1:end].decode("utf-8", "replace"))
        elif kind != b"_":
            raise UnexpectedAnswerError("an answer of a kind that no command of ours has")
        if len(data) != end + 2 or not data.endswith(b"\r\n"):
            raise UnexpectedAnswerError("more than one answer to one command")
        return answer if kind == b"-" else read(answer)

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


def _look_for_unread_bytes(connected: Any) -> Callable[[], object]:
    """Return a function that tells, without waiting, whether a connection has bytes to read, or is closed.

    The standard library's sockets are polled, which costs 0.3 µs. gevent's poll() would let other greenlets run, and
    gevent's sockets are asked for the count of the bytes instead, which costs 0.7 µs and does not tell of the end.
    """
    if type(connected).__module__ not in ("socket", "ssl"):
        descriptor, none = connected.fileno(), bytes(4)
        return lambda: ioctl(descriptor, FIONREAD, none) != none
    poller = select.poll()
    poller.register(connected, select.POLLIN)
    poll = poller.poll
    if hasattr(connected, "pending"):  # TLS may have decrypted bytes already
        pending = connected.pending
        return lambda: pending() or poll(0)
    return partial(poll, 0)


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

    def get(self, name: bytes, read: Reader[Result]) -> Result:
        return self._execute((b"GET", name), read)

    def call(self, read: Reader[Result], *command: bytes) -> Result:
        return self._execute(command, read)

    def run(self, read: Reader[Result], script: Script, *arguments: bytes) -> Result:
        try:
            return self._execute(script.by_digest(*arguments), read)
        except ScriptMissingError:
            return self._execute(script.in_full(*arguments), read)

    def _execute(self, command: tuple[bytes, ...], read: Reader[Result]) -> Result:
        try:
            # NEVER_DECODE: session data is bytes, also where the application's client has decode_responses=True.
            answer = self._connector.client.execute_command(command[0].decode(), *command[1:], NEVER_DECODE=True)
        except Exception as error:
            # By name, because the client may be of any driver, or a stand-in with errors of its own.
            kind = ScriptMissingError if type(error).__name__ == "NoScriptError" else StoreError
            raise kind(f"Redis session store ({self.address}): {type(error).__name__}") from error
        try:
            return read(answer)
        except UnexpectedAnswerError as error:
            raise StoreError(f"Redis session store ({self.address}): {UNEXPECTED}") from error

    def close(self) -> None:
        """Nothing to do: the client belongs to whoever made it."""
