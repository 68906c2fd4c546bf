"""Which server is the master, as Sentinel says."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
import weakref
from typing import Any, Final

from ..forking import call_in_child
from .driver import Driver
from .limit import Bound
from .watch import Watch

#: Seconds for reaching one Sentinel, and for its answer. It answers from memory, so who takes longer is not there, and
#: the next one is asked; all three of the usual three are tried within the time of a page.
SENTINEL_TIMEOUT: Final = 0.5

#: Seconds for which a process believes what it was told of the master before it asks again, as soon as it needs a
#: connection. A failover takes longer than that (Sentinel's shortest is down-after plus a vote), and asking takes about
#: as long as a command.
BELIEF: Final = 1.0
#: The same when no Sentinel answered: so that pages do not wait for them each second, when all of them are gone and the
#: master is not.
BELIEF_WITHOUT_SENTINELS: Final = 30.0


class SentinelRoute:
    """Leads each new connection to the master of a service, and makes sure that it is one.

    The driver's own way to do this keeps the old address while it tries again, and takes Sentinel's word for who is
    the master, which may be out of date.
    """

    def __init__(
        self,
        driver: Driver,
        hosts: tuple[tuple[str, int], ...],
        service: str,
        watch: Watch,
        bound: Bound,
        **options: Any,
    ) -> None:
        """``options`` are those of the connections to the Sentinels themselves."""
        self._errors = driver.exceptions
        self._service = service
        self._watch = watch
        self._bound = bound
        # Not tried again: the next one is asked.
        defaults = {"retry": driver.retry(0), "retry_on_error": []}
        timeouts = {"socket_timeout": SENTINEL_TIMEOUT, "socket_connect_timeout": SENTINEL_TIMEOUT}
        options = {**defaults, **timeouts, **options}
        self._sentinels: tuple[Any, ...] = tuple(driver.client(host=host, port=port, **options) for host, port in hosts)
        self._inquiries = itertools.count()
        #: The master that was found last, and by which inquiry.
        self._found: tuple[int, tuple[str, int] | None] = (-1, None)
        #: Until when, by the monotonic clock, that is believed.
        self._believed_until = 0.0
        call_in_child(self._start_anew)
        self._start_anew()

    def _start_anew(self) -> None:
        # In a forked child: another thread may have held the lock, and the connections are the parent's.
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._led: weakref.WeakSet[Any] = weakref.WeakSet()

    def lead(self, connection: Any) -> None:
        """Set where ``connection`` is to connect. Raises the driver's ConnectionError if no Sentinel knows."""
        connection.inquiry = next(self._inquiries)
        connection.host, connection.port = self._find_master()

    def look_again(self) -> None:
        """Ask who is the master, if that was not asked a moment ago, and leave the one that is it no more.

        For connections that lay idle: a server that hung and goes on takes itself for the master until a Sentinel
        reaches it, and who did not talk to it meanwhile has noticed nothing.
        """
        if time.monotonic() < self._believed_until:
            return
        with self._asking:
            if time.monotonic() < self._believed_until:
                return  # another thread has asked meanwhile
            inquiry = next(self._inquiries)
            try:
                address = self._find_master()
            except self._errors.ConnectionError:
                self._believed_until = time.monotonic() + BELIEF_WITHOUT_SENTINELS
                return
            self._believed_until = time.monotonic() + BELIEF
            self._note(address, inquiry)

    def _find_master(self) -> tuple[str, int]:
        unknown = False
        for sentinel in self._sentinels:
            try:
                found = sentinel.sentinel_get_master_addr_by_name(self._service)
            except self._errors.RedisError:
                continue
            if found is None:
                unknown = True
                continue
            if sentinel is not self._sentinels[0]:
                # Ask the one that answered first from now on. A new tuple: other threads walk on along the old one.
                self._sentinels = (sentinel, *(other for other in self._sentinels if other is not sentinel))
            host, port = found
            return (host.decode() if isinstance(host, bytes) else str(host)), int(port)
        what = "knows no service of that name" if unknown else "answers"
        raise self._errors.ConnectionError(f"Redis ({self._watch.label}): no Sentinel {what}")

    def greet(self, connection: Any) -> None:
        """Sign in, and refuse a server that is no master: for the driver's hook for new connections."""
        # Before a first command the driver checks the connection; if that fails it connects again, and so comes here
        # again. With a server that wants a password there would be no end to it.
        interval, connection.health_check_interval = connection.health_check_interval, 0
        try:
            connection.on_connect()
            connection.send_command("ROLE")
        finally:
            connection.health_check_interval = interval
        try:
            role = connection.read_response()[0]
        except self._errors.NoPermissionError:
            role = "master"  # this user may not ask; a write to a replica is refused by the replica
        if role not in (b"master", "master") or not self._is_present(connection):
            connection.disconnect()
            raise self._errors.ConnectionError(
                f"Redis ({self._watch.label}): the server that Sentinel named is no master any more"
            )

    def _is_present(self, connection: Any) -> bool:
        """Note where the master is; return False if another thread has been told of another one since.

        If it is another one than before, the connections to that one end, also those that somebody waits on: a server
        that hung would answer them later, as if it were the master still.
        """
        return self._note((connection.host, connection.port), connection.inquiry, connection)

    def _note(self, address: tuple[str, int], asked: int, connection: Any = None) -> bool:
        with self._lock:
            inquiry, present = self._found
            if address != present and asked < inquiry:
                return False
            self._found = max(inquiry, asked), address
            others = [other for other in self._led if (other.host, other.port) != address]
            if connection is not None:
                self._led.add(connection)
        if self._watch.master_is("{}:{}".format(*address)):
            self._bound.close_idle()
            for other in others:
                _cut(other)
        return True

    def check(self, connection: Any, error: Exception) -> None:
        """Turn the refusal of a master that became a replica into a lost connection, so that the next one asks anew."""
        if isinstance(error, self._errors.ReadOnlyError):
            connection.disconnect()
            raise self._errors.ConnectionError("the master has become a replica") from error

    def close(self) -> None:
        """Close the connections to the Sentinels."""
        for sentinel in self._sentinels:
            sentinel.close()


def _cut(connection: Any) -> None:
    """End a connection that another thread may be reading from: that one sees it closed by the server."""
    connected = connection._sock
    with contextlib.suppress(OSError):
        if isinstance(connected, socket.socket):
            # Not by TLS's own method, which would take the encryption from under who reads.
            socket.socket.shutdown(connected, socket.SHUT_RDWR)
        elif connected is not None:
            connected.shutdown(socket.SHUT_RDWR)
