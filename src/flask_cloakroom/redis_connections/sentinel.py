"""Which server is the master, as Sentinel says."""

from __future__ import annotations

from typing import Any, Final

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

    def lead(self, connection: Any) -> None:
        """Set where ``connection`` is to connect. Raises the driver's ConnectionError if no Sentinel knows."""
        host, port = self._find_master()
        if self._watch.master_is(f"{host}:{port}"):
            self._bound.close_idle()  # they lead to the one before
        connection.host, connection.port = host, port

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
        """Sign in, and refuse a server that is no master: for the driver's ``redis_connect_func``."""
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
            return  # this user may not ask; a write to a replica is refused by the replica
        if role not in (b"master", "master"):
            connection.disconnect()
            raise self._errors.ConnectionError(
                f"Redis ({self._watch.label}): the server that Sentinel names is no master"
            )

    def check(self, connection: Any, error: Exception) -> None:
        """Turn the refusal of a master that became a replica into a lost connection, so that the next one asks anew."""
        if isinstance(error, self._errors.ReadOnlyError):
            connection.disconnect()
            raise self._errors.ConnectionError("the master has become a replica") from error

    def close(self) -> None:
        """Close the connections to the Sentinels."""
        for sentinel in self._sentinels:
            sentinel.close()
