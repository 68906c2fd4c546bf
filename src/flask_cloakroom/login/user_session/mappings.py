"""The dicts behind ``user_session``: for a visitor, for a user, and for a request with a refused credential."""

from __future__ import annotations

import logging
from collections.abc import Iterator, MutableMapping
from typing import Any

from ... import signals
from ...core.user_data.merge_log import MERGE_LOG_KEY
from ...core.user_data.repository import UserCommit, UserRecord, unpack_value
from ...core.user_data.visitor import VISITOR_PREFIX, new_visitor_id
from ...core.values.lazy import LazyDict
from ...core.values.own_keys import VISITOR_ID_KEY
from ...errors import SessionValueError
from ...first_use import FirstUse, Reentered, tell
from ...sessions import ServerSession
from ...sessions.merge_at_login import MergedValue, unpack_changes
from ...sessions.outage import WaitedTooLong

log = logging.getLogger("flask_cloakroom.sessions")


class UserSession(MutableMapping[Any, Any]):
    """The data of a user, a dict with str as keys: the same on every device, and stored after all sessions have ended.

    The data of a visitor who is not logged in is in the visitor's session; a login merges it into the user's data. The
    data is read from the store at its first use. Changes, also inside a value, are saved with the response.
    """

    def __repr__(self) -> str:
        # The repr has no contents, because it may be logged.
        return f"<{type(self).__name__}>"

    def copy(self) -> dict[str, Any]:
        """Return the contents as a plain dict."""
        return dict(self)

    @property
    def merged(self) -> tuple[MergedValue, ...]:
        """The changes that the last merge of visitor data made. Empty after a day, when the merge cannot be undone."""
        return ()

    def undo_merge(self) -> tuple[MergedValue, ...]:
        """Undo the last merge of visitor data, and return the changes that the undo made.

        This call saves the result before it returns. Values that were edited after the merge stay as they are. If no
        merge can be undone, nothing changes and the result is empty.
        """
        return ()


class VisitorSession(UserSession):
    """The data of a visitor. Each key is stored as a session key with a prefix. The session also gets a visitor id."""

    def __init__(self, session: ServerSession) -> None:
        self._session = session

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._session[f"{VISITOR_PREFIX}{key}"] if isinstance(key, str) else {}[key]
        except KeyError:
            raise KeyError(key) from None

    def __setitem__(self, key: Any, value: Any) -> None:
        self._session[VISITOR_PREFIX + _checked_key(key)] = value
        self._session.setdefault(VISITOR_ID_KEY, new_visitor_id())

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``. If the key is missing, first set it to ``default``, for all threads."""
        value = self._session.setdefault(VISITOR_PREFIX + _checked_key(key), default)
        self._session.setdefault(VISITOR_ID_KEY, new_visitor_id())
        return value

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
    """The data of a user: an entry of its own in the store, loaded at the first use and saved before the session."""

    _record: UserRecord | None = None

    def __init__(self, session: ServerSession, user_id: str, name: str) -> None:
        self._session = session
        self._user_id = user_id
        self._name = name
        self._user_data = session.repository.user_data
        #: Lets one thread of the request at a time load the data, or merge visitor data.
        self.first_use = FirstUse()
        self._saves: list[UserCommit] = []

    __repr__ = UserSession.__repr__

    @property
    def closed(self) -> bool:  # type: ignore[override]
        """True after the response was made. Changes that are made later are not saved."""
        return self._session.closed

    def _open(self) -> dict[Any, Any]:
        try:
            self.first_use.run_alone(self._load, self._session.interface.settings.timeout)
        except Reentered:
            return {}
        except TimeoutError:
            raise WaitedTooLong from None
        return self._data

    def _load(self) -> None:
        if not self.is_opened:
            with self._session.outage():
                self._record = self._user_data.load(self._name)
            self._reset(self._record.values)

    def _unpack(self, key: Any) -> Any:
        # A value that cannot be decoded raises an error. In a session such a key counts as missing; here a view that
        # finds no cart would begin a new cart and overwrite the user's data.
        with self._session.outage():
            packed = self._base[key]
            value = unpack_value(key, packed)
        return self._publish(key, packed, value)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_checked_key(key), value)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``. If the key is missing, first set it to ``default``, for all threads."""
        return super().setdefault(_checked_key(key), default)

    def clear(self) -> None:
        """Delete every key, also keys whose values cannot be decoded."""
        for key in list(self.opened()):
            del self[key]

    def _place_of(self, key: Any) -> str:
        return f"user_session[{key!r}]"

    @property
    def merged(self) -> tuple[MergedValue, ...]:
        """The changes of the last merge: see :attr:`UserSession.merged`."""
        self.opened()
        assert self._record is not None
        undo = self._user_data.undoable(self._record)
        return () if undo is None else unpack_changes(undo.changed)

    def undo_merge(self) -> tuple[MergedValue, ...]:
        """Undo the last merge: see :meth:`UserSession.undo_merge`. The request's earlier changes are saved first."""
        self.save()
        with self._session.outage():
            undone = self._user_data.undo(self._name)
        self._saves = []  # the caller may have shown the result, so a later failure must not undo it
        if undone is None:
            return ()
        self._rebase_on(undone.record.values, {})
        self._record = undone.record
        return unpack_changes(undone.changed)

    # -- saving, as the session's companion ------------------------------------------------------------------

    def save(self) -> None:
        """Save the changes of the request. Without changes, write only the time of the last use, if that is due."""
        if not self.is_opened or self._record is None:
            return
        changes = self.changes()
        is_due = not self._session.passive and self._user_data.is_due(self._record)
        if not changes and not is_due:
            return
        with self._session.outage():
            saved = self._user_data.commit(self._record, changes)
        if saved is not None and changes:
            self._saves.append(saved)
        if saved is None:
            self.unload()
            if changes:
                self._discard(tuple(changes), "gone")
            return
        self._record = saved.record
        self._rebase_on(saved.record.values, changes)
        for conflict in saved.conflicts:
            # No local variable holds the arguments: an error reporter would send their values with a receiver's error.
            self._session.send(signals.user_session_conflict, user_id=self._user_id, **conflict.signal_arguments())

    @property
    def has_changes(self) -> bool:
        """True if :meth:`save` may write."""
        if not self.is_opened or self._record is None:
            return False
        return bool(self._touched) or (not self._session.passive and self._user_data.is_due(self._record))

    def check(self) -> None:
        """Raise SessionValueError or SessionTooLargeError if the changes cannot be saved. Write nothing."""
        if self._record is not None:
            self._user_data.check(self._record, self.changes())

    def rollback(self) -> None:
        """Discard the changes of this request, and undo its saves. Then the values are as they were before."""
        saves, self._saves = self._saves, []
        for saved in reversed(saves):
            self._user_data.take_back(saved)
        self.unload()

    def reload(self) -> None:
        """Save the changes of the request, and use the data that is stored now. Data that was not used stays so."""
        self.save()
        if self.is_opened:
            with self._session.outage():
                self._record = self._user_data.load(self._name)
            self._rebase_on(self._record.values, {})

    def unload(self) -> None:
        """Mark the data as not loaded. The next use loads it again."""
        self.is_opened = False
        self._record = None

    def drop_changes(self) -> None:
        """Discard the changes of the request, because the user's data was deleted, and send the signal."""
        keys = tuple(self.changes()) if self.is_opened else ()
        self.unload()
        if keys:
            self._discard(keys, "gone")

    def _discard(self, keys: tuple[Any, ...], reason: str) -> None:
        tell(log.warning, "changes to %d keys of user_session were not saved (%s)", len(keys), reason)
        self._session.send(signals.user_session_discarded, user_id=self._user_id, keys=keys, reason=reason)


class RefusedSession(LazyDict, UserSession):
    """The data in a request whose credential was refused. It belongs to no user, so it is empty and is not saved."""

    def __init__(self, session: ServerSession) -> None:
        self._session = session

    __repr__ = UserSession.__repr__

    def _open(self) -> dict[Any, Any]:
        return self._reset({})

    @property
    def has_changes(self) -> bool:
        """True if the request made changes, which :meth:`save` reports."""
        return self.is_opened and bool(self._touched)

    def check(self) -> None:
        """Do nothing, because nothing is saved."""

    def save(self) -> None:
        """Log the changes that are not saved, and send the signal."""
        keys = tuple(self.changes()) if self.is_opened else ()
        if keys:
            tell(log.warning, "changes to %d keys of user_session were not saved (refused)", len(keys))
            self._session.send(signals.user_session_discarded, user_id=None, keys=keys, reason="refused")

    def rollback(self) -> None:
        """Discard the changes."""
        self._reset({})


def _checked_key(key: Any) -> str:
    if not isinstance(key, str):
        raise SessionValueError("a key of user_session", type(key).__name__, "Use a str as the key.")
    if key.startswith(MERGE_LOG_KEY):
        raise SessionValueError("a key of user_session", "str that begins with NUL", "Use another str as the key.")
    return str.__str__(key)
