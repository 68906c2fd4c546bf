"""Which server is the master, as Sentinel says."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import weakref
from typing import Any, Final

from ..forking import call_in_child
from .bound import Bound
from .driver import Driver
from .watch import Watch

#: Seconds for reaching one Sentinel, and for its answer. It answers from memory, so who takes longer is not there, and
#: the next one is asked; all three of the usual three are tried within the time of a page.
SENTINEL_TIMEOUT: Final = 0.5


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
        call_in_child(self._start_anew)
        self._start_anew()

    def _start_anew(self) -> None:
        # In a forked child: another thread may have held the lock, and the connections are the parent's.
        self._lock = threading.Lock()
        self._led: weakref.WeakSet[Any] = weakref.WeakSet()

    def lead(self, connection: Any) -> None:
        """Set where ``connection`` is to connect. Raises the driver's ConnectionError if no Sentinel knows."""
        connection.inquiry = next(self._inquiries)
        connection.host, connection.port = self._find_master()

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
        address = (connection.host, connection.port)
        with self._lock:
            inquiry, present = self._found
            if address != present and connection.inquiry < inquiry:
                return False
            self._found = max(inquiry, connection.inquiry), address
            others = [other for other in self._led if (other.host, other.port) != address]
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
