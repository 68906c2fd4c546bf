"""Where connections lead: whoever asks for the same server shares one bound, and with the same options one pool."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ..forking import call_in_child
from .driver import Driver, find_driver
from .limit import Bound
from .pool import WAIT
from .sentinel import SentinelRoute
from .url import RedisURL, Topology
from .watch import Watch

#: Options that every connection has unless somebody says otherwise. Seconds.
#:
#: socket_timeout: the driver's own number (redis-py 8). socket_connect_timeout: a server on the same network accepts
#: in milliseconds; two seconds outlast one lost packet (RFC 6298 sends it again after one). health_check_interval: less
#: than the idle time after which a middlebox may forget a connection (RFC 5382 allows none under two hours, but a
#: minute is seen).
DEFAULTS: Final[dict[str, Any]] = {
    "socket_timeout": 5.0,
    "socket_connect_timeout": 2.0,
    "health_check_interval": 30,
}

#: A lost connection is tried again so often, after a pause that begins with so many seconds and doubles up to so many.
#: Together at most about a second: what a restart of the server takes. A time-out is not tried again: the command may
#: have been done, and the page has waited long enough.
RETRIES: Final = 4
RETRY_FIRST: Final = 0.05
RETRY_LONGEST: Final = 0.4


class Endpoint:
    """What a URL names without its options: a server or a Sentinel service, as one user, with one database.

    It lives as long as somebody uses it, and so do its pools.
    """

    def __init__(self, driver: Driver, url: RedisURL, folder: Path | None, sentinel_options: dict[str, Any]) -> None:
        self.driver = driver
        self.label = str(url)
        #: Asks Sentinel anew who is the master, where there is one; for who takes a connection that lay idle.
        self.look_again: Callable[[], None] | None = None
        self.is_embedded = url.topology is Topology.EMBEDDED
        self.bound = Bound()
        self.watch = Watch(self.label)
        # What every connection needs to find the server and to get in.
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
                route = SentinelRoute(driver, url.hosts, url.service, self.watch, self.bound, **sentinel_options)
                self.look_again = route.look_again
                self._address |= {"route": route, driver.connect_hook: route.greet}
            case _:
                self._address["host"], self._address["port"] = url.hosts[0]
        self._connection_class = getattr(driver.connection, kind)
        self._bounded = False
        self._pools: weakref.WeakValueDictionary[Any, Any] = weakref.WeakValueDictionary()

    def allow(self, max_connections: int | None) -> None:
        """Bound the connections of this place. Of several bounds the lowest counts."""
        if max_connections:
            self.bound.most = min(max_connections, self.bound.most) if self._bounded else max_connections
            self._bounded = True
            if self.bound.open > self.bound.most:
                self.bound.close_idle()

    def pool(self, options: dict[str, Any]) -> Any:
        """Return the pool of connections with these options, which others may use already."""
        options = dict(options)
        self.allow(options.pop("max_connections", None))
        wait = options.pop("timeout", WAIT)
        key = frozen({**options, "timeout": wait})
        with _registry.lock:
            pool = self._pools.get(key)
            if pool is None:
                pool = self.driver.pool_class(
                    self._connection_class,
                    timeout=wait,
                    bound=self.bound,
                    watch=self.watch,
                    **{**DEFAULTS, "retry": self._retry(), **self._address, **options},
                )
                pool.endpoint = self
                self._pools[key] = pool
        return pool

    def connection(self, **options: Any) -> Any:
        """Return a new connection, not yet connected, that belongs to no pool. Counting it is up to the caller."""
        kind = self.driver.shared(self._connection_class)
        return kind(watch=self.watch, **{**self._address, **options})

    def _retry(self) -> Any:
        return self.driver.retry(RETRIES, RETRY_FIRST, RETRY_LONGEST)


class _Registry:
    """The endpoints of this process."""

    def __init__(self) -> None:
        self.endpoints: weakref.WeakValueDictionary[Any, Endpoint] = weakref.WeakValueDictionary()
        self.lock = threading.RLock()
        self._closes_at_exit = False
        call_in_child(self._renew_lock)

    def close_at_exit(self) -> None:
        """Close what lies idle when the process ends; what is in use ends with its thread."""
        if not self._closes_at_exit:
            self._closes_at_exit = True
            atexit.register(self._close_idle)

    def _close_idle(self) -> None:
        for endpoint in list(self.endpoints.values()):
            endpoint.bound.close_idle()

    def _renew_lock(self) -> None:
        self.lock = threading.RLock()


_registry: Final = _Registry()


def endpoint_for(
    url: RedisURL, driver: Driver | None = None, folder: Path | None = None, **sentinel_options: Any
) -> Endpoint:
    """Return the endpoint that ``url`` leads to, the same one for the same server, user and database.

    ``folder`` is where the embedded server has its files. Raises ImportError without a driver, or without the embedded
    server's program.
    """
    driver = driver or find_driver()
    where = (url.topology, url.tls, url.hosts, url.path, url.service, url.db, url.username, url.password)
    key = (driver.name, where, str(folder) if url.topology is Topology.EMBEDDED else "", frozen(sentinel_options))
    with _registry.lock:
        endpoint = _registry.endpoints.get(key)
        if endpoint is None:
            endpoint = _registry.endpoints[key] = Endpoint(driver, url, folder, sentinel_options)
            _registry.close_at_exit()
    return endpoint


def _embedded_route(driver: Driver, folder: Path | None, watch: Watch) -> Any:
    from .embedded.route import EmbeddedRoute

    if folder is None:
        raise ValueError("embedded:// needs to know where the application's instance folder is")
    return EmbeddedRoute(driver, folder / "redis", watch)


def frozen(value: Any) -> Any:
    """Return something hashable that equals another only if the values do; of what can't be hashed, its identity."""
    if isinstance(value, dict):
        return tuple(sorted((name, frozen(each)) for name, each in value.items()))
    if isinstance(value, list | tuple | set):
        return tuple(frozen(each) for each in value)
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value
