"""The dicts behind ``user_session``: a visitor's, a user's stored one, and that of a refused request."""

from __future__ import annotations

import logging
from collections.abc import Iterator, MutableMapping
from typing import Any

from ... import signals
from ...core.user_data.merge_log import MERGE_LOG_KEY
from ...core.user_data.repository import UserCommit, UserRecord, unpack_value
from ...core.user_data.visitor import VISITOR_PREFIX, new_visitor_id
from ...core.values import codec
from ...core.values.lazy import LazyDict
from ...core.values.own_keys import VISITOR_ID_KEY
from ...errors import SessionValueError
from ...sessions import ServerSession
from ...sessions.merge_at_login import MergedValue, values_of

log = logging.getLogger("flask_cloakroom.sessions")


class UserSession(MutableMapping[Any, Any]):
    """What belongs to a user, used like a dict whose keys are str: the same on every device, outliving every session.

    A visitor who is not logged in has one inside their session; a login merges it into the user's. Nothing is read
    before the first use. What a view changes, also deep inside a value, is saved with the response.
    """

    def __repr__(self) -> str:
        # Never the contents: what is printed is logged.
        return f"<{type(self).__name__}>"

    def copy(self) -> dict[str, Any]:
        """Return a plain dict with what it holds."""
        return dict(self)

    @property
    def merged(self) -> tuple[MergedValue, ...]:
        """What the last login with something to merge changed, for as long as that can be undone: a day."""
        return ()

    def undo_merge(self) -> tuple[MergedValue, ...]:
        """Take what that brought back out, at once, and return what changed by it. What was edited since stays.

        Nothing happens if there is nothing to undo, or if it was undone.
        """
        return ()


class VisitorSession(UserSession):
    """The visitor's: keys inside their session, each by itself, with the id of what they will bring at a login."""

    def __init__(self, session: ServerSession) -> None:
        self._session = session

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._session[f"{VISITOR_PREFIX}{key}"] if isinstance(key, str) else {}[key]
        except KeyError:
            raise KeyError(key) from None

    def __setitem__(self, key: Any, value: Any) -> None:
        self._session[VISITOR_PREFIX + _checked(key)] = value
        if VISITOR_ID_KEY not in self._session:
            self._session[VISITOR_ID_KEY] = new_visitor_id()

    def __delitem__(self, key: Any) -> None:
        try:
            del self._session[f"{VISITOR_PREFIX}{key}"]
        except KeyError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[Any]:
        session = self._session
        names = [name for name in session.opened() if isinstance(name, str) and name.startswith(VISITOR_PREFIX)]
        return iter([name.removeprefix(VISITOR_PREFIX) for name in names if name in session])

    def __len__(self) -> int:
        return sum(1 for _ in self)


class StoredSession(LazyDict, UserSession):
    """A user's: an entry of its own in the store, loaded at the first use and saved right before the session."""

    _held: UserRecord | None = None

    def __init__(self, session: ServerSession, user_id: str, name: str) -> None:
        self._session = session
        self._user_id = user_id
        self._name = name
        self._user_data = session.repository.user_data
        self.closed = session.closed

    __repr__ = UserSession.__repr__

    def _open(self) -> dict[Any, Any]:
        with self._session.outage():
            held = self._user_data.load(self._name)
        return self._go_on(held)

    def _go_on(self, held: UserRecord) -> dict[Any, Any]:
        self._held = held
        return self._reset(held.values)

    def _unpack(self, key: Any) -> Any:
        # Not as a session does, where it counts as missing: whoever finds nothing begins anew, over what is there.
        with self._session.outage():
            value = unpack_value(key, self._base[key])
        self._data[key] = value
        if type(value) not in codec.IMMUTABLE_TYPES:
            self._touched[key] = value
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_checked(key), value)

    def clear(self) -> None:
        """Delete every key, also those whose values cannot be decoded."""
        for key in list(self.opened()):
            del self[key]

    def _place_of(self, key: Any) -> str:
        return f"user_session[{key!r}]"

    @property
    def merged(self) -> tuple[MergedValue, ...]:
        """Do :attr:`UserSession.merged`."""
        self.opened()
        assert self._held is not None
        undo = self._user_data.undoable(self._held)
        return () if undo is None else values_of(undo.changed)

    def undo_merge(self) -> tuple[MergedValue, ...]:
        """Do :meth:`UserSession.undo_merge`; what the request changed so far is saved by it."""
        self.save()
        with self._session.outage():
            undone = self._user_data.undo(self._name)
        if undone is None:
            return ()
        self._reset_keeping_objects(undone.record.values)
        self._held = undone.record
        return values_of(undone.changed)

    # -- saving, as the session's companion ------------------------------------------------------------------

    def save(self) -> None:
        """Save what the request changed; if that is nothing, at times that it was used."""
        self.closed = self._session.closed
        if not self.is_opened or self._held is None:
            return
        changes = self.changes()
        is_due = not self._session.passive and self._user_data.is_due(self._held)
        if not changes and not is_due:
            return
        with self._session.outage():
            saved = self._user_data.commit(self._held, changes)
        if saved is None:
            self.forget()
            if changes:
                self._discard(tuple(changes), "gone")
            return
        self._held = saved.record
        self._reset_keeping_objects(saved.record.values)
        self._report(saved)

    def abandon(self) -> None:
        """Forget what could not be saved; what was stored before stays."""
        if self._held is not None:
            self._reset(self._held.values)

    def forget(self) -> None:
        """Load anew at the next use."""
        self.is_opened = False
        self._held = None

    def drop(self) -> None:
        """Forget what the request changed, because all of it was deleted, and say so; load anew at the next use."""
        keys = tuple(self.changes()) if self.is_opened else ()
        self.forget()
        if keys:
            self._discard(keys, "gone")

    def _report(self, saved: UserCommit) -> None:
        for conflict in saved.conflicts:
            arguments = conflict.signal_arguments()
            self._session.send(signals.user_session_conflict, user_id=self._user_id, **arguments)

    def _discard(self, keys: tuple[Any, ...], reason: str) -> None:
        log.warning("changes to %d keys of user_session were dropped (%s)", len(keys), reason)
        self._session.send(signals.user_session_discarded, user_id=self._user_id, keys=keys, reason=reason)


class RefusedSession(LazyDict, UserSession):
    """Of a request whose credential was refused: neither the user's nor the visitor's, so empty, and not saved."""

    def __init__(self, session: ServerSession) -> None:
        self._session = session

    __repr__ = UserSession.__repr__

    def _open(self) -> dict[Any, Any]:
        return self._reset({})

    def save(self) -> None:
        """Say what is not saved."""
        keys = tuple(self.changes()) if self.is_opened else ()
        if keys:
            log.warning("changes to %d keys of user_session were dropped (refused)", len(keys))
            self._session.send(signals.user_session_discarded, user_id=None, keys=keys, reason="refused")

    def abandon(self) -> None:
        """Forget it."""
        self._reset({})


def _checked(key: Any) -> str:
    if not isinstance(key, str):
        raise SessionValueError("a key of user_session", type(key).__name__, "Use a str as the key.")
    if key.startswith(MERGE_LOG_KEY):
        raise SessionValueError("a key of user_session", "str that begins with NUL", "Use another str as the key.")
    return str.__str__(key)
