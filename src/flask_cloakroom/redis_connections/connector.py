"""A client for a URL, made of shared connections."""

from __future__ import annotations

import inspect
import threading
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from ..forking import call_in_child
from ..secret import Secret
from .driver import Driver, driver_of, find_driver
from .embedded.production import Application, ProductionWarning
from .endpoint import DEFAULTS, RETRIES, RETRY_FIRST, RETRY_LONGEST, Endpoint, endpoint_for
from .url import DEFAULT_HOST, SERVER_PORT, UNREADABLE, RedisURL, Topology, parse_url
from .watch import Listener, Watch

# Options that make a client one of its own kind, whose connections nobody else can use: it is then the driver's own.
_UNSHARED: Final = frozenset(
    {"connection_pool", "connection_class", "single_connection_client", "credential_provider"}
    | {"redis_connect_func", "valkey_connect_func"}
    | {"cache", "cache_config", "cache_factory", "event_dispatcher", "maint_notifications_config"}
)
_SENTINEL_PREFIX: Final = "sentinel_"


# What else a connection of another kind, to the same server, must have; time-outs, retries and decoding are its own.
_ON_EVERY_SOCKET: Final = frozenset(
    {"credential_provider", "client_name", "protocol", "redis_connect_func", "valkey_connect_func"}
    | {"socket_keepalive", "socket_keepalive_options", "socket_type"}
)

#: An endpoint, and the options of connections to it.
Sockets = tuple[Endpoint, dict[str, Any]]


class Connector(ABC):
    """How a client is had, and what can be said of it without connecting."""

    #: Where it leads, without credentials.
    label: str

    @property
    @abstractmethod
    def client(self) -> Any:
        """The driver's client, the same at each call. It connects at its first command."""

    @property
    def sockets(self) -> Sockets | None:
        """What it takes to ask the same server without the client; None where the client must be asked."""
        return None

    def listen(self, listener: Listener) -> None:  # noqa: B027 (it is no duty: of some clients nothing is known)
        """Call ``listener`` with what happens to connections (see :data:`~.watch.Event`), as far as that is known."""

    def warn_in_production(self, app: Application) -> None:  # noqa: B027 (most servers are fit for production)
        """Log a warning, before the first use, if this is not for production and ``app`` looks like it."""


@runtime_checkable
class UsesRedis(Protocol):
    """A store that has its connections from here."""

    connector: Connector


class ServerConnector(Connector):
    """One server, or the master of a Sentinel service."""

    def __init__(self, endpoint: Endpoint, options: dict[str, Any]) -> None:
        self.label = endpoint.label
        self._endpoint = endpoint
        self._options = options
        self._client = endpoint.driver.client(connection_pool=endpoint.pool(options))
        self._listeners: list[Listener] = []

    @property
    def client(self) -> Any:
        """The driver's client, on a pool that is shared."""
        return self._client

    @property
    def sockets(self) -> Sockets:
        """The endpoint."""
        return self._endpoint, _for_every_socket(self._options)

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with what happens to connections."""
        self._listeners.append(listener)
        self._endpoint.watch.listen(listener)

    def warn_in_production(self, app: Application) -> None:
        """Log a warning, before the first use, if this is the embedded server and ``app`` is not in debug mode."""
        if self._endpoint.is_embedded:
            self.listen(ProductionWarning(app))


class GivenClient(Connector):
    """A client that somebody else made."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.label = type(client).__name__

    @property
    def client(self) -> Any:
        """The client, as it was given."""
        return self._client

    @property
    def sockets(self) -> Sockets | None:
        """The server of a plain client of redis-py or valkey-py: asking it is all that calling the client does."""
        driver = driver_of(self._client)
        if driver is None or not driver.is_plain(self._client):
            return None
        pool = self._client.connection_pool
        given = pool.connection_kwargs
        kind = pool.connection_class.__name__
        shared: dict[str, Any] = _closed({name: given.get(name) for name in ("username", "password")})
        shared["db"] = given.get("db") or 0
        if kind == "UnixDomainSocketConnection":
            url = RedisURL(Topology.SOCKET, False, path=str(given.get("path", "")), **shared)
        else:
            hosts = ((given.get("host", DEFAULT_HOST), int(given.get("port", SERVER_PORT))),)
            url = RedisURL(Topology.SERVER, kind == "SSLConnection", hosts=hosts, **shared)
        return endpoint_for(url, driver), _for_every_socket(given)


def _for_every_socket(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in options if name in _ON_EVERY_SOCKET or name.startswith("ssl_")}


class ClusterConnector(Connector):
    """Redis Cluster. The driver's client asks the nodes for the slots as it is made, so it is made at its first use."""

    def __init__(self, driver: Driver, url: RedisURL, options: dict[str, Any]) -> None:
        self.label = str(url)
        self._driver = driver
        self._url = url
        self._options = options
        self._listeners: list[Listener] = []
        self._client: Any = None
        self._lock = threading.Lock()
        call_in_child(self._start_anew)

    @property
    def client(self) -> Any:
        """The driver's client. Raises the driver's errors if no node can be asked."""
        if self._client is None:
            with self._lock:
                if self._client is None:
                    self._client = self._make()
        return self._client

    def _make(self) -> Any:
        driver, url = self._driver, self._url
        host, port = url.hosts[0]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        options = {**DEFAULTS, **self._options}
        if "retry" in inspect.signature(driver.cluster.__init__).parameters:
            options.setdefault("retry", driver.retry(RETRIES, RETRY_FIRST, RETRY_LONGEST))
        pool_class = type("ClusterPool", (driver.pool_class,), {"make_watch": staticmethod(self._watch)})
        # As a URL, because only then does the driver let another class make the nodes' pools.
        return driver.cluster(
            url=f"{'rediss' if url.tls else 'redis'}://{address}",
            startup_nodes=[driver.node(*where) for where in url.hosts[1:]],
            connection_pool_class=pool_class,
            username=url.username,
            password=url.password,
            **options,
        )

    def _watch(self, label: str) -> Watch:
        watch = Watch(f"{label} of {self.label}")
        for listener in self._listeners:
            watch.listen(listener)
        return watch

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with what happens to connections that are made from now on."""
        self._listeners.append(listener)

    def _start_anew(self) -> None:
        """In a forked child: another thread may have held the client's locks."""
        self._client = None
        self._lock = threading.Lock()


def connect(url: str, *, folder: Path | None = None, **options: Any) -> Connector:
    """Return how to get a client for ``url``. Nothing is connected yet.

    ``options`` are the driver's, and ``max_connections`` and ``timeout`` (seconds to wait for a free connection); those
    in the URL win, as the drivers have it. ``folder`` is the instance folder, for ``embedded://``.

    Raises ValueError for a URL or an option that cannot be, with no part of the URL in it, and ImportError with what to
    install.
    """
    url, options = Secret(url), _closed(options)
    parsed = parse_url(url)
    driver = find_driver()
    options = {**options, **_typed(driver, parsed.options)}
    sentinel_options = {name: options.pop(name) for name in list(options) if name.startswith(_SENTINEL_PREFIX)}
    if sentinel_options and parsed.topology is not Topology.SENTINEL:
        raise ValueError(f"unknown option {min(sentinel_options)}: it is for redis+sentinel:// alone")
    if parsed.topology is Topology.CLUSTER:
        return ClusterConnector(driver, parsed, options)
    if options.keys() & _UNSHARED:
        return GivenClient(_unshared(driver, parsed, url, options))
    parsed, options = _addressed(parsed, options)
    endpoint = endpoint_for(
        parsed,
        driver,
        folder,
        **{name.removeprefix(_SENTINEL_PREFIX): value for name, value in sentinel_options.items()},
    )
    try:
        _check_options(endpoint, options)
    except ValueError:
        # With an @ behind the question mark, that mark may have been one of a password's, and the option's name too.
        if "@" in url.partition("?")[2]:
            raise ValueError(UNREADABLE) from None
        raise
    return ServerConnector(endpoint, options)


def _closed(options: dict[str, Any]) -> dict[str, Any]:
    """Return options whose passwords no error report shows: not even from the driver's own frames."""
    return {
        name: Secret(value) if isinstance(value, str) and "password" in name else value
        for name, value in options.items()
    }


def _typed(driver: Driver, options: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    typed = {}
    for name, text in _closed(dict(options)).items():
        try:
            typed[name] = driver.cast(name, text)
        except (TypeError, ValueError):
            raise ValueError(f"the option {name} of this Redis URL has a value of the wrong kind") from None
    return typed


def _addressed(url: RedisURL, options: dict[str, Any]) -> tuple[RedisURL, dict[str, Any]]:
    """Move what says where and who from the keyword arguments to the URL, where the URL does not say it."""
    for name in ("host", "port", "path"):
        if name in options:
            raise ValueError(f"{name} must stand in the URL, not beside it")
    found = {name: options.pop(name) for name in ("db", "username", "password") if name in options}
    said = {"db": url.names_db, "username": url.username, "password": url.password}
    return replace(url, **{name: found[name] for name in found if found[name] is not None and not said[name]}), options


def _unshared(driver: Driver, url: RedisURL, text: str, options: dict[str, Any]) -> Any:
    if url.topology not in (Topology.SERVER, Topology.SOCKET):
        named = ", ".join(sorted(options.keys() & _UNSHARED))
        raise ValueError(f"{named} cannot be used with this kind of Redis URL; make the client yourself")
    scheme = "unix" if url.topology is Topology.SOCKET else "rediss" if url.tls else "redis"
    return driver.client.from_url(f"{scheme}://{text.partition('://')[2]}", **options)


def _check_options(endpoint: Endpoint, options: dict[str, Any]) -> None:
    """Make a connection and drop it, which connects nothing, but tells of an option that cannot be."""
    most, wait = options.get("max_connections"), options.get("timeout", 0)
    if most is not None and (type(most) is not int or most < 1):
        raise ValueError("max_connections must be a whole number, 1 or more")
    if type(wait) not in (int, float) or not 0 <= wait <= threading.TIMEOUT_MAX:
        raise ValueError("timeout must be seconds to wait for a free connection, 0 or more")
    try:
        endpoint.connection(**{name: options[name] for name in options.keys() - {"max_connections", "timeout"}})
    except TypeError as error:
        raise ValueError(f"Redis: {str(error).rpartition('() ')[2]}") from None
    except Exception as error:
        # The driver's, of any class. Its text may repeat a value, so only the names are told.
        named = ", ".join(sorted(options))
        raise ValueError(f"Redis: the driver refuses the value of one of {named} ({type(error).__name__})") from None
