"""``flask redis``: check that the application's Redis servers answer, and show facts about these servers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import click
from flask import Flask

from ..context import this_app
from ..redis_client import EXTENSION_KEY
from ..redis_connections import Connector
from ..sessions.interface import ServerSessionInterface
from ..stores.redis.store import RedisStore
from .group import CommandGroup

redis = CommandGroup("redis", help="Check the application's Redis clients.")

#: The number of PINGs that the command ``ping`` sends to each server. It shows the median of their times, because the
#: time of the first PING includes the time to connect.
PINGS = 5

#: The facts that the command ``info`` shows. For each fact: its name in the server's answer, and its label on screen.
_FACT_NAMES = {
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
# Words to show instead of values that are hard to understand, by the fact's name and its value.
_FACT_WORDS = {("maxmemory_human", "0B"): "no limit", ("aof_enabled", "0"): "off", ("aof_enabled", "1"): "on"}


def _connectors(app: Flask) -> Iterator[tuple[str, Connector]]:
    """Yield the connector of each Redis client of ``app``, after the name of the setting with the client's URL.

    Yield the connector of the session store after the word "sessions", if no client has the same address.
    """
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
    found = list(_connectors(this_app()))
    if not found:
        raise click.ClickException("This application has no Redis client. Make a client with FlaskRedis(app).")
    return found


@redis.command()
def ping() -> None:
    """Check that the server of each Redis client answers, and show the time that an answer takes."""
    failed = 0
    for name, connector in _all_connectors():
        try:
            median, longest = _ping(connector.client)
        except Exception as error:
            # Any error: the application's own client may use another driver, or be a stand-in for tests.
            click.echo(f"{name}: {connector.label}: no answer ({_error_text(error)})", err=True)
            failed += 1
        else:
            click.echo(f"{name}: {connector.label}: answers in {median * 1e3:.2f} ms (longest {longest * 1e3:.2f} ms)")
    if failed:
        raise click.exceptions.Exit(1)


def _ping(client: Any) -> tuple[float, float]:
    """Return the median and the longest time that the server took to answer a PING, in seconds."""
    seconds = []
    for _ in range(PINGS):
        start = time.perf_counter()
        client.ping()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), max(seconds)


@redis.command()
def info() -> None:
    """Show version, role, memory, clients and keys of the server of each Redis client."""
    failed = 0
    for name, connector in _all_connectors():
        click.echo(f"{name}: {connector.label}")
        try:
            lines = list(_info_lines(connector.client))
        except Exception as error:
            click.echo(f"  no answer ({_error_text(error)})", err=True)
            failed += 1
        else:
            for line in lines:
                click.echo(f"  {line}")
    if failed:
        raise click.exceptions.Exit(1)


def _info_lines(client: Any) -> Iterator[str]:
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
    for name, text in _FACT_NAMES.items():
        if name in found:
            yield f"{text}: {_FACT_WORDS.get((name, str(found[name])), found[name])}"
    for name, facts in found.items():
        if name.startswith("db") and isinstance(facts, dict):
            yield f"keys in database {name[2:]}: {facts['keys']} ({facts['expires']} of them expire)"


def _error_text(error: Exception) -> str:
    """Return the class name and the text of an error. The drivers' errors contain addresses, but no passwords."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
