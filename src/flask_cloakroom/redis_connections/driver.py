"""Load the installed driver, redis-py or valkey-py, and make subclasses of its classes with shared connections.

Both drivers have the same classes under different names. The subclasses are made at run time, because a driver is
imported only when a Redis URL is used.
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
    return text.upper() not in ("", "0", "F", "FALSE", "N", "NO")  # redis-py has the same list of texts that mean False


def _verify_flags(text: str) -> list[ssl.VerifyFlags]:
    try:
        return [ssl.VerifyFlags[flag.strip()] for flag in text.strip("[]").split(",")]
    except KeyError:
        raise ValueError from None


# A function for each URL option that converts the option's text to its type. Other options stay text. The drivers' own
# tables differ and lack some options. With their tables, the text "no" for such an option would count as true.
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
        """Return True if ``client`` is of the driver's own client class, with the driver's own connection class.

        Return False for a subclass, because the methods of a subclass may do more than send a command.
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
        """Return the driver's retry object, which repeats a command up to ``times`` times after a ConnectionError.

        The pauses double from ``first`` to ``longest``, in seconds.
        """
        backoff = importlib.import_module(f"{self.name}.backoff").ExponentialBackoff(cap=longest, base=first)
        retry = importlib.import_module(f"{self.name}.retry").Retry
        return retry(backoff, times, supported_errors=(self.exceptions.ConnectionError,))

    @property
    def connect_hook(self) -> str:
        """The name of the driver's option for a function that is called to authenticate each new connection."""
        return f"{self.name}_connect_func"


def cast_option(name: str, text: str) -> Any:
    """Convert the text of the URL option ``name`` to the type that the driver needs. Raises ValueError."""
    return _OPTION_TYPES[name](text) if name in _OPTION_TYPES else text


def find_driver() -> Driver:
    """Return redis-py, or valkey-py if only valkey-py is installed.

    Raises ImportError if no driver is installed. The error says what to install.
    """
    for name in _CLIENTS:
        try:
            return load_driver(name)
        except ImportError:
            continue
    raise ImportError("A Redis URL needs a driver. Install one: pip install flask-cloakroom[redis]")


def load_driver(name: str) -> Driver:
    """Import and return the driver ``redis`` or ``valkey``. Raises ImportError if it is not installed."""
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
    """Return the driver if the class of ``client``, or a base class, comes from a driver. Otherwise return None."""
    for kind in type(client).__mro__:
        name = kind.__module__.partition(".")[0]
        if name in _CLIENTS:
            return load_driver(name)
    return None


@cache
def shared_class(base: type) -> type:
    """Return a subclass of :class:`SharedConnection` and of the driver's connection class ``base``."""
    return type(f"Shared{base.__name__}", (SharedConnection, base), {"__module__": __name__})


@cache
def pool_class(driver: Driver) -> Any:
    """Return a subclass of :class:`LimitedPool` and of the driver's pool class."""
    base: Any = driver.connection.ConnectionPool
    fixed_options: dict[str, Any] = {}
    if "maint_notifications_config" in inspect.signature(base.__init__).parameters:
        # Without this option, redis-py asks each new connection for notices of maintenance. The question costs a round
        # trip, and a managed service could then send a notice between command and answer.
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
