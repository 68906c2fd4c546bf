"""Users' data in the store: one entry for each user, shared by all devices of that user. Without Flask.

Each value is packed by itself, as in a session, and each write is a compare-and-set of the whole entry. A merge writes
the visitor data and the visitor id at once, so that a login that is tried again does not merge the data twice. A
deletion leaves an empty entry with another generation and with the visitor ids. So data that was read before the
deletion cannot be saved after it, and merged data is not merged again.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

from ...errors import SessionTooLargeError, SettingError, UserDataError
from ...secret import Secret, SecretBytes, as_secrets
from ...stores.base import Entry
from ..clock import CLOCK_SKEW, is_within
from ..entries import envelope
from ..entries.envelope import EntryKind, EnvelopeError, Header, Seal
from ..entries.namespace import Namespace
from ..entries.tickets import public_id
from ..entries.tombstone import CARRY_SECONDS
from ..values import codec
from ..values.merge import MISSING, STRATEGIES, MergeConflict, Strategies
from ..values.rebase import Changes, Values, rebase
from ..values.undo import undo_change
from .merge_log import MERGE_LOG_KEY, ChangedValues, LastMerge, MergeLog
from .visitor import VisitorData

#: The default lifetime without use, in seconds. Browsers keep a cookie for 400 days at most (RFC 6265bis, 5.6.3), so a
#: remembered user always finds the data.
DEFAULT_LIFETIME: Final = 400 * 24 * 3600
#: The greatest age of the stored time of the last use, in seconds. A tenth of the lifetime is used if that is less. No
#: page shows this time, so a day is exact enough.
REFRESH_SECONDS: Final = 24 * 3600
#: For how many seconds the last merge can be undone: until the day after the login.
UNDO_SECONDS: Final = 24 * 3600
#: For how many seconds a deletion stops requests that began before it. No request lasts longer: 30 s is gunicorn's
#: default timeout.
DELETED_SECONDS: Final = 30
#: The least length of a secret in bytes. Remember tokens have the same limit. A shorter secret can be guessed.
SHORTEST_SECRET: Final = 8


@dataclass(frozen=True, slots=True)
class UserDataSettings:
    """The settings of user data."""

    strategies: Strategies = field(default_factory=dict)
    #: Seconds without use after which the data is deleted.
    lifetime: int = DEFAULT_LIFETIME
    #: The SECRET_KEY, which encrypts the data if sessions are encrypted, then the fallback keys, for reading only.
    secrets: tuple[bytes, ...] = field(default=(), repr=False)


class UserRecord(NamedTuple):
    """A user's data as it was read or written: the base of the next write."""

    name: str
    #: The version of the stored entry, or None if no entry is stored.
    version: bytes | None
    header: Header
    #: Key to packed value. Never changed in place.
    values: Values
    merge_log: MergeLog

    def __repr__(self) -> str:
        return f"<UserRecord keys={len(self.values)}>"


class UserCommit(NamedTuple):
    """A write that succeeded: the stored data, the conflicts, and the values that a merge or an undo changed."""

    record: UserRecord
    conflicts: list[MergeConflict]
    changed: ChangedValues


#: Takes the stored data, and returns the data to store, or None to leave the entry as it is.
_Edit = Callable[[UserRecord], UserRecord | None]


class UserData:
    """The data of all users of one namespace. One object serves all threads of a process.

    :meth:`.tickets.Tickets.owner_name` returns the name of a user. Every method raises StoreError if the store fails,
    UserDataError (a StoreError) if the stored data cannot be read, and ContentionError if other requests write the
    entry all the time.
    """

    def __init__(self, namespace: Namespace, settings: UserDataSettings) -> None:
        self._namespace = namespace
        self.settings = settings

    # -- reading --------------------------------------------------------------------------------------------

    def load(self, name: str) -> UserRecord:
        """Return a user's data, which is empty if no entry is stored. Takes one store command."""
        return self._open(name, self._namespace.store.load(self._key(name)))

    def is_due(self, record: UserRecord) -> bool:
        """Return True if the stored time of the last use is too old, and a write must refresh it."""
        refresh = min(self.settings.lifetime // 10, REFRESH_SECONDS)
        unseen = self._namespace.now() - record.header.seen
        # A time in the future would lengthen the life of the data, so it is written anew as well.
        return bool(record.values) and (unseen >= refresh or unseen < -CLOCK_SKEW)

    # -- writing --------------------------------------------------------------------------------------------

    def commit(self, base: UserRecord, changes: Changes) -> UserCommit | None:
        """Write ``changes``, merged with the writes of other requests since ``base`` was read.

        Return None if the data was deleted since then. Raises SessionTooLargeError and SessionValueError.
        """
        conflicts: list[MergeConflict] = []

        def edit(record: UserRecord) -> UserRecord | None:
            is_other = record.merge_log.generation != base.merge_log.generation
            # The store drops an empty entry by itself. If the base was empty too, no data was deleted.
            if bool(base.values) if record.version is None else is_other:
                return None
            values, conflicts[:] = self._rebase(base.values, record.values, changes)
            return record._replace(values=values)

        saved = self._write(base, edit)
        return None if saved is None else UserCommit(saved, conflicts, {})

    def merge(self, name: str, visitor: VisitorData) -> UserCommit | None:
        """Merge visitor data into a user's data. Return None if it was merged before.

        Both count as changes of an empty base. The visitor's is the later change, unless the key has a strategy.
        Raises SessionTooLargeError and SessionValueError.
        """
        conflicts: list[MergeConflict] = []
        changed: ChangedValues = {}

        def edit(record: UserRecord) -> UserRecord | None:
            nonlocal changed
            if visitor.visitor_id in record.merge_log.merged:
                return None
            values, conflicts[:] = self._rebase({}, record.values, visitor.values)
            changed, now = _differences(record.values, values), self._namespace.now()
            log = record.merge_log.with_merged(visitor.visitor_id, now, self._pending_seconds())
            return record._replace(values=values, merge_log=log._replace(last=LastMerge(now, changed)))

        saved = self._write(self.load(name), edit)
        return None if saved is None else UserCommit(saved, conflicts, changed)

    def undo(self, name: str) -> UserCommit | None:
        """Undo the last merge, and keep later changes. Return None if there is no merge that can be undone."""
        changed: ChangedValues = {}

        def edit(record: UserRecord) -> UserRecord | None:
            nonlocal changed
            merge = self.undoable(record)
            if merge is None:
                return None
            values = dict(record.values)
            for key, (before, after) in merge.changed.items():
                packed = self._undone(key, before, after, values.pop(key, None))
                if packed is not None:
                    values[key] = packed
            changed = _differences(record.values, values)
            return record._replace(values=values, merge_log=record.merge_log._replace(last=None))

        saved = self._write(self.load(name), edit)
        return None if saved is None else UserCommit(saved, [], changed)

    def undoable(self, record: UserRecord) -> LastMerge | None:
        """Return the merge that :meth:`undo` would undo: the last one, for :data:`UNDO_SECONDS`. Otherwise None."""
        last = record.merge_log.last
        return last if last is not None and is_within(self._namespace.now() - last.at, UNDO_SECONDS) else None

    def delete(self, name: str) -> bool:
        """Delete a user's data, even if it cannot be read. Return False if there was none.

        Requests that read the data before cannot save it any more.
        """
        had_values = is_unreadable = False

        def edit(record: UserRecord) -> UserRecord:
            nonlocal had_values
            had_values = bool(record.values)
            return record._replace(values={}, merge_log=MergeLog(os.urandom(8), record.merge_log.merged))

        entry = self._namespace.store.load(self._key(name))
        try:
            record = self._open(name, entry)
        except UserDataError:
            # The visitor ids in the entry are lost, because they cannot be read either.
            assert entry is not None
            record, is_unreadable = self._empty(name)._replace(version=entry.version), True
        self._write(record, edit)
        return had_values or is_unreadable

    # -- parts ----------------------------------------------------------------------------------------------

    def _rebase(self, base: Values, theirs: Values, changes: Changes) -> tuple[Values, list[MergeConflict]]:
        for key in changes:
            if key in theirs and base.get(key) != theirs[key]:
                unpack_value(key, theirs[key])  # raises: a value that cannot be read must not be overwritten
        return rebase(base, theirs, changes, self.settings.strategies, setting="USER_SESSION_MERGE")

    def _undone(self, key: Any, before: bytes | None, after: bytes | None, now: bytes | None) -> bytes | None:
        if now == after:
            return before
        three = [MISSING if packed is None else unpack_value(key, packed) for packed in (before, after, now)]
        try:
            value = undo_change(*three, is_sum=self.settings.strategies.get(key) is STRATEGIES["sum"])
            return None if value is MISSING else SecretBytes(codec.pack(value))
        except (codec.UnsupportedTypeError, RecursionError):
            raise UserDataError(
                f"user_session[{key!r}] holds values that cannot be compared, so the merge cannot be undone. "
                "To delete all data of the user, call delete_user_data()"
            ) from None

    def _write(self, record: UserRecord, edit: _Edit) -> UserRecord | None:
        """Call ``edit`` and write its result, again with the stored data if another request wrote first.

        Return the written data, or None if ``edit`` returned None.
        """
        key = self._key(record.name)

        def packed(current: UserRecord) -> tuple[UserRecord, bytes, int] | None:
            edited = edit(current)
            return None if edited is None else self._packed(edited, key, current)

        written = self._namespace.compare_and_set(key, record, packed, partial(self._open, record.name))
        return None if written is None else written[0]._replace(version=written[1])

    def _packed(self, record: UserRecord, key: bytes, before: UserRecord) -> tuple[UserRecord, bytes, int]:
        """Return the data to write, the same as bytes, and for how many seconds to store it."""
        now = self._namespace.now()
        record = record._replace(
            header=record.header._replace(created=record.header.created or now, renewed=now, seen=now)
        )
        data = self._entry_of(record, key)
        limit = self._namespace.max_bytes
        if len(data) > limit and record.merge_log.last is not None:
            # Without the undo of the merge the data may fit.
            record = record._replace(merge_log=record.merge_log._replace(last=None))
            data = self._entry_of(record, key)
        # Data that was stored under a higher limit may still be changed, as long as it does not grow.
        if len(data) > limit and _size(record.values) > _size(before.values):
            largest = max(record.values, key=lambda name: len(record.values[name]))
            raise SessionTooLargeError(len(data), limit, largest, len(record.values[largest]), "user_session")
        return record, data, self._seconds_to_store(record)

    def _entry_of(self, record: UserRecord, key: bytes) -> bytes:
        payload = envelope.pack_values({**record.values, MERGE_LOG_KEY: record.merge_log.packed()}, codec.pack)
        seal = Seal(self._seal_secrets(record.name)[0], key) if self._namespace.encrypts else None
        return envelope.pack(record.header, payload, key, seal_for=seal)

    def _open(self, name: str, entry: Entry | None) -> UserRecord:
        if entry is None:
            return self._empty(name)
        key = self._key(name)
        try:
            header, payload, sealed = envelope.open_header(entry.data, key)
            if header.kind is not EntryKind.USER_DATA:
                raise EnvelopeError("the entry is of another kind")
            if sealed:
                # An entry from before SESSION_ENCRYPTION was switched on is read as it is, and encrypted by a write.
                payload = self._unsealed(name, key, entry.data, payload)
            values = as_secrets(envelope.unpack_values(payload, codec.unpack_key))
            merge_log = MergeLog.from_packed(values.pop(MERGE_LOG_KEY))
        except (EnvelopeError, codec.CodecError, KeyError, TypeError, ValueError) as error:
            raise UserDataError(
                f"user data {public_id(key)} cannot be read ({type(error).__name__}: {error}) and stays as it is. If "
                "SECRET_KEY was changed, put the old key into SECRET_KEY_FALLBACKS; delete_user_data() deletes the data"
            ) from None
        if self._namespace.now() > header.seen + self.settings.lifetime:
            return UserRecord(name, entry.version, header, {}, merge_log._replace(last=None))
        return UserRecord(name, entry.version, header, values, merge_log)

    def _unsealed(self, name: str, key: bytes, data: bytes, payload: bytes) -> bytes:
        """Return the decrypted payload. Raises EnvelopeError if no secret fits."""
        *others, last = self._seal_secrets(name)
        for secret in others:
            with suppress(EnvelopeError):
                return envelope.unseal(data, payload, Seal(secret, key))
        return envelope.unseal(data, payload, Seal(last, key))

    def check_secrets(self) -> None:
        """Raise SettingError if the data must be encrypted, and SECRET_KEY is missing or too short for that."""
        if not self._namespace.encrypts:
            return
        if self.settings.secrets and len(self.settings.secrets[0]) < SHORTEST_SECRET:
            raise SettingError(
                "SECRET_KEY", f"is shorter than {SHORTEST_SECRET} bytes, so it can be guessed. Use 32 random bytes"
            )
        if not self.settings.secrets:
            raise SettingError(
                "SECRET_KEY",
                "is not set, and user_session needs it with SESSION_ENCRYPTION. A user's devices have different "
                "tickets, so the data is encrypted with SECRET_KEY",
            )

    def _seal_secrets(self, name: str) -> list[Secret]:
        """Return what takes the ticket's place in a seal: one text for each secret, the first one for writing."""
        if not self.settings.secrets:
            self.check_secrets()
            raise EnvelopeError("the entry is encrypted, and SECRET_KEY is not set")
        text = b"flask-cloakroom:user-data\0" + name.encode()
        return [Secret(hmac.digest(secret, text, "sha256").hex()) for secret in self.settings.secrets]

    def _empty(self, name: str) -> UserRecord:
        return UserRecord(name, None, Header(0, 0, 0, kind=EntryKind.USER_DATA), {}, MergeLog())

    def _key(self, name: str) -> bytes:
        return self._namespace.tickets.user_key(name)

    def _pending_seconds(self) -> int:
        """Return for how many seconds a session or tombstone can have visitor data that was merged already.

        The first write of a session after its login removes the visitor data, so the data is as old as the login.
        """
        return self._namespace.lifetimes.idle + CARRY_SECONDS + CLOCK_SKEW

    def _seconds_to_store(self, record: UserRecord) -> int:
        lifetime = self.settings.lifetime if record.values else DELETED_SECONDS
        # If the clock was set back, the last merge may have a time in the future. It was made now or earlier.
        last_merge = min(max(record.merge_log.merged.values(), default=0), self._namespace.now() + CLOCK_SKEW)
        return max(lifetime, last_merge + self._pending_seconds() - self._namespace.now()) + 1


def unpack_value(key: Any, packed: bytes) -> Any:
    """Return a value of a user's data. Raises UserDataError, which names the key, if it cannot be decoded."""
    try:
        return codec.unpack(packed)
    except codec.CodecError as error:
        raise UserDataError(
            f"user_session[{key!r}] cannot be decoded and stays as it is: {error}. Register its type with "
            "register_type, or delete or set the key to drop the value"
        ) from None


def _differences(before: Values, after: Values) -> ChangedValues:
    keys = [*after, *(key for key in before if key not in after)]
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def _size(values: Values) -> int:
    return sum(map(len, values.values()))
