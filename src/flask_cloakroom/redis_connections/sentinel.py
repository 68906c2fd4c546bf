"""Find the master by asking Sentinel, and connect to nothing but a master."""

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
from .limit import ConnectionLimit
from .watch import ServerWatch

#: Seconds to connect to one Sentinel, and seconds to wait for its answer. A Sentinel answers from memory: if one takes
#: longer, the next is asked. All of the usual three are tried within the time of a page.
SENTINEL_TIMEOUT: Final = 0.5

#: Seconds for which an answer of Sentinel counts. Afterwards the next command asks again. A failover takes longer than
#: this (Sentinel's down-after time plus a vote), and to ask takes about as long as a command.
MASTER_TTL: Final = 1.0
#: The same after no Sentinel answered. If all Sentinels are gone and the master is not, pages must not wait for them
#: each second.
MASTER_TTL_WITHOUT_SENTINEL: Final = 30.0


class SentinelRoute:
    """Gives each new connection the address of a service's master, and checks that the server is a master.

    The driver's own class for this keeps the old address while it tries again. It also believes Sentinel, whose answer
    can be out of date.
    """

    def __init__(
        self,
        driver: Driver,
        hosts: tuple[tuple[str, int], ...],
        service: str,
        watch: ServerWatch,
        limit: ConnectionLimit,
        **options: Any,
    ) -> None:
        """Make the clients of the Sentinels. ``options`` are those of the connections to the Sentinels themselves."""
        self._errors = driver.exceptions
        self._service = service
        self._watch = watch
        self._limit = limit
        # Without retries: if one Sentinel does not answer, the next is asked.
        defaults = {"retry": driver.retry(0), "retry_on_error": []}
        timeouts = {"socket_timeout": SENTINEL_TIMEOUT, "socket_connect_timeout": SENTINEL_TIMEOUT}
        options = {**defaults, **timeouts, **options}
        self._sentinels: tuple[Any, ...] = tuple(driver.client(host=host, port=port, **options) for host, port in hosts)
        self._query_numbers = itertools.count()
        #: The number of the latest query that was answered, and the master's address from that answer.
        self._master: tuple[int, tuple[str, int] | None] = (-1, None)
        #: Until when the answer counts, by the monotonic clock.
        self._valid_until = 0.0
        call_in_child(self._reset)
        self._reset()

    def _reset(self) -> None:
        # In a forked child: another thread may have held a lock, and the connections belong to the parent.
        self._lock = threading.Lock()
        self._query_lock = threading.Lock()
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()

    def set_address(self, connection: Any) -> None:
        """Give ``connection`` the master's address. Raises the driver's ConnectionError if no Sentinel knows it."""
        connection.query_number = next(self._query_numbers)
        connection.host, connection.port = self._query()

    def recheck_master(self) -> None:
        """Ask for the master again if the last answer is too old. Close connections to a server that is no master now.

        Idle connections need this. A master that hung during a failover, and then goes on, still takes itself for the
        master until a Sentinel reaches it. A process that sent it no command meanwhile has noticed nothing.
        """
        if time.monotonic() < self._valid_until:
            return
        with self._query_lock:
            if time.monotonic() < self._valid_until:
                return  # another thread has asked meanwhile
            query_number = next(self._query_numbers)
            try:
                address = self._query()
            except self._errors.ConnectionError:
                self._valid_until = time.monotonic() + MASTER_TTL_WITHOUT_SENTINEL
                return
            self._valid_until = time.monotonic() + MASTER_TTL
            self._set_master(address, query_number)

    def _query(self) -> tuple[str, int]:
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
                # Ask this Sentinel first from now on. In a new tuple, because other threads may iterate over the old.
                self._sentinels = (sentinel, *(other for other in self._sentinels if other is not sentinel))
            host, port = found
            return (host.decode() if isinstance(host, bytes) else str(host)), int(port)
        problem = "knows this service. Check its name" if unknown else "answers. Check their addresses"
        raise self._errors.ConnectionError(f"Redis ({self._watch.label}): no Sentinel {problem} in the URL.")

    def authenticate(self, connection: Any) -> None:
        """Authenticate a new connection, and refuse a server that is no master. The driver calls this as its hook."""
        # Before a first command the driver checks the connection's health. If the check fails, the driver connects
        # again and calls this hook again. With a server that requires a password this would never end.
        interval, connection.health_check_interval = connection.health_check_interval, 0
        try:
            connection.on_connect()
            connection.send_command("ROLE")
        finally:
            connection.health_check_interval = interval
        try:
            role = connection.read_response()[0]
        except self._errors.NoPermissionError:
            role = "master"  # this user may not ask; if the server is a replica, it refuses writes itself
        address = (connection.host, connection.port)
        if role not in (b"master", "master") or not self._set_master(address, connection.query_number, connection):
            connection.disconnect()
            raise self._errors.ConnectionError(
                f"Redis ({self._watch.label}): the server that Sentinel named is no longer the master. Try again."
            )

    def _set_master(self, address: tuple[str, int], query_number: int, connection: Any = None) -> bool:
        """Store the master's address; return False if a later query has found another one.

        If the master has moved, shut down all connections to the old one, also those that wait for an answer. A server
        that hung would answer them later, as if it were still the master.
        """
        with self._lock:
            latest, present = self._master
            if address != present and query_number < latest:
                return False
            self._master = max(latest, query_number), address
            others = [other for other in self._connections if (other.host, other.port) != address]
            if connection is not None:
                self._connections.add(connection)
        if self._watch.set_master("{}:{}".format(*address)):
            self._limit.close_idle()
            for other in others:
                _shut_down(other)
        return True

    def handle_error(self, connection: Any, error: Exception) -> None:
        """Raise the driver's ConnectionError if a former master refuses a write: the driver then connects again."""
        if isinstance(error, self._errors.ReadOnlyError):
            connection.disconnect()
            raise self._errors.ConnectionError("The master has become a replica. Try again.") from error


def _shut_down(connection: Any) -> None:
    """Shut down a connection that another thread may be reading from. That thread sees the end of the connection."""
    connected = connection._sock
    with contextlib.suppress(OSError):
        if isinstance(connected, socket.socket):
            # Not with TLS's own method: it removes the encryption while the other thread reads.
            socket.socket.shutdown(connected, socket.SHUT_RDWR)
        elif connected is not None:
            connected.shutdown(socket.SHUT_RDWR)
