"""Flash messages in a session's values: waiting messages, messages on a lease, and the merge of both.

A message waits in the session until a page shows it. When a page is made, its request puts all waiting messages on a
lease. If the request never ends, the messages wait again after the end of the lease.
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

#: The length of a lease in milliseconds: the longest time that a request may take. 30 s is gunicorn's default timeout.
LEASE_MS: Final = 30_000


@dataclass(slots=True, repr=False)
class ShownFlashes:
    """The messages that one response shows. The repr shows no message, because messages may be private."""

    #: The names of the leases of this response. There are several only if the application reads new messages again.
    names: list[str] = field(default_factory=list)
    #: The messages without a lease: this request made them, or a lease would have made the session too large.
    own: list[Any] = field(default_factory=list)


def messages_in(values: Values) -> list[Any]:
    """Return the messages that wait in a session. Return an empty list if they cannot be decoded."""
    return _unpacked(FLASHES, values) or []


def merge_waiting(before: list[Any], remaining: list[Any], values: Values) -> list[Any]:
    """Return the messages that a request may show, after other requests wrote ``values``.

    ``before``: the messages that waited when this request read the session. ``remaining``: the messages that this
    request has not removed. The result also has the messages that other requests added. The result does not have the
    messages that other requests showed.
    """
    merged = STRATEGIES["append"](before, messages_in(values), remaining)
    return [] if merged is MISSING else merged


def lease_all(values: Values, name: str | None, messages: list[Any], now_ms: int) -> Changes:
    """Return the changes that remove all waiting messages and put ``messages`` on a lease.

    ``name``: the name of the lease. If it is None, the waiting messages are removed, and no lease is made. ``now_ms``:
    the present time in milliseconds since the epoch.
    """
    if name is None or not messages:
        return {FLASHES: None}
    return {FLASHES: None, FLASH_LEASES: codec.pack({**_leases_in(values), name: (now_ms + LEASE_MS, messages)})}


def with_leases_back(values: Values, names: Collection[str]) -> Changes:
    """Return the changes that end the leases ``names``. The messages of these leases wait again, before newer ones."""
    leases = _leases_in(values)
    messages = [message for name in names if name in leases for message in leases.pop(name)[1]]
    if not messages:
        return {}
    return {
        FLASHES: codec.pack(messages + messages_in(values)),
        FLASH_LEASES: codec.pack(leases) if leases else None,
    }


def with_expired_leases_back(values: Values, now_ms: int) -> Changes:
    """Return the changes that end all expired leases, so that their messages wait again.

    ``now_ms``: the present time in milliseconds since the epoch.
    """
    leases = _leases_in(values).items()
    return with_leases_back(values, [name for name, (end, _) in leases if not is_running(end, now_ms, LEASE_MS / 1000)])


def merge_leases(base: Any, theirs: Any, mine: Any) -> Any:
    """Return the merged value of :data:`FLASH_LEASES`: the leases in ``theirs``, without leases that ``mine`` ended.

    ``base``, ``theirs`` and ``mine``: see ``merge.py``.
    """
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
