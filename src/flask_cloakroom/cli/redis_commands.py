"""``flask redis``: whether the servers answer, and what they say of themselves."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import click
from flask import Flask
from flask.cli import AppGroup

from ..context import this_app
from ..errors import CloakroomError
from ..redis_client import EXTENSION_KEY
from ..redis_connections import Connector
from ..sessions.interface import ServerSessionInterface
from ..stores.redis.store import RedisStore

redis = AppGroup("redis", help="Look after the application's Redis clients.")

#: Of so many answers the median counts, because the first one pays for the connection.
PINGS = 5

#: What ``info`` shows: the server's own name for it, and ours.
_SHOWN = {
    "redis_mode": "mode",
    "role": "role",
    "connected_slaves": "replicas",
    "uptime_in_seconds": "up for seconds",
    "connected_clients": "clients",
    "used_memory_human": "memory",
    "maxmemory_human": "memory at most",
    "maxmemory_policy": "when full",
    "aof_enabled": "append-only file",
}
# What a number means that says nothing by itself.
_WORDS = {("maxmemory_human", "0B"): "no limit", ("aof_enabled", "0"): "off", ("aof_enabled", "1"): "on"}


def _connectors(app: Flask) -> Iterator[tuple[str, Connector]]:
    """Yield the application's clients under the settings that they come from, and the sessions' if it is another."""
    seen = set()
    for prefix, client in app.extensions.get(EXTENSION_KEY, {}).items():
        connector = client.connector_for(app)
        seen.add(connector.label)
        yield f"{prefix}_URL", connector
    interface = app.session_interface
    if isinstance(interface, ServerSessionInterface) and isinstance(interface.store, RedisStore):
        connector = interface.store.connector
        if connector.label not in seen:
            yield "sessions", connector


def _all_connectors() -> list[tuple[str, Connector]]:
    try:
        found = list(_connectors(this_app()))
    except CloakroomError as error:
        raise click.ClickException(str(error)) from error
    if not found:
        raise click.ClickException("this application has no Redis client: make one with FlaskRedis(app)")
    return found


@redis.command()
def ping() -> None:
    """Ask every client's server whether it is there, and say how long the answer takes."""
    failed = 0
    for name, connector in _all_connectors():
        try:
            median, longest = _ping(connector.client)
        except Exception as error:
            # Whatever the driver has to say, or a stand-in.
            click.echo(f"{name}: {connector.label}: no answer ({_words(error)})", err=True)
            failed += 1
        else:
            click.echo(f"{name}: {connector.label}: answers in {median * 1e3:.2f} ms (longest {longest * 1e3:.2f} ms)")
    if failed:
        raise click.exceptions.Exit(1)


def _ping(client: Any) -> tuple[float, float]:
    """Return the median and the longest time of an answer, in seconds."""
    taken = []
    for _ in range(PINGS):
        began = time.perf_counter()
        client.ping()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken), max(taken)


@redis.command()
def info() -> None:
    """Say what every client's server says of itself: version, role, memory, clients, keys."""
    failed = 0
    for name, connector in _all_connectors():
        click.echo(f"{name}: {connector.label}")
        try:
            lines = list(_describe(connector.client))
        except Exception as error:
            click.echo(f"  no answer ({_words(error)})", err=True)
            failed += 1
        else:
            for line in lines:
                click.echo(f"  {line}")
    if failed:
        raise click.exceptions.Exit(1)


def _describe(client: Any) -> Iterator[str]:
    if not hasattr(client, "get_nodes"):
        yield from _facts(client.info())
        return
    for node, facts in client.info(target_nodes="all").items():
        yield f"{node}:"
        yield from (f"  {line}" for line in _facts(facts))


def _facts(found: dict[str, Any]) -> Iterator[str]:
    if "valkey_version" in found:
        yield f"server: Valkey {found['valkey_version']}"
    elif "redis_version" in found:
        yield f"server: Redis {found['redis_version']}"
    for name, shown in _SHOWN.items():
        if name in found:
            yield f"{shown}: {_WORDS.get((name, str(found[name])), found[name])}"
    for name, facts in found.items():
        if name.startswith("db") and isinstance(facts, dict):
            yield f"keys in database {name[2:]}: {facts['keys']} ({facts['expires']} of them expire)"


def _words(error: Exception) -> str:
    """Return an error's name and text; the drivers' texts hold addresses, and no credentials."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
