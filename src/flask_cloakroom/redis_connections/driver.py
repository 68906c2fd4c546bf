"""The installed driver, redis-py or valkey-py, and what this package adds to its classes.

Both have the same classes under other names. They are subclassed at run time, because neither is needed until a
Redis URL is used, and either will do.
"""

from __future__ import annotations

import importlib
import inspect
import ssl
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, Final, NamedTuple

from .pool import BoundedPool, SharedConnection

_CLIENTS: Final = {"redis": ("Redis", "RedisCluster"), "valkey": ("Valkey", "ValkeyCluster")}

# The driver's own classes for connections.
_PLAIN: Final = ("Connection", "SSLConnection", "UnixDomainSocketConnection")


def _boolean(text: str) -> bool:
    return text.upper() not in ("", "0", "F", "FALSE", "N", "NO")  # redis-py's words


def _verify_flags(text: str) -> list[ssl.VerifyFlags]:
    try:
        return [ssl.VerifyFlags[flag.strip()] for flag in text.strip("[]").split(",")]
    except KeyError:
        raise ValueError from None


# What a URL's options are; what is not here is text. The drivers have such tables, which differ, and leave out some
# for which any text would then be true.
_TYPES: Final[dict[str, Callable[[str], Any]]] = {
    **dict.fromkeys(("socket_timeout", "socket_connect_timeout", "timeout"), float),
    **dict.fromkeys(("health_check_interval", "max_connections", "protocol", "socket_read_size"), int),
    "ssl_min_version": int,
    **dict.fromkeys(("decode_responses", "socket_keepalive", "retry_on_timeout", "ssl_check_hostname"), _boolean),
    **dict.fromkeys(("legacy_responses", "single_connection_client", "ssl_validate_ocsp"), _boolean),
    **dict.fromkeys(("ssl_include_verify_flags", "ssl_exclude_verify_flags"), _verify_flags),
}


class Driver(NamedTuple):
    """What is used of redis-py or valkey-py."""

    name: str
    client: Any
    cluster: Any
    node: Any
    connection: ModuleType
    exceptions: ModuleType

    def is_plain(self, client: Any) -> bool:
        """Whether it is exactly the driver's own client on its own connections, so that calling it is nothing more
        than asking the server. Subclasses and others do something of their own when they are called."""
        pool = getattr(client, "connection_pool", None)
        kind = getattr(pool, "connection_class", None)
        return (
            type(client) is self.client
            and kind in [getattr(self.connection, name) for name in _PLAIN]
            and type(pool).__module__ == self.connection.__name__
            and getattr(pool, "cache", None) is None
        )

    def shared(self, connection_class: Any) -> Any:
        """Return the driver's connection class with :class:`SharedConnection` before it."""
        return _with_mixin(SharedConnection, connection_class)

    @property
    def pool_class(self) -> Any:
        """The driver's pool with :class:`BoundedPool` before it."""
        return _pool_class(self.connection)

    def retry(self, times: int, first: float = 0.0, longest: float = 0.0) -> Any:
        """Return a policy that tries a lost connection again: ``times``, with pauses in seconds that double."""
        backoff = importlib.import_module(f"{self.name}.backoff").ExponentialBackoff(cap=longest, base=first)
        retry = importlib.import_module(f"{self.name}.retry").Retry
        return retry(backoff, times, supported_errors=(self.exceptions.ConnectionError,))

    def cast(self, name: str, value: str) -> Any:
        """Return the value of a URL's option as the type that the driver wants. Raises ValueError."""
        return _TYPES[name](value) if name in _TYPES else value

    @property
    def connect_hook(self) -> str:
        """The name of the option for what is called with a new connection, in place of signing in."""
        return f"{self.name}_connect_func"


def find_driver() -> Driver:
    """Return redis-py, or valkey-py where only that is installed. Raises ImportError with what to install."""
    for name in _CLIENTS:
        try:
            return load_driver(name)
        except ImportError:
            continue
    raise ImportError("a Redis URL needs a driver: pip install flask-cloakroom[redis]")


def load_driver(name: str) -> Driver:
    """Return the driver ``redis`` or ``valkey``. Raises ImportError."""
    module = importlib.import_module(name)
    client, cluster = _CLIENTS[name]
    return Driver(
        name,
        getattr(module, client),
        getattr(module, cluster),
        importlib.import_module(f"{name}.cluster").ClusterNode,
        importlib.import_module(f"{name}.connection"),
        importlib.import_module(f"{name}.exceptions"),
    )


def driver_of(client: Any) -> Driver | None:
    """Return the driver that a client is of, by its class; None for a stand-in."""
    for kind in type(client).__mro__:
        name = kind.__module__.partition(".")[0]
        if name in _CLIENTS:
            return load_driver(name)
    return None


@cache
def _with_mixin(mixin: type, base: type) -> type:
    return type(f"Shared{base.__name__}", (mixin, base), {"__module__": __name__})


@cache
def _pool_class(connection: ModuleType) -> type:
    base: Any = connection.ConnectionPool
    quiet: dict[str, Any] = {}
    if "maint_notifications_config" in inspect.signature(base.__init__).parameters:
        # Announcements of a managed service would come between command and answer, and asking for them is a round
        # trip for each connection.
        config = importlib.import_module("redis.maint_notifications").MaintNotificationsConfig
        quiet["maint_notifications_config"] = config(enabled=False)
    errors = importlib.import_module(f"{connection.__name__.partition('.')[0]}.exceptions")
    namespace = {
        "__module__": __name__,
        "errors": errors,
        "default_connection_class": connection.Connection,
        "wrap": staticmethod(lambda kind: _with_mixin(SharedConnection, kind)),
        "fixed_options": quiet,
    }
    return type("BoundedConnectionPool", (BoundedPool, base), namespace)
