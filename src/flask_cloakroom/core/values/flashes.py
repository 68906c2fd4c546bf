"""Flash messages as a session holds them: those that wait, those that a response has taken, and how both merge."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..clock import is_running
from . import codec, own_keys
from .merge import MISSING, STRATEGIES
from .own_keys import FLASHES, TAKEN
from .rebase import Changes, Values

log = logging.getLogger("flask_cloakroom.sessions")

#: Milliseconds for which a response may keep the messages that it took: as long as a request may last. 30 s is
#: gunicorn's default limit for one.
LEASE_MS: Final = 30_000


@dataclass(slots=True, repr=False)
class Taken:
    """What one response shows. Its repr has none of it."""

    #: Names in the session under which it took messages: one, unless they were taken by other code than Flask's.
    names: list[str] = field(default_factory=list)
    #: Messages that are not stored: of this very request, or taken without a lease.
    own: list[Any] = field(default_factory=list)


def messages_in(values: Mapping[Any, bytes]) -> list[Any]:
    """Return the messages that wait in a session. Those that cannot be decoded count as none."""
    return _unpacked(FLASHES, values) or []


def still_waiting(before: list[Any], left: list[Any], values: Values) -> list[Any]:
    """Return the messages for a request that read ``before`` and has ``left`` of these, while others wrote ``values``.

    Messages that others added are among them. Messages that others took are not.
    """
    merged = STRATEGIES["append"](before, messages_in(values), left)
    return [] if merged is MISSING else merged


def take_all(values: Values, claim: str | None, messages: list[Any], now_ms: int) -> Changes:
    """Return the changes by which no message waits, and ``messages`` are taken for a time under the name ``claim``.

    ``claim``: None takes them for good. ``now_ms``: milliseconds since the epoch.
    """
    if claim is None or not messages:
        return {FLASHES: None}
    return {FLASHES: None, TAKEN: codec.pack({**_claims_in(values), claim: (now_ms + LEASE_MS, messages)})}


def put_back(values: Values, claims: Collection[str]) -> Changes:
    """Return the changes by which the messages of these claims wait again, before those that came after them."""
    taken = _claims_in(values)
    messages = [message for name in claims if name in taken for message in taken.pop(name)[1]]
    if not messages:
        return {}
    return {
        FLASHES: codec.pack(messages + messages_in(values)),
        TAKEN: codec.pack(taken) if taken else None,
    }


def put_back_expired(values: Values, now_ms: int) -> Changes:
    """Return the changes by which messages wait again whose response never came. ``now_ms`` as in :func:`take_all`."""
    claims = _claims_in(values).items()
    return put_back(values, [name for name, claim in claims if not is_running(claim[0], now_ms, LEASE_MS / 1000)])


def merge_taken(base: Any, theirs: Any, mine: Any) -> Any:
    """Merge what two requests did to :data:`TAKEN`: as it is now, without what this one has settled."""
    before, now, own = (value if type(value) is dict else {} for value in (base, theirs, mine))
    settled = before.keys() - own.keys()
    return {name: claim for name, claim in now.items() if name not in settled} or MISSING


def _claims_in(values: Values) -> dict[Any, Any]:
    return _unpacked(TAKEN, values) or {}


def _unpacked(key: str, values: Mapping[Any, bytes]) -> Any:
    packed = values.get(key)
    try:
        return None if packed is None else own_keys.unpack(key, packed)
    except codec.CodecError as error:
        log.error("flash messages cannot be decoded and count as none: %s", error)
        return None
