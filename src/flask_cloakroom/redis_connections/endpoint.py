"""The shared connections to one server: one connection limit for the server, and one pool for each set of options."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from .driver import Driver, find_driver, pool_class, shared_class
from .limit import ConnectionLimit
from .pool import ACQUIRE_TIMEOUT
from .sentinel import SentinelRoute
from .url import RedisURL, Topology
from .watch import ServerWatch

#: The default options of every connection. All values are seconds.
#:
#: socket_timeout is the default of redis-py 8. socket_connect_timeout: a server on the same network accepts within
#: milliseconds. If one packet is lost, it is sent again after one second (RFC 6298), and two seconds are enough.
#: health_check_interval is less than the time after which a firewall may cut an idle connection. Firewalls must wait at
#: least two hours (RFC 5382), but some wait only one minute.
DEFAULT_OPTIONS: Final[dict[str, Any]] = {
    "socket_timeout": 5.0,
    "socket_connect_timeout": 2.0,
    "health_check_interval": 30,
}

#: The number of retries after a lost connection, and the first and the longest pause in seconds; the pauses double.
#: All pauses together last about a second, as long as a restart of the server. A time-out causes no retry: the server
#: may have run the command, and the visitor has waited long enough.
RETRIES: Final = 4
FIRST_RETRY_PAUSE: Final = 0.05
LONGEST_RETRY_PAUSE: Final = 0.4

_endpoints: Final[weakref.WeakValueDictionary[Any, Endpoint]] = weakref.WeakValueDictionary()
# A fork waits until no other thread has the lock. Otherwise the lock could be locked for ever in the child, which lacks
# the thread that would release it.
_lock: Final = threading.RLock()
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class Endpoint:
    """A server or a Sentinel service, with one Redis user and one database: the parts of a URL without its options.

    Python deletes an endpoint and its pools when no client uses them any more.
    """

    def __init__(self, driver: Driver, url: RedisURL, folder: Path | None, sentinel_options: dict[str, Any]) -> None:
        self.driver = driver
        self.label = str(url)
        #: The function that asks Sentinel which server is the master, to be called before an idle connection is used.
        #: None without Sentinel.
        self.recheck_master: Callable[[], None] | None = None
        self.is_embedded = url.topology is Topology.EMBEDDED
        self.limit = ConnectionLimit()
        self.watch = ServerWatch(self.label)
        # The options that every connection needs to find the server and to authenticate.
        self._address: dict[str, Any] = {"db": url.db, "username": url.username, "password": url.password}
        kind = "SSLConnection" if url.tls else "Connection"
        match url.topology:
            case Topology.SOCKET:
                kind = "UnixDomainSocketConnection"
                self._address["path"] = url.path
            case Topology.EMBEDDED:
                kind = "UnixDomainSocketConnection"
                self._address["route"] = _embedded_route(driver, folder, self.watch)
            case Topology.SENTINEL:
                route = SentinelRoute(driver, url.hosts, url.service, self.watch, self.limit, **sentinel_options)
                self.recheck_master = route.recheck_master
                self._address |= {"route": route, driver.connect_hook: route.authenticate}
            case _:
                self._address["host"], self._address["port"] = url.hosts[0]
        self._connection_class = getattr(driver.connection, kind)
        self._is_limited = False
        self._pools: weakref.WeakValueDictionary[Any, Any] = weakref.WeakValueDictionary()

    def _set_limit(self, maximum: int) -> None:
        # If clients of one server set different limits, the lowest is valid. The default limit is not one of these.
        self.limit.maximum = min(maximum, self.limit.maximum) if self._is_limited else maximum
        self._is_limited = True
        if self.limit.open_count > self.limit.maximum:
            self.limit.close_idle()

    def pool(self, options: dict[str, Any]) -> Any:
        """Return the pool of connections with these options. Clients with equal options get the same pool."""
        options = dict(options)
        if maximum := options.pop("max_connections", None):
            self._set_limit(maximum)
        timeout = options.pop("timeout", ACQUIRE_TIMEOUT)
        key = hashable({**options, "timeout": timeout})
        with _lock:
            pool = self._pools.get(key)
            if pool is None:
                retry = self.driver.retry(RETRIES, FIRST_RETRY_PAUSE, LONGEST_RETRY_PAUSE)
                pool = pool_class(self.driver)(
                    self._connection_class,
                    timeout=timeout,
                    limit=self.limit,
                    watch=self.watch,
                    **{**DEFAULT_OPTIONS, "retry": retry, **self._address, **options},
                )
                pool.endpoint = self
                self._pools[key] = pool
        return pool

    def connection(self, **options: Any) -> Any:
        """Return a new connection that belongs to no pool and is not connected yet. ``limit`` does not count it."""
        return shared_class(self._connection_class)(watch=self.watch, **{**self._address, **options})


@atexit.register
def _close_idle() -> None:
    # At the end of the process, close only idle connections: the threads that still run may use the other connections.
    for endpoint in list(_endpoints.values()):
        endpoint.limit.close_idle()


def endpoint_for(
    url: RedisURL, driver: Driver | None = None, folder: Path | None = None, **sentinel_options: Any
) -> Endpoint:
    """Return the endpoint of ``url``. The same server, Redis user and database have the same Endpoint object.

    ``folder`` is the instance folder, where the embedded server has its files. Raises ImportError if no driver is
    installed, or if ``embedded://`` is used and the program of the embedded server is not installed.
    """
    driver = driver or find_driver()
    where = (url.topology, url.tls, url.hosts, url.path, url.service, url.db, url.username, url.password)
    key = (driver.name, where, str(folder) if url.topology is Topology.EMBEDDED else "", hashable(sentinel_options))
    with _lock:
        endpoint = _endpoints.get(key)
        if endpoint is None:
            endpoint = _endpoints[key] = Endpoint(driver, url, folder, sentinel_options)
    return endpoint


def _embedded_route(driver: Driver, folder: Path | None, watch: ServerWatch) -> Any:
    from .embedded.route import EmbeddedRoute

    if folder is None:
        raise ValueError("embedded:// needs the application's instance folder. Pass it to connect() as folder.")
    return EmbeddedRoute(driver, folder / "redis", watch)


def hashable(value: Any) -> Any:
    """Return an object that can be the key of a dict. Two results are equal only if the two values are equal.

    A value without a hash is replaced by its ``id()``.
    """
    if isinstance(value, dict):
        return tuple(sorted((name, hashable(each)) for name, each in value.items()))
    if isinstance(value, list | tuple | set):
        return tuple(hashable(each) for each in value)
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value
