"""The installed driver, redis-py or valkey-py, and what this package adds to its classes.

Both drivers have the same classes under other names. The subclasses are made at run time, because a driver is loaded
only when a Redis URL is used.
"""

from __future__ import annotations

import importlib
import inspect
import ssl
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, Final, NamedTuple

from .pool import LimitedPool, SharedConnection

_CLIENTS: Final = {"redis": ("Redis", "RedisCluster"), "valkey": ("Valkey", "ValkeyCluster")}

_CONNECTION_CLASSES: Final = ("Connection", "SSLConnection", "UnixDomainSocketConnection")


def _boolean(text: str) -> bool:
    return text.upper() not in ("", "0", "F", "FALSE", "N", "NO")  # the words that redis-py knows


def _verify_flags(text: str) -> list[ssl.VerifyFlags]:
    try:
        return [ssl.VerifyFlags[flag.strip()] for flag in text.strip("[]").split(",")]
    except KeyError:
        raise ValueError from None


# The types of a URL's options. All others are text. The drivers have tables of their own, which differ and lack some
# options: the text "no" would then count as true.
_OPTION_TYPES: Final[dict[str, Callable[[str], Any]]] = {
    **dict.fromkeys(("socket_timeout", "socket_connect_timeout", "timeout"), float),
    **dict.fromkeys(("health_check_interval", "max_connections", "protocol", "socket_read_size"), int),
    "ssl_min_version": int,
    **dict.fromkeys(("decode_responses", "socket_keepalive", "retry_on_timeout", "ssl_check_hostname"), _boolean),
    **dict.fromkeys(("legacy_responses", "single_connection_client", "ssl_validate_ocsp"), _boolean),
    **dict.fromkeys(("ssl_include_verify_flags", "ssl_exclude_verify_flags"), _verify_flags),
}


class Driver(NamedTuple):
    """The classes and modules of redis-py or valkey-py that this package uses."""

    name: str
    client: Any
    cluster: Any
    node: Any
    connection: ModuleType
    exceptions: ModuleType

    def is_plain(self, client: Any) -> bool:
        """Tell whether ``client`` is exactly the driver's own client on the driver's own connections.

        Such a client does nothing but ask the server. A subclass may do more at each command.
        """
        pool = getattr(client, "connection_pool", None)
        kind = getattr(pool, "connection_class", None)
        return (
            type(client) is self.client
            and kind in [getattr(self.connection, name) for name in _CONNECTION_CLASSES]
            and type(pool).__module__ == self.connection.__name__
            and getattr(pool, "cache", None) is None
        )

    def retry(self, times: int, first: float = 0.0, longest: float = 0.0) -> Any:
        """Return a policy that tries a lost connection again, so many ``times``.

        The pauses double from ``first`` to ``longest``, in seconds.
        """
        backoff = importlib.import_module(f"{self.name}.backoff").ExponentialBackoff(cap=longest, base=first)
        retry = importlib.import_module(f"{self.name}.retry").Retry
        return retry(backoff, times, supported_errors=(self.exceptions.ConnectionError,))

    @property
    def connect_hook(self) -> str:
        """The name of the option for a function that authenticates each new connection."""
        return f"{self.name}_connect_func"


def cast_option(name: str, text: str) -> Any:
    """Return the value of a URL's option in the type that the driver wants. Raises ValueError."""
    return _OPTION_TYPES[name](text) if name in _OPTION_TYPES else text


def find_driver() -> Driver:
    """Return redis-py, or valkey-py if only that is installed. Raises ImportError, which says what to install."""
    for name in _CLIENTS:
        try:
            return load_driver(name)
        except ImportError:
            continue
    raise ImportError("A Redis URL needs a driver. Install one: pip install flask-cloakroom[redis]")


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
    """Return the driver whose class, or subclass of it, ``client`` is; None for any other object."""
    for kind in type(client).__mro__:
        name = kind.__module__.partition(".")[0]
        if name in _CLIENTS:
            return load_driver(name)
    return None


@cache
def shared_class(base: type) -> type:
    """Return a connection class of the driver with :class:`SharedConnection` before it."""
    return type(f"Shared{base.__name__}", (SharedConnection, base), {"__module__": __name__})


@cache
def pool_class(driver: Driver) -> Any:
    """Return the driver's pool class with :class:`LimitedPool` before it."""
    base: Any = driver.connection.ConnectionPool
    fixed_options: dict[str, Any] = {}
    if "maint_notifications_config" in inspect.signature(base.__init__).parameters:
        # Announcements of a managed service would come between command and answer. To ask for them also costs a round
        # trip for each connection.
        config = importlib.import_module("redis.maint_notifications").MaintNotificationsConfig
        fixed_options["maint_notifications_config"] = config(enabled=False)
    namespace = {
        "__module__": __name__,
        "errors": driver.exceptions,
        "default_connection_class": driver.connection.Connection,
        "wrap": staticmethod(shared_class),
        "fixed_options": fixed_options,
    }
    return type("LimitedConnectionPool", (LimitedPool, base), namespace)
