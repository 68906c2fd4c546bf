"""Split a Redis URL into its parts: for one server, a Unix socket, Sentinel, Redis Cluster or the embedded server."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from ..secret import Secret


class Topology(Enum):
    """The kind of server setup that a URL names."""

    SERVER = "server"
    SOCKET = "socket"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"
    EMBEDDED = "embedded"


#: For each scheme of a URL, the topology, and True if connections use TLS. ``redis`` and ``valkey`` mean the same,
#: because both servers have the same protocol.
REDIS_SCHEMES: Final[dict[str, tuple[Topology, bool]]] = {
    "embedded": (Topology.EMBEDDED, False),
    "unix": (Topology.SOCKET, False),
    **{
        f"{name}{suffix}": (topology, tls)
        for name, tls in (("redis", False), ("rediss", True), ("valkey", False), ("valkeys", True))
        for suffix, topology in (
            ("", Topology.SERVER),
            ("+sentinel", Topology.SENTINEL),
            ("+cluster", Topology.CLUSTER),
        )
    },
    **{f"{name}+unix": (Topology.SOCKET, False) for name in ("redis", "valkey")},
}

#: The host and the ports of a server and a Sentinel for a URL without host or port.
DEFAULT_HOST: Final = "localhost"
SERVER_PORT: Final = 6379
SENTINEL_PORT: Final = 26379

# A host name, an IPv4 address, or an IPv6 address with its zone. No character that separates parts of a URL is allowed.
_HOST: Final = re.compile(r"[\w.:%-]*").fullmatch

#: The error for every URL that cannot be read. It quotes no part of the URL, because any part may belong to a password.
UNREADABLE: Final = "This Redis URL cannot be read. Percent-encode characters such as / # ? @ : in its password."


@dataclass(frozen=True, slots=True)
class RedisURL:
    """The parts of a URL. ``repr()`` does not show the password."""

    topology: Topology
    tls: bool
    hosts: tuple[tuple[str, int], ...] = ()
    #: The path of a Unix socket.
    path: str = ""
    #: The name by which Sentinel knows the master.
    service: str = ""
    db: int = 0
    #: True if the URL names a database. Then the keyword argument ``db`` is ignored.
    has_db: bool = field(default=False, repr=False, compare=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    #: The options after the question mark, as names and texts, without ``db``, ``username`` and ``password``.
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        """Return the address for log lines and errors, without user, password and options."""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        match self.topology:
            case Topology.SOCKET:
                return f"{self.path}/{self.db}"
            case Topology.SENTINEL:
                return f"{self.service} by Sentinel {hosts}/{self.db}"
            case Topology.CLUSTER:
                return f"cluster {hosts}"
            case Topology.EMBEDDED:
                return f"embedded/{self.db}"
        return f"{hosts}/{self.db}"


def parse_url(url: str) -> RedisURL:
    """Return the parts of ``url``. Raises ValueError for a wrong URL; the error's text contains no part of the URL.

    ====================================================  =====================================
    ``redis://[user:password@]host[:port][/db]``          one server; ``rediss`` for TLS
    ``unix://[user:password@]/path[?db=0]``               one server on a Unix socket
    ``redis+sentinel://host:port,host:port/service[/db]``  the master that Sentinel names
    ``redis+cluster://host:port,host:port``               Redis Cluster
    ``embedded://``                                       a server that starts with the application
    ====================================================  =====================================

    Each scheme may have ``valkey`` in place of ``redis``. Options follow a question mark: the options of the driver's
    connections (``socket_timeout``, ``ssl_ca_certs`` …), ``max_connections`` and ``timeout``.
    """
    url = Secret(url)
    try:
        return _parse(url)
    except ValueError as error:
        problem = str(error)
    # Raise the error here and not in _parse(): an error report would show the local variables of _parse(), which have
    # parts of the URL.
    raise ValueError(problem)


def _parse(url: str) -> RedisURL:
    scheme, found, rest = url.partition("://")
    if not found or scheme not in REDIS_SCHEMES:
        raise ValueError(
            f"This is no Redis URL. Begin it with one of {', '.join(f'{name}://' for name in REDIS_SCHEMES)}"
        )
    topology, tls = REDIS_SCHEMES[scheme]
    rest, _, query = rest.partition("?")
    if "#" in rest or "#" in query:
        raise ValueError(UNREADABLE)
    # Split at the last @, because a password may contain an @ that is not percent-encoded, and a host cannot.
    credentials, _, place = rest.rpartition("@")
    username, _, password = credentials.partition(":")
    netloc, slash, path = place.partition("/")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if "/" in credentials or not all(name.isidentifier() for name in options):
        raise ValueError(UNREADABLE)
    shared = {
        "username": unquote(username) or options.get("username") or None,
        "password": Secret(unquote(password) or options.get("password", "")) or None,
    }
    options = {name: value for name, value in options.items() if name not in shared}
    if topology is Topology.SOCKET:
        if netloc or not path:
            raise ValueError("The URL of a Unix socket needs three slashes. Write unix:///path/to/socket.sock")
        where: dict[str, Any] = {"path": unquote(slash + path), "db": _database(options.pop("db", ""))}
    elif topology is Topology.EMBEDDED:
        if netloc or credentials:
            raise ValueError("The embedded server has no host and no password. Write embedded:// or embedded:///1")
        where = {"db": _database(options.pop("db", "") or path)}
    else:
        where = _network(topology, netloc, path, options)
    db = where.pop("db")
    parts = {**where, **shared, "options": tuple(sorted(options.items()))}
    return RedisURL(topology, tls, db=db or 0, has_db=db is not None, **parts)


def _network(topology: Topology, netloc: str, path: str, options: dict[str, str]) -> dict[str, Any]:
    default_port = SENTINEL_PORT if topology is Topology.SENTINEL else SERVER_PORT
    hosts = tuple(_host(text, default_port) for text in netloc.split(","))
    if topology is Topology.SERVER and len(hosts) > 1:
        raise ValueError("This Redis URL has several hosts. Use redis+sentinel:// or redis+cluster://")
    service = ""
    path = unquote(path.rstrip("/"))
    if topology is Topology.SENTINEL:
        service, _, path = path.partition("/")
        if not service:
            raise ValueError("The Sentinel URL names no service. Write redis+sentinel://host:26379/service/0")
    db = _database(options.pop("db", "") or path)
    if topology is Topology.CLUSTER and db:
        raise ValueError("Redis Cluster has only database 0. Remove the database from the URL.")
    return {"hosts": hosts, "service": service, "db": db}


def _host(text: str, default_port: int) -> tuple[str, int]:
    if text.startswith("["):
        host, closed, port = text[1:].partition("]")
        if not closed or (port and not port.startswith(":")):
            raise ValueError(UNREADABLE)
        port = port[1:]
    else:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
        raise ValueError(UNREADABLE)
    host = unquote(host)
    if not _HOST(host):
        raise ValueError(UNREADABLE)
    return host or DEFAULT_HOST, int(port or default_port)


def _database(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError("The database of a Redis URL must be a number. Write redis://host:6379/0")
    return int(text)
