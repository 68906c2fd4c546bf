"""Ask Sentinel for the address of the master, and connect only to a server that is a master."""

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

#: Seconds to connect to one Sentinel, and seconds to wait for its answer. A Sentinel answers from memory within
#: milliseconds. After this time the next Sentinel is asked. With the usual three Sentinels, that is at most 3 seconds.
SENTINEL_TIMEOUT: Final = 0.5

#: Seconds for which an answer of Sentinel is valid. After that, the next command asks Sentinel again. A failover takes
#: longer (Sentinel's down-after time plus a vote), and the question takes about as long as a command.
MASTER_TTL: Final = 1.0
#: Seconds for which the old answer of Sentinel is valid if no Sentinel answers. If all Sentinels fail and the master
#: works, pages must not wait for the Sentinels every second.
MASTER_TTL_WITHOUT_SENTINEL: Final = 30.0


class SentinelRoute:
    """Gives each new connection the address of a service's master, and checks that the server is a master.

    The driver has a class for this, too. But its connections retry with the old address, and it does not check the role
    of a server, although the answer of a Sentinel can be out of date.
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
        """Make a client for each Sentinel in ``hosts``. ``options`` are options of the connections to the Sentinels."""
        self._errors = driver.exceptions
        self._service = service
        self._watch = watch
        self._limit = limit
        # No retries: if one Sentinel does not answer, the next Sentinel is asked.
        defaults = {"retry": driver.retry(0), "retry_on_error": []}
        timeouts = {"socket_timeout": SENTINEL_TIMEOUT, "socket_connect_timeout": SENTINEL_TIMEOUT}
        options = {**defaults, **timeouts, **options}
        self._sentinels: tuple[Any, ...] = tuple(driver.client(host=host, port=port, **options) for host, port in hosts)
        self._query_numbers = itertools.count()
        #: The number of the latest query that a Sentinel answered, and the master's address in that answer.
        self._master: tuple[int, tuple[str, int] | None] = (-1, None)
        #: The time until which the answer is valid, by ``time.monotonic()``.
        self._valid_until = 0.0
        call_in_child(self._reset)
        self._reset()

    def _reset(self) -> None:
        # Called in a forked child too: a thread of the parent may have had a lock, and the parent owns the connections.
        self._lock = threading.Lock()
        self._query_lock = threading.Lock()
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()

    def set_address(self, connection: Any) -> None:
        """Set host and port of ``connection`` to the master's address.

        Raises the driver's ConnectionError if no Sentinel answers with an address.
        """
        connection.query_number = next(self._query_numbers)
        connection.host, connection.port = self._query()

    def recheck_master(self) -> None:
        """Ask Sentinel for the master if the last answer is too old. If the master has moved, close old connections.

        Call this before an idle connection is used. If a master hangs during a failover and then goes on, it accepts
        writes until a Sentinel tells it that it is a replica. These writes would be lost.
        """
        if time.monotonic() < self._valid_until:
            return
        with self._query_lock:
            if time.monotonic() < self._valid_until:
                return  # another thread has asked Sentinel meanwhile
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
                # Ask this Sentinel first from now on. Make a new tuple, because other threads may iterate over the old.
                self._sentinels = (sentinel, *(other for other in self._sentinels if other is not sentinel))
            host, port = found
            return (host.decode() if isinstance(host, bytes) else str(host)), int(port)
        problem = "knows this service. Check the service's name" if unknown else "answers. Check the hosts"
        raise self._errors.ConnectionError(f"Redis ({self._watch.label}): no Sentinel {problem} in the URL.")

    def authenticate(self, connection: Any) -> None:
        """Authenticate a new connection, and check that its server is a master. The driver calls this method.

        Raises the driver's ConnectionError if the server is no master.
        """
        # With a health check interval, the driver would send a PING before AUTH. If the server requires a password, the
        # PING fails, and the driver connects and calls this method again, without end.
        interval, connection.health_check_interval = connection.health_check_interval, 0
        try:
            connection.on_connect()
            connection.send_command("ROLE")
        finally:
            connection.health_check_interval = interval
        try:
            role = connection.read_response()[0]
        except self._errors.NoPermissionError:
            role = "master"  # this Redis user may not send ROLE; a server that is a replica will refuse writes itself
        address = (connection.host, connection.port)
        if role not in (b"master", "master") or not self._set_master(address, connection.query_number, connection):
            connection.disconnect()
            raise self._errors.ConnectionError(
                f"Redis ({self._watch.label}): the server that Sentinel named is not the master now. Try again."
            )

    def _set_master(self, address: tuple[str, int], query_number: int, connection: Any = None) -> bool:
        """Store the master's address and return True. Return False if a later query has found another address.

        If the master has moved, shut down all connections to the old master, also connections that wait for an answer.
        Otherwise a server that hung would answer later, as if it were still the master.
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
        """Turn the refusal of a write by a former master into the driver's ConnectionError. The driver then reconnects.

        Any other error is ignored.
        """
        if isinstance(error, self._errors.ReadOnlyError):
            connection.disconnect()
            raise self._errors.ConnectionError("The master has become a replica. Try again.") from error


def _shut_down(connection: Any) -> None:
    """Shut down a connection, even while another thread waits for an answer. The other thread gets an error."""
    connected = connection._sock
    with contextlib.suppress(OSError):
        if isinstance(connected, socket.socket):
            # Do not call SSLSocket.shutdown(), which removes the encryption while the other thread reads.
            socket.socket.shutdown(connected, socket.SHUT_RDWR)
        elif connected is not None:
            connected.shutdown(socket.SHUT_RDWR)
