"""Send the commands of the Redis store, either on the store's own sockets or through the application's client."""

from __future__ import annotations

import hashlib
import select
import socket
import struct
import sys
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from fcntl import ioctl
from functools import partial
from termios import FIONREAD
from typing import Any, Final, TypeVar

from ...errors import StoreError
from ...forking import call_in_child
from ...redis_connections import Connector, Endpoint
from ...redis_connections.limit import IdleConnections, Permit, TooManyConnectionsError, close_all
from ...secret import SecretBytes
from .answers import UnexpectedAnswerError

#: The most bytes that one call of recv() returns: more than most sessions have. A larger buffer would take more time.
_CHUNK: Final = 16384

# Format strings for the bytes of a command. The index is the number of the command's parts. The longest command is
# EVALSHA with seven parts.
_FORMATS: Final = [b"*%d\r\n" % parts + b"$%d\r\n%b\r\n" * parts for parts in range(8)]

_UNEXPECTED: Final = "The answer does not fit the command. Check that only a Redis server listens at this address."


def pack_command(command: tuple[bytes, ...]) -> SecretBytes:
    """Return the bytes of a command in the protocol of Redis (RESP)."""
    parts = [part for argument in command for part in (len(argument), argument)]
    return SecretBytes(_FORMATS[len(command)] % tuple(parts))


class ScriptMissingError(StoreError):
    """The server does not have the Lua script with this digest, for example because it was restarted."""


class Script:
    """A Lua script that uses one Redis key, and the commands that run this script."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.digest = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()

    def by_digest(self, *arguments: bytes) -> tuple[bytes, ...]:
        """Return the short command, for a server that has run the script before."""
        return (b"EVALSHA", self.digest, b"1", *arguments)

    def in_full(self, *arguments: bytes) -> tuple[bytes, ...]:
        """Return the command with the whole script, for a server that has not run the script since its start."""
        return (b"EVAL", self.source, b"1", *arguments)


Result = TypeVar("Result")

#: A function of ``answers.py``. It turns an answer (bytes, an int, True for OK, or None) into the result of a store's
#: method, and raises :class:`UnexpectedAnswerError` for an answer that the command cannot have.
AnswerParser = Callable[[Any], Result]


class Transport(ABC):
    """Sends a command and returns its answer, after the function ``read`` has parsed it. Raises only StoreError."""

    address: str

    @abstractmethod
    def call(self, read: AnswerParser[Result], command: tuple[bytes, ...]) -> Result:
        """Send a command and return its parsed answer."""

    def get(self, name: bytes, read: AnswerParser[Result]) -> Result:
        """Send the command ``GET`` for the Redis key ``name`` and return its parsed answer."""
        return self.call(read, (b"GET", name))

    def run(self, read: AnswerParser[Result], script: Script, *arguments: bytes) -> Result:
        """Run a Lua script and return its parsed answer. The first of the ``arguments`` is the script's Redis key."""
        try:
            return self.call(read, script.by_digest(*arguments))
        except ScriptMissingError:
            return self.call(read, script.in_full(*arguments))

    def close(self) -> None:  # noqa: B027 (optional: the application's client is not ours to close)
        """Close the connections that this transport opened."""


class DirectTransport(Transport):
    """Sends commands on sockets. The driver opens and authenticates each connection, but does not send the commands.

    The driver's Python code for a command takes more time than the server's answer. The driver also tries again for
    seconds by default, while a page should soon answer 503. If the server has closed an idle connection, or if the next
    bytes on it are not the answer to the command, the command is sent once more on another connection. After a time-out
    the command is not sent again. All connections count under the limit of their endpoint, together with the
    connections of the application's own clients.
    """

    def __init__(self, endpoint: Endpoint, options: dict[str, Any], timeout: float) -> None:
        self.address = endpoint.label
        self._endpoint = endpoint
        self._limit = endpoint.limit
        # A call may wait for a free connection, for a new connection to open, and for the answer. Each of these waits
        # gets half of the time-out, because a call that needs all three is rare.
        self._acquire_timeout = timeout / 2
        self._options = {**options, "socket_timeout": timeout / 2, "socket_connect_timeout": timeout / 2}
        self._recheck_master = endpoint.recheck_master
        self._idle = IdleConnections()
        self._limit.add_pool(self._idle)
        # A forked child must not use the connections of its parent. To discard them closes only the child's copies.
        call_in_child(self._forget_inherited)
        weakref.finalize(self, close_all, self._limit, self._idle).atexit = False

    def get(self, name: bytes, read: AnswerParser[Result]) -> Result:
        return self._send(SecretBytes(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(name), name)), read)

    def call(self, read: AnswerParser[Result], command: tuple[bytes, ...]) -> Result:
        return self._send(pack_command(command), read)

    def _send(self, packed: bytes, read: AnswerParser[Result]) -> Result:
        if self._recheck_master is not None:
            self._recheck_master()
        try:
            found = self._acquire() if self._limit.waiters else self._idle.pop()
        except IndexError:
            found = self._acquire()
        if type(found) is Permit:
            return self._ask(self._connect(found), packed, read)
        return self._ask(found, packed, read, was_idle=True)

    def _ask(
        self, connection: _Connection, packed: bytes, read: AnswerParser[Result], *, was_idle: bool = False
    ) -> Result:
        """Send a command and return its parsed answer. Close the connection if that fails.

        ``was_idle``: the connection was not opened for this command. If it fails, send the command on another one.
        """
        try:
            if was_idle and connection.unread():
                raise UnexpectedAnswerError("An idle connection was closed, or has bytes that answer no command.")
            answer = connection.ask(packed, read)
        except TimeoutError as error:
            self._drop(connection, error)
            if was_idle:
                # A firewall may block this connection because it was idle for too long. Then the firewall blocks the
                # other idle connections as well, because they were idle for longer.
                self.close()
            raise self._late() from error
        except (OSError, ValueError) as error:
            if not was_idle:
                is_lost = isinstance(error, OSError)
                self._drop(connection, error if is_lost else None)
                raise (self._unreachable() if is_lost else self._error(_UNEXPECTED)) from error
            self._drop(connection)
            # This connection was closed while it was idle, or has a late answer to an earlier command. The other idle
            # connections probably have the same problem, for example after a restart of the server.
            self.close()
            answer = self._ask(self._open(), packed, read)
            self._endpoint.watch.report_replaced(connection.generation)
            return answer
        except BaseException:
            # An interrupt, such as a worker's time-out, came before the answer was read. If the connection stayed open,
            # this answer would be taken for the answer to the next command.
            self._drop(connection)
            raise
        self._idle.append(connection)
        if self._limit.waiters:
            self._limit.wake_first()
        if isinstance(answer, _Refusal):
            raise self._refused(answer)
        return answer

    def _open(self) -> _Connection:
        """Return a connection without unread bytes: a new one, or one that another thread has just given back."""
        while type(found := self._acquire()) is not Permit:
            connection: _Connection = found
            if not connection.unread():
                return connection
            self._drop(connection)
        return self._connect(found)

    def _acquire(self) -> Any:
        """Return an idle connection, or a permit to open a new connection. Wait until one of both is free."""
        try:
            return self._limit.acquire(self._idle, self._acquire_timeout)
        except TooManyConnectionsError as error:
            problem = f"all {self._limit.maximum} connections are in use. Raise max_connections in the Redis URL."
            raise self._error(problem) from error

    def _connect(self, permit: Permit) -> _Connection:
        connection = None
        try:
            connection = self._endpoint.connection(**self._options)
            connection.connect()
            # Not for TLS: after a TLS handshake the server sends TLS session tickets, which are bytes but no answer.
            if not hasattr(connection._sock, "pending") and connection.can_read():
                raise UnexpectedAnswerError("A new connection has bytes that answer no command.")
            return _Connection(connection, permit)
        except BaseException as error:
            if connection is not None:
                connection.disconnect()
            self._limit.release(permit)
            if not isinstance(error, Exception):
                raise
            # The name of the error's class is compared, because each driver has its own class of this name. If the
            # server is no Redis server, the error can be of any class.
            raise (self._late() if type(error).__name__ == "TimeoutError" else self._unreachable()) from error

    def _drop(self, connection: _Connection, error: Exception | None = None) -> None:
        connection.disconnect()
        self._limit.release(connection.permit)
        if error is not None:
            self._endpoint.watch.report_lost(error, connection.generation)

    def _error(self, problem: str) -> StoreError:
        return StoreError(f"Redis session store at {self.address}: {problem}")

    def _late(self) -> StoreError:
        return self._error("the server gave no answer in time. Check its load, or raise SESSION_STORE_TIMEOUT.")

    def _unreachable(self) -> StoreError:
        return self._error("the server cannot be reached. Check that it runs, and its address in the Redis URL.")

    def _refused(self, refusal: _Refusal) -> StoreError:
        # Only the first six words, because the server's text may quote the arguments of the command after them.
        problem = f"the server refuses the command: {' '.join(refusal.text.split()[:6])}"
        if refusal.text.startswith("NOSCRIPT"):
            return ScriptMissingError(problem)
        # After a failover this server may be a replica, which refuses writes. New connections go to the master.
        self.close()
        return self._error(problem)

    def _forget_inherited(self) -> None:
        self._idle.clear()

    def close(self) -> None:
        while (permit := self._idle.close_one_idle()) is not None:
            self._limit.release(permit)


class _Refusal:
    """An error that the server has sent as its answer."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class _Connection:
    """One authenticated connection. It can parse the kinds of answers that the commands of a store have."""

    __slots__ = ("_connection", "_socket", "disconnect", "generation", "permit", "unread")

    def __init__(self, connection: Any, permit: Permit) -> None:
        self._connection = connection
        #: Closes the connection. The driver's connections have the same method, so IdleConnections can close both.
        self.disconnect: Callable[[], None] = connection.disconnect
        self.permit = permit
        self.generation: int = connection.generation
        self._socket = connection._sock
        #: Returns, without waiting, a true value if the connection has unread bytes or was closed by the server.
        self.unread = _unread_check(self._socket)
        _set_kernel_timeout(self._socket)

    def ask(self, packed: bytes, read: AnswerParser[Result]) -> Result | _Refusal:
        """Send a command and return its answer, parsed by ``read``, or a :class:`_Refusal`.

        Raises OSError, and ValueError for an answer that the command cannot have. Then the caller must close the
        connection.
        """
        receive = self._socket.recv
        try:
            self._socket.sendall(packed)
            data = SecretBytes(receive(_CHUNK))
        except BlockingIOError as error:  # the kernel's error for a time-out
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
                raise UnexpectedAnswerError("The answer has a length below zero.")
        elif kind == b":":
            answer = int(data[1:end])
        elif kind == b"+" and data[1:end] == b"OK":
            answer = True
        elif kind == b"-":
            answer = _Refusal(data[1:end].decode("utf-8", "replace"))
        elif kind != b"_":
            raise UnexpectedAnswerError("The answer is of a kind that no command of a store has.")
        if len(data) != end + 2 or not data.endswith(b"\r\n"):
            raise UnexpectedAnswerError("The server has sent more than one answer to one command.")
        return answer if kind == b"-" else read(answer)

    def _more(self, receive: Any) -> Any:
        try:
            data = receive(_CHUNK)
        except BlockingIOError as error:
            raise TimeoutError from error
        if not data:
            raise ConnectionError("The server has closed the connection.")
        return data


def _unread_check(connected: Any) -> Callable[[], object]:
    """Return a function whose result is true if the socket has unread bytes or was closed. It never waits.

    For a socket of the standard library the function calls poll(), which takes 0.3 µs. With gevent, poll() would let
    other greenlets run. So for a socket of gevent the function asks the kernel for the number of unread bytes, which
    takes 0.7 µs. This number is 0 for a closed socket, so the function does not notice that.
    """
    if type(connected).__module__ not in ("socket", "ssl"):
        descriptor, zero = connected.fileno(), bytes(4)
        return lambda: ioctl(descriptor, FIONREAD, zero) != zero
    poller = select.poll()
    poller.register(connected, select.POLLIN)
    poll = poller.poll
    if hasattr(connected, "pending"):  # a TLS socket, which may have read bytes from the kernel already
        pending = connected.pending
        return lambda: pending() or poll(0)
    return partial(poll, 0)


def _set_kernel_timeout(connected: Any) -> None:
    """Let the kernel end a call of the socket after the time-out, so that Python need not call poll() before each call.

    This saves two system calls for each command. Sockets of TLS, gevent and eventlet are not changed: TLS has its own
    way to wait, and a call of gevent's or eventlet's sockets must never block.
    """
    seconds = connected.gettimeout()
    if type(connected).__module__ != "socket" or seconds is None or not sys.platform.startswith("linux"):
        return
    timeval = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
    connected.settimeout(None)


class DelegatedTransport(Transport):
    """Sends each command by the application's client: of a cluster or Sentinel, of a subclass, or a replacement."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self.address = connector.label

    def call(self, read: AnswerParser[Result], command: tuple[bytes, ...]) -> Result:
        try:
            # NEVER_DECODE: the answer must stay bytes, even if the application's client has decode_responses=True.
            answer = self._connector.client.execute_command(command[0].decode(), *command[1:], NEVER_DECODE=True)
        except Exception as error:
            # The name of the error's class is compared, because each driver and each replacement has its own classes.
            name = type(error).__name__
            kind = ScriptMissingError if name == "NoScriptError" else StoreError
            problem = f"the client failed with {name}. Check that the server runs, and the client's settings."
            raise kind(f"Redis session store ({self.address}): {problem}") from error
        try:
            return read(answer)
        except UnexpectedAnswerError as error:
            raise StoreError(f"Redis session store ({self.address}): {_UNEXPECTED}") from error
