"""Make a Redis client for a URL, on connections that all clients of the same server share."""

from __future__ import annotations

import inspect
import threading
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from ..forking import call_in_child
from ..secret import Secret
from .driver import Driver, cast_option, driver_of, find_driver, pool_class
from .embedded.production import ProductionWarning
from .endpoint import DEFAULT_OPTIONS, FIRST_RETRY_PAUSE, LONGEST_RETRY_PAUSE, RETRIES, Endpoint, endpoint_for
from .url import DEFAULT_HOST, SERVER_PORT, UNREADABLE, RedisURL, Topology, parse_url
from .watch import Listener, ServerWatch

# Options with which a client's connections cannot be shared with other clients. With one of these options, the driver
# makes the client and its connections.
_PRIVATE_OPTIONS: Final = frozenset(
    {"connection_pool", "connection_class", "single_connection_client", "credential_provider"}
    | {"redis_connect_func", "valkey_connect_func"}
    | {"cache", "cache_config", "cache_factory", "event_dispatcher", "maint_notifications_config"}
)
_SENTINEL_PREFIX: Final = "sentinel_"


# The options of a client that direct_access passes on, because every connection to this server needs them. Time-outs,
# retries and decoding are not among them: each connection has its own.
_SERVER_OPTIONS: Final = frozenset(
    {"credential_provider", "client_name", "protocol", "redis_connect_func", "valkey_connect_func"}
    | {"socket_keepalive", "socket_keepalive_options", "socket_type"}
)

#: An endpoint, and the options that every connection to it needs.
DirectAccess = tuple[Endpoint, dict[str, Any]]


class Connector(ABC):
    """Makes a client available, and facts about the client that need no connection."""

    #: The server's address without user name and password.
    label: str

    @property
    @abstractmethod
    def client(self) -> Any:
        """The driver's client, always the same object. It connects at its first command."""

    @property
    def direct_access(self) -> DirectAccess | None:
        """The client's endpoint and its options, for connections without the client.

        None if all commands must go through the client.
        """
        return None

    def listen(self, listener: Listener) -> None:  # noqa: B027 (optional: some clients report no events)
        """Call ``listener`` with each :data:`~.watch.Event` of the client's connections, if the client reports any."""

    def warn_in_production(self, app: Any) -> None:  # noqa: B027 (optional: most servers may be used in production)
        """Log a warning before the first use if the server is not for production and ``app`` runs in production."""


@runtime_checkable
class UsesRedis(Protocol):
    """A store that sends its commands through a :class:`Connector`."""

    connector: Connector


class ServerConnector(Connector):
    """The connector for one server, or for the master of a Sentinel service."""

    def __init__(self, endpoint: Endpoint, options: dict[str, Any]) -> None:
        self.label = endpoint.label
        self._endpoint = endpoint
        self._options = options
        self._client = endpoint.driver.client(connection_pool=endpoint.pool(options))
        self._listeners: list[Listener] = []

    @property
    def client(self) -> Any:
        """The driver's client, which uses a shared pool of connections."""
        return self._client

    @property
    def direct_access(self) -> DirectAccess:
        """The endpoint of the server, and the options that every connection to it needs."""
        return self._endpoint, _server_options(self._options)

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with the events of the server's connections."""
        self._listeners.append(listener)
        self._endpoint.watch.listen(listener)

    def warn_in_production(self, app: Any) -> None:
        """Log a warning before the first use if this is the embedded server and ``app`` is not in debug mode."""
        if self._endpoint.is_embedded:
            self.listen(ProductionWarning(app))


class ExternalClient(Connector):
    """The connector for a client whose connections are its own, such as a client that the application made."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.label = type(client).__name__

    @property
    def client(self) -> Any:
        """The client that was given to the constructor."""
        return self._client

    @property
    def direct_access(self) -> DirectAccess | None:
        """The endpoint and options of the client's server. None if the client's class is not the driver's own class.

        A subclass may do more than send commands, so each command must go through it.
        """
        driver = driver_of(self._client)
        if driver is None or not driver.is_plain(self._client):
            return None
        pool = self._client.connection_pool
        given = pool.connection_kwargs
        kind = pool.connection_class.__name__
        shared: dict[str, Any] = _hide_passwords({name: given.get(name) for name in ("username", "password")})
        shared["db"] = given.get("db") or 0
        if kind == "UnixDomainSocketConnection":
            url = RedisURL(Topology.SOCKET, False, path=str(given.get("path", "")), **shared)
        else:
            hosts = ((given.get("host", DEFAULT_HOST), int(given.get("port", SERVER_PORT))),)
            url = RedisURL(Topology.SERVER, kind == "SSLConnection", hosts=hosts, **shared)
        return endpoint_for(url, driver), _server_options(given)


def _server_options(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in options if name in _SERVER_OPTIONS or name.startswith("ssl_")}


class ClusterConnector(Connector):
    """The connector for Redis Cluster. It makes the driver's client only at the first use of the client.

    The constructor of the driver's client connects to the nodes, and an application must start without a server.
    """

    def __init__(self, driver: Driver, url: RedisURL, options: dict[str, Any]) -> None:
        self.label = str(url)
        self._driver = driver
        self._url = url
        self._options = options
        self._listeners: list[Listener] = []
        self._client: Any = None
        self._lock = threading.Lock()
        call_in_child(self._reset)

    @property
    def client(self) -> Any:
        """The driver's client. Raises the driver's errors if no node answers."""
        if self._client is None:
            with self._lock:
                if self._client is None:
                    self._client = self._make()
        return self._client

    def _make(self) -> Any:
        driver, url = self._driver, self._url
        host, port = url.hosts[0]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        options = {**DEFAULT_OPTIONS, **self._options}
        if "retry" in inspect.signature(driver.cluster.__init__).parameters:
            options.setdefault("retry", driver.retry(RETRIES, FIRST_RETRY_PAUSE, LONGEST_RETRY_PAUSE))
        nodes_pool_class = type("ClusterPool", (pool_class(driver),), {"make_watch": staticmethod(self._make_watch)})
        # Pass the address as a URL: only with a URL, the driver accepts the argument connection_pool_class.
        return driver.cluster(
            url=f"{'rediss' if url.tls else 'redis'}://{address}",
            startup_nodes=[driver.node(*where) for where in url.hosts[1:]],
            connection_pool_class=nodes_pool_class,
            username=url.username,
            password=url.password,
            **options,
        )

    def _make_watch(self, label: str) -> ServerWatch:
        watch = ServerWatch(f"{label} of {self.label}")
        for listener in self._listeners:
            watch.listen(listener)
        return watch

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with the events of all connections to nodes that the client finds after this call."""
        self._listeners.append(listener)

    def _reset(self) -> None:
        # Called in a forked child. Another thread of the parent may have had the client's locks, so discard the client.
        self._client = None
        self._lock = threading.Lock()


def connect(url: str, *, folder: Path | None = None, **options: Any) -> Connector:
    """Return the connector for ``url``. The call makes no connection.

    ``options`` are options of the driver, and ``max_connections`` and ``timeout`` (seconds to wait for a free
    connection). An option in the URL replaces the same option in ``options``, as with the driver. ``folder`` is the
    instance folder, for ``embedded://``.

    Raises ValueError for a wrong URL or option; the error's text contains no part of the URL. Raises ImportError if no
    driver is installed; the error says what to install.
    """
    url, options = Secret(url), _hide_passwords(options)
    parsed = parse_url(url)
    driver = find_driver()
    options = {**options, **_cast_options(parsed.options)}
    sentinel_options = {name: options.pop(name) for name in list(options) if name.startswith(_SENTINEL_PREFIX)}
    if sentinel_options and parsed.topology is not Topology.SENTINEL:
        raise ValueError(f"The option {min(sentinel_options)} is allowed only with redis+sentinel://. Remove it.")
    if parsed.topology is Topology.CLUSTER:
        return ClusterConnector(driver, parsed, options)
    if options.keys() & _PRIVATE_OPTIONS:
        return ExternalClient(_private_client(driver, parsed, url, options))
    parsed, options = _move_address_to_url(parsed, options)
    endpoint = endpoint_for(
        parsed,
        driver,
        folder,
        **{name.removeprefix(_SENTINEL_PREFIX): value for name, value in sentinel_options.items()},
    )
    try:
        _check_options(endpoint, options)
    except ValueError:
        # With an @ after the question mark, the URL's password may contain the question mark. Then the name of the
        # option may be a part of the password, and the error must not show it.
        if "@" in url.partition("?")[2]:
            raise ValueError(UNREADABLE) from None
        raise
    return ServerConnector(endpoint, options)


def _hide_passwords(options: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of ``options`` with each password as a Secret, so that no error report shows the password.

    Error reports also show the local variables of the driver's functions.
    """
    return {
        name: Secret(value) if isinstance(value, str) and "password" in name else value
        for name, value in options.items()
    }


def _cast_options(options: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    values = {}
    for name, text in _hide_passwords(dict(options)).items():
        try:
            values[name] = cast_option(name, text)
        except (TypeError, ValueError):
            wanted = "VerifyFlags names" if "flags" in name else "a number" if "timeout" in name else "a whole number"
            raise ValueError(f"The option {name} of this Redis URL must be {wanted}. Change its value.") from None
    return values


def _move_address_to_url(url: RedisURL, options: dict[str, Any]) -> tuple[RedisURL, dict[str, Any]]:
    """Move the options db, username and password into the URL, and return both. A value in the URL is not replaced."""
    for name in ("host", "port", "path"):
        if name in options:
            raise ValueError(f"The keyword argument {name} is not allowed. Write the {name} into the Redis URL.")
    found = {name: options.pop(name) for name in ("db", "username", "password") if name in options}
    in_url = {"db": url.has_db, "username": url.username, "password": url.password}
    return replace(
        url, **{name: found[name] for name in found if found[name] is not None and not in_url[name]}
    ), options


def _private_client(driver: Driver, url: RedisURL, text: str, options: dict[str, Any]) -> Any:
    if url.topology not in (Topology.SERVER, Topology.SOCKET):
        names = ", ".join(sorted(options.keys() & _PRIVATE_OPTIONS))
        raise ValueError(f"This kind of Redis URL does not allow {names}. Make the client yourself, without a URL.")
    scheme = "unix" if url.topology is Topology.SOCKET else "rediss" if url.tls else "redis"
    return driver.client.from_url(f"{scheme}://{text.partition('://')[2]}", **options)


def _check_options(endpoint: Endpoint, options: dict[str, Any]) -> None:
    """Raise ValueError for wrong options. To find wrong options, make a connection object, which does not connect."""
    maximum, timeout = options.get("max_connections"), options.get("timeout", 0)
    if maximum is not None and (type(maximum) is not int or maximum < 1):
        raise ValueError("max_connections must be a whole number, 1 or more. Change its value.")
    if type(timeout) not in (int, float) or not 0 <= timeout <= threading.TIMEOUT_MAX:
        raise ValueError("timeout must be a number, 0 or more: the seconds to wait for a free connection. Change it.")
    try:
        endpoint.connection(**{name: options[name] for name in options.keys() - {"max_connections", "timeout"}})
    except TypeError as error:
        raise ValueError(f"Redis: {str(error).rpartition('() ')[2]}") from None
    except Exception as error:
        # The driver can raise errors of any class. The error's text may contain a password, so show only option names.
        names = ", ".join(sorted(options))
        problem = f"The driver refuses the value of a Redis option ({type(error).__name__})."
        raise ValueError(f"{problem} Check {names}.") from None
