"""Flash messages: each is shown once, by the response that rendered it, and by another one if that failed.

Flask keeps them in the session, as a list of category and message, and a page that shows them takes the list out. Were
that saved with the session, at the end, a page that is made at the same moment would show them too. So they are taken
in the store at once, on a lease: at the end of the request the taking is settled, after an exception they are given
back, and those of a process that died come back when the lease is over.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from flask import Flask, got_request_exception, has_request_context

from ..context import forget_flashes, this_session
from ..core.clock import is_running
from ..core.values import codec, own_keys
from ..core.values.merge import MISSING, STRATEGIES, left_and_added
from ..core.values.own_keys import FLASHES, TAKEN
from ..errors import SessionTooLargeError, StoreError

if TYPE_CHECKING:
    from ..core.entries.record import Committed, Record
    from ..core.sessions.repository import Repository
    from ..core.values.rebase import Changes, Values
    from .session import ServerSession

log = logging.getLogger("flask_cloakroom.sessions")

_KEYS: Final = (FLASHES, TAKEN)
#: Milliseconds: as long as a request may last; 30 s is gunicorn's default limit for one.
LEASE_MS: Final = 30_000


@dataclass(slots=True, repr=False)
class Taken:
    """What one response shows. Its repr has none of it."""

    #: Names in the session under which it took messages: one, unless they were taken by other code than Flask's.
    names: list[str] = field(default_factory=list)
    #: Messages that are not stored: of this very request, or taken without a lease.
    own: list[Any] = field(default_factory=list)


def take(session: ServerSession) -> Any:
    """Return the messages, and remove them so that no other response shows them. They must be there.

    Raises SessionUnavailable.
    """
    shown = session[FLASHES]
    base = session._base.get(FLASHES)
    if type(shown) is not list:
        del session[FLASHES]  # not of Flask's making
        return shown
    if base is None or session._record is None:
        # Nobody else can see them yet.
        del session[FLASHES]
        _note(session, None, shown)
        return shown
    before = _list(base)
    left, own = left_and_added(before, shown)
    # A streamed body is made when the session has been saved, and nothing will be settled any more.
    name = None if session._closed else secrets.token_hex(8)
    found: list[Any] = []

    def edit(values: Values) -> Changes:
        nonlocal found
        merged = STRATEGIES["append"](before, _list(values.get(FLASHES)), left)
        found = [] if merged is MISSING else merged
        if name is None or not found:
            return {FLASHES: None}
        until = session._interface.repository.now_ms() + LEASE_MS
        return {FLASHES: None, TAKEN: codec.pack({**_dict(values.get(TAKEN)), name: (until, found)})}

    with session._outage():
        try:
            committed = _edit(session, edit)
        except SessionTooLargeError:
            # The session is full, so that there is no room for a lease. Without this no page could show what is in it.
            name = None
            committed = _edit(session, edit)
    if committed is None:
        # The session is over, and so is what this request has of it: nobody else will show them.
        del session[FLASHES]
        return shown
    _note(session, name if found else None, own if name else found + own)
    return found + own


def _note(session: ServerSession, name: str | None, own: list[Any]) -> None:
    taken = session._taken = session._taken or Taken()
    taken.own = taken.own + own
    if name is not None:
        taken.names.append(name)


def settle(session: ServerSession) -> None:
    """The response is made: what it shows is gone for good when the session is saved."""
    taken, session._taken = session._taken, None
    if taken is None or not taken.names or type(claims := session.get(TAKEN)) is not dict:
        return
    others = {name: claim for name, claim in claims.items() if name not in taken.names}
    if others:
        session[TAKEN] = others
    else:
        del session[TAKEN]


def give_back(session: ServerSession) -> None:
    """What was taken is not shown: the page that was to show it failed."""
    taken, session._taken = session._taken, None
    later = session.get(FLASHES, [])  # flashed since
    if taken is None or type(later) is not list:
        return
    before: list[Any] = []
    if taken.names and session._record is not None and not session._failed:
        _, later = left_and_added(_list(session._base.get(FLASHES)), later)
        try:
            _edit(session, lambda values: _restored(values, taken.names))
        except StoreError as error:
            log.warning("flash messages come back only when their lease is over: %s", error)
        before = session.get(FLASHES, [])
    if taken.own or later:
        session[FLASHES] = before + taken.own + later


def recovered(repository: Repository, record: Record) -> Record:
    """Return the session with the messages back whose response never came. Raises StoreError."""

    def edit(values: Values) -> Changes:
        now = repository.now_ms()
        claims = _dict(values.get(TAKEN)).items()
        over = [name for name, claim in claims if not is_running(claim[0], now, LEASE_MS / 1000)]
        return _restored(values, over)

    if not edit(record.values):
        return record
    committed = repository.edit(record, edit)
    return record if committed is None else committed.record  # a session that is over is found out at the end


def merge_taken(base: Any, theirs: Any, mine: Any) -> Any:
    """Merge what two requests did to :data:`TAKEN`: as it is now, without what this one has settled."""
    before, now, own = (value if type(value) is dict else {} for value in (base, theirs, mine))
    settled = before.keys() - own.keys()
    return {name: claim for name, claim in now.items() if name not in settled} or MISSING


def _restored(values: Values, names: Collection[str]) -> Changes:
    """Return the changes by which messages that were taken stand before those that came after."""
    claims = _dict(values.get(TAKEN))
    messages = [message for name in names if name in claims for message in claims.pop(name)[1]]
    if not messages:
        return {}
    return {
        FLASHES: codec.pack(messages + _list(values.get(FLASHES))),
        TAKEN: codec.pack(claims) if claims else None,
    }


def _edit(session: ServerSession, edit: Callable[[Values], Changes]) -> Committed | None:
    """Change the stored messages; whatever else this request has changed stays its own, and is merged at its end."""
    record = session._record
    assert record is not None
    committed = session._interface.repository.edit(record, edit)
    if committed is not None:
        now = committed.record
        values = {key: packed for key, packed in record.values.items() if key not in _KEYS}
        values |= {key: now.values[key] for key in _KEYS if key in now.values}
        # Where others have written too, the version stays what was read, so that the commit finds that out and merges.
        session._record = replace(record if committed.merged else now, values=values)
        session._restate(values, _KEYS)
    return committed


def _list(packed: bytes | None) -> list[Any]:
    return [] if packed is None else _unpacked(FLASHES, packed) or []


def _dict(packed: bytes | None) -> dict[Any, Any]:
    """Return what is taken."""
    return {} if packed is None else _unpacked(TAKEN, packed) or {}


def _unpacked(key: str, packed: bytes) -> Any:
    try:
        return own_keys.unpack(key, packed)
    except codec.CodecError as error:
        log.error("flash messages cannot be decoded and count as none: %s", error)
        return None


# -- the seam to Flask ------------------------------------------------------------------------------------


def watch_failures(app: Flask) -> None:
    """Give messages back when a request fails, before the page is made that says so: that one may show them."""
    handle: Any = app.handle_user_exception

    @wraps(handle)
    def handle_user_exception(*arguments: Any) -> Any:
        _on_failure()
        return handle(*arguments)

    app.handle_user_exception = handle_user_exception  # type: ignore[method-assign, assignment]
    got_request_exception.connect(_on_failure, app)  # what fails after the view


def _on_failure(*_: Any, **__: Any) -> None:
    found: Any = this_session() if has_request_context() else None
    if getattr(found, "_taken", None) is None:
        return
    give_back(found)
    forget_flashes()
