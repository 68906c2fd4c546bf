"""Flash messages in a session's values: those that wait, those on a lease, and how both merge.

A response takes messages on a lease. If its request never ends, the messages wait again when the lease is over.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

from ..clock import is_running
from . import codec, own_keys
from .merge import MISSING, STRATEGIES
from .own_keys import FLASH_LEASES, FLASHES
from .rebase import Changes, Values

log = logging.getLogger("flask_cloakroom.sessions")

#: The length of a lease in milliseconds: the longest that a request may last. 30 s is gunicorn's default timeout.
LEASE_MS: Final = 30_000


@dataclass(slots=True, repr=False)
class ShownFlashes:
    """The messages that one response shows. Without a repr, because messages may be private."""

    #: The names of the response's leases: one, unless other code than Flask's takes messages again.
    names: list[str] = field(default_factory=list)
    #: The messages that are on no lease, because this request made them or there was no room for a lease.
    own: list[Any] = field(default_factory=list)


def messages_in(values: Values) -> list[Any]:
    """Return the messages that wait in a session, and an empty list if they cannot be decoded."""
    return _unpacked(FLASHES, values) or []


def merge_waiting(before: list[Any], remaining: list[Any], values: Values) -> list[Any]:
    """Return the messages that a request may show, after other requests wrote ``values``.

    ``before``: the messages that the request read. ``remaining``: those that it has not removed. The result has the
    messages that other requests added, and lacks those that other requests showed.
    """
    merged = STRATEGIES["append"](before, messages_in(values), remaining)
    return [] if merged is MISSING else merged


def lease_all(values: Values, name: str | None, messages: list[Any], now_ms: int) -> Changes:
    """Return the changes that remove all waiting messages and put ``messages`` on a lease.

    ``name``: the name of the lease; None removes the messages without a lease. ``now_ms``: milliseconds since the
    epoch.
    """
    if name is None or not messages:
        return {FLASHES: None}
    return {FLASHES: None, FLASH_LEASES: codec.pack({**_leases_in(values), name: (now_ms + LEASE_MS, messages)})}


def with_leases_back(values: Values, names: Collection[str]) -> Changes:
    """Return the changes that end these leases and let their messages wait again, before newer messages."""
    leases = _leases_in(values)
    messages = [message for name in names if name in leases for message in leases.pop(name)[1]]
    if not messages:
        return {}
    return {
        FLASHES: codec.pack(messages + messages_in(values)),
        FLASH_LEASES: codec.pack(leases) if leases else None,
    }


def with_expired_leases_back(values: Values, now_ms: int) -> Changes:
    """Return the changes that let the messages of expired leases wait again. ``now_ms``: see :func:`lease_all`."""
    leases = _leases_in(values).items()
    return with_leases_back(values, [name for name, (end, _) in leases if not is_running(end, now_ms, LEASE_MS / 1000)])


def merge_leases(base: Any, theirs: Any, mine: Any) -> Any:
    """Merge two requests' changes of :data:`FLASH_LEASES`: keep ``theirs`` without the leases that ``mine`` ended."""
    before, stored, own = (value if type(value) is dict else {} for value in (base, theirs, mine))
    ended = before.keys() - own.keys()
    return {name: lease for name, lease in stored.items() if name not in ended} or MISSING


def _leases_in(values: Values) -> dict[Any, Any]:
    return _unpacked(FLASH_LEASES, values) or {}


def _unpacked(key: str, values: Values) -> Any:
    packed = values.get(key)
    try:
        return None if packed is None else own_keys.unpack(key, packed)
    except codec.CodecError as error:
        log.error("flash messages cannot be decoded and are not shown: %s", error)
        return None
