"""Users' data in the store: one entry for each user, which all devices of the user share. Without Flask.

Each value is packed separately, as in a session. Each write is a compare-and-set of the whole entry. A merge writes the
visitor data and the visitor id in one write, so a second try of the same login does not merge the data twice. A
deletion writes an empty entry with a new generation and with the old visitor ids. So a request that read the data
before the deletion cannot save the data after it. And visitor data that was merged before is not merged again.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

from ...errors import SessionTooLargeError, SettingError, StoreError, UserDataError
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
from ..values.rebase import Changes, Values, apply_changes, rebase
from ..values.undo import undo_change, undo_changes
from .merge_log import MERGE_LOG_KEY, ChangedValues, LastMerge, MergeLog
from .visitor import VisitorData

log = logging.getLogger("flask_cloakroom.sessions")

#: The default of the time in seconds after which unused data is deleted. Browsers keep a cookie for 400 days at most
#: (RFC 6265bis, 5.6.3). So the data exists as long as a remember cookie can log the user in.
DEFAULT_LIFETIME: Final = 400 * 24 * 3600
#: The age in seconds of the stored time of the last use at which a request writes a newer time. For a short lifetime, a
#: tenth of the lifetime is used instead. No page shows this time, so a day is exact enough.
REFRESH_SECONDS: Final = 24 * 3600
#: The time in seconds after a merge for which it can be undone: until the next day.
UNDO_SECONDS: Final = 24 * 3600
#: The time in seconds for which an empty entry exists after a deletion. The entry prevents a save by requests that
#: began before the deletion. No request lasts longer: 30 s is gunicorn's default timeout.
DELETED_SECONDS: Final = 30
#: The shortest allowed length of SECRET_KEY in bytes. An attacker could guess a shorter secret key. Signed remember
#: tokens have the same limit.
SHORTEST_SECRET: Final = 8


@dataclass(frozen=True, slots=True)
class UserDataSettings:
    """The settings of user data. ``strategies`` are the merge strategies of USER_SESSION_MERGE."""

    strategies: Strategies = field(default_factory=dict)
    #: The time in seconds after which unused data is deleted.
    lifetime: int = DEFAULT_LIFETIME
    #: First SECRET_KEY, which encrypts and decrypts the data if SESSION_ENCRYPTION is on. Then SECRET_KEY_FALLBACKS,
    #: which only decrypt.
    secrets: tuple[bytes, ...] = field(default=(), repr=False)


class UserRecord(NamedTuple):
    """A user's data as this request has read or written it. ``name`` is the user's owner name."""

    name: str
    #: The version of the user's entry, or None if the store has no entry of the user.
    version: bytes | None
    header: Header
    #: Each key with its packed value. This dict is never changed; each write makes a new dict.
    values: Values
    merge_log: MergeLog

    def __repr__(self) -> str:
        return f"<UserRecord keys={len(self.values)}>"


class UserCommit(NamedTuple):
    """The result of a write: the data that was written, the conflicts, and the changes of a merge or an undo."""

    record: UserRecord
    conflicts: list[MergeConflict]
    changed: ChangedValues
    #: The data that the write replaced.
    before: UserRecord


#: A function that gets the data in the store and returns the data to write. If it returns None, nothing is written.
_Edit = Callable[[UserRecord], UserRecord | None]


class UserData:
    """Reads and writes the data of all users of one namespace. One object serves all threads of a process.

    ``name`` is always a user's owner name, which :meth:`.tickets.Tickets.owner_name` returns. Every method raises
    StoreError if the store fails, and UserDataError (a StoreError) if the data in the store cannot be read. Methods
    that write raise ContentionError if other requests write the same entry all the time.
    """

    def __init__(self, namespace: Namespace, settings: UserDataSettings) -> None:
        self._namespace = namespace
        self.settings = settings

    # -- reading --------------------------------------------------------------------------------------------

    def load(self, name: str) -> UserRecord:
        """Return a user's data. The data is empty if the store has no entry of the user. Takes one store command."""
        return self._open(name, self._namespace.store.load(self._key(name)))

    def is_due(self, record: UserRecord) -> bool:
        """Return True if the stored time of the last use is too old, so that the caller should write a newer time."""
        refresh = min(self.settings.lifetime // 10, REFRESH_SECONDS)
        unseen = self._namespace.now() - record.header.seen
        # With a time in the future, the data would live too long. So such a time is also replaced.
        return bool(record.values) and (unseen >= refresh or unseen < -CLOCK_SKEW)

    # -- writing --------------------------------------------------------------------------------------------

    def commit(self, base: UserRecord, changes: Changes) -> UserCommit | None:
        """Write ``changes``, merged with the changes that other requests wrote after this request had read ``base``.

        Return None, and write nothing, if the data was deleted after this request had read ``base``. Raises
        SessionTooLargeError and SessionValueError.
        """
        conflicts: list[MergeConflict] = []

        def edit(record: UserRecord) -> UserRecord | None:
            is_other = record.merge_log.generation != base.merge_log.generation
            # The entry may be gone because an empty entry has expired. So an empty base means that no data was deleted.
            if bool(base.values) if record.version is None else is_other:
                return None
            values, conflicts[:] = self._rebase(base.values, record.values, changes)
            return record._replace(values=values)

        saved = self._write(base, edit)
        return None if saved is None else UserCommit(saved[0], conflicts, {}, saved[1])

    def check(self, base: UserRecord, changes: Changes) -> None:
        """Raise SessionTooLargeError if :meth:`commit` would raise it for these changes. Write nothing."""
        edited = base._replace(values=apply_changes(base.values, changes))
        self._packed(edited, self._key(base.name), base)

    def take_back(self, committed: UserCommit) -> bool:
        """Take back a commit or merge, because a later write of the same request has failed. Return True.

        Later changes of other requests stay, and deleted data stays deleted. After the taking back of a merge, the same
        visitor data can be merged again. Return False, and log a warning, if the store fails: then the write stays.
        """
        before, after = committed.before, committed.record
        new_ids = after.merge_log.merged.keys() - before.merge_log.merged.keys()

        def edit(record: UserRecord) -> UserRecord | None:
            generation, merged, last = record.merge_log
            if record.version is None or generation != after.merge_log.generation:
                return None
            changes = undo_changes(before.values, after.values, record.values, self.settings.strategies)
            merged = {visitor_id: at for visitor_id, at in merged.items() if visitor_id not in new_ids}
            merge_log = MergeLog(generation, merged, before.merge_log.last if last == after.merge_log.last else last)
            return record._replace(values=apply_changes(record.values, changes), merge_log=merge_log)

        try:
            self._write(after, edit)
        except (StoreError, SessionTooLargeError) as error:
            sid = public_id(self._key(after.name))
            log.warning("user data %s: the changes of a request that failed stay, because %s", sid, error)
            return False
        return True

    def merge(self, name: str, visitor: VisitorData) -> UserCommit | None:
        """Merge visitor data into a user's data. Return None, and write nothing, if it was merged before.

        If both have a value for a key, the values are merged like two changes of an empty value. If they cannot be
        merged, the visitor's value wins, unless a strategy for the key says otherwise. Raises SessionTooLargeError and
        SessionValueError.
        """
        conflicts: list[MergeConflict] = []
        changed: ChangedValues = {}

        def edit(record: UserRecord) -> UserRecord | None:
            nonlocal changed
            if visitor.visitor_id in record.merge_log.merged:
                return None
            values, conflicts[:] = self._rebase({}, record.values, visitor.values)
            changed, now = _differences(record.values, values), self._namespace.now()
            merge_log = record.merge_log.with_merged(visitor.visitor_id, now, self._pending_seconds())
            return record._replace(values=values, merge_log=merge_log._replace(last=LastMerge(now, changed)))

        saved = self._write(self.load(name), edit)
        return None if saved is None else UserCommit(saved[0], conflicts, changed, saved[1])

    def undo(self, name: str) -> UserCommit | None:
        """Undo the last merge. Changes that were made after the merge stay. Return None if no merge can be undone."""
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
        return None if saved is None else UserCommit(saved[0], [], changed, saved[1])

    def undoable(self, record: UserRecord) -> LastMerge | None:
        """Return the last merge, which :meth:`undo` would undo. Return None if it is older than :data:`UNDO_SECONDS`.

        Return None also if there was no merge.
        """
        last = record.merge_log.last
        return last if last is not None and is_within(self._namespace.now() - last.at, UNDO_SECONDS) else None

    def delete(self, name: str) -> bool:
        """Delete a user's data, even if it cannot be read. Return False if the user had no data.

        A request that read the data before the deletion cannot save it after the deletion.
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
            # The entry cannot be read. So the new entry has none of the visitor ids that were in the merge log.
            assert entry is not None
            record, is_unreadable = self._empty(name)._replace(version=entry.version), True
        self._write(record, edit)
        return had_values or is_unreadable

    # -- parts ----------------------------------------------------------------------------------------------

    def _rebase(self, base: Values, theirs: Values, changes: Changes) -> tuple[Values, list[MergeConflict]]:
        for key in changes:
            if key in theirs and base.get(key) != theirs[key]:
                unpack_value(key, theirs[key])  # raises UserDataError, so that no unreadable value is overwritten
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
                f"user_session[{key!r}] has values that cannot be compared, so the merge cannot be undone. "
                "To delete all data of the user, call delete_user_data()."
            ) from None

    def _write(self, record: UserRecord, edit: _Edit) -> tuple[UserRecord, UserRecord] | None:
        """Call ``edit`` with the data in ``record``, and write its result. Return the new data and the replaced data.

        If another request has written the entry meanwhile, call ``edit`` again with the new data in the store. Return
        None if ``edit`` returned None.
        """
        key, replaced = self._key(record.name), record

        def packed(current: UserRecord) -> tuple[UserRecord, bytes, int] | None:
            nonlocal replaced
            edited, replaced = edit(current), current
            return None if edited is None else self._packed(edited, key, current)

        written = self._namespace.compare_and_set(key, record, packed, partial(self._open, record.name))
        return None if written is None else (written[0]._replace(version=written[1]), replaced)

    def _packed(self, record: UserRecord, key: bytes, before: UserRecord) -> tuple[UserRecord, bytes, int]:
        """Return the data to write, the bytes of its entry, and the seconds after which the entry expires."""
        now = self._namespace.now()
        record = record._replace(
            header=record.header._replace(created=record.header.created or now, renewed=now, seen=now)
        )
        data = self._entry_of(record, key)
        limit = self._namespace.max_bytes
        if len(data) > limit and record.merge_log.last is not None:
            # Remove the data for an undo of the last merge. Then the entry may be small enough.
            record = record._replace(merge_log=record.merge_log._replace(last=None))
            data = self._entry_of(record, key)
        # If SESSION_MAX_BYTES was lowered, data that is too large can still be changed, but must not grow.
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
                raise EnvelopeError("the entry is no user data")
            if sealed:
                # An entry that is not encrypted was written before SESSION_ENCRYPTION was switched on. It is read as it
                # is, and the next write encrypts it.
                payload = self._unsealed(name, key, entry.data, payload)
            values = as_secrets(envelope.unpack_values(payload, codec.unpack_key))
            merge_log = MergeLog.from_packed(values.pop(MERGE_LOG_KEY))
        except (EnvelopeError, codec.CodecError, KeyError, TypeError, ValueError) as error:
            raise UserDataError(
                f"User data {public_id(key)} cannot be read ({type(error).__name__}: {error}) and stays as it is. If "
                "SECRET_KEY was changed, add the old key to SECRET_KEY_FALLBACKS. delete_user_data() deletes the data."
            ) from None
        if self._namespace.now() > header.seen + self.settings.lifetime:
            return UserRecord(name, entry.version, header, {}, merge_log._replace(last=None))
        return UserRecord(name, entry.version, header, values, merge_log)

    def _unsealed(self, name: str, key: bytes, data: bytes, payload: bytes) -> bytes:
        """Return the decrypted payload. Raises EnvelopeError if none of the secret keys can decrypt it."""
        *others, last = self._seal_secrets(name)
        for secret in others:
            with suppress(EnvelopeError):
                return envelope.unseal(data, payload, Seal(secret, key))
        return envelope.unseal(data, payload, Seal(last, key))

    def check_secrets(self) -> None:
        """Raise SettingError if SESSION_ENCRYPTION is on and SECRET_KEY is missing or too short."""
        if not self._namespace.encrypts:
            return
        if self.settings.secrets and len(self.settings.secrets[0]) < SHORTEST_SECRET:
            raise SettingError(
                "SECRET_KEY", f"is shorter than {SHORTEST_SECRET} bytes, so it can be guessed. Use 32 random bytes"
            )
        if not self.settings.secrets:
            raise SettingError(
                "SECRET_KEY",
                "is not set. Set it to 32 random bytes: with SESSION_ENCRYPTION, user_session is encrypted with "
                "SECRET_KEY, because a user's devices have different tickets",
            )

    def _seal_secrets(self, name: str) -> list[Secret]:
        """Return one secret text for each secret key. It is used in a :class:`.Seal` in the place of a ticket.

        The first text encrypts and decrypts. The others only decrypt.
        """
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
        """Return the longest time, in seconds, for which a session or tombstone can have visitor data after its merge.

        The first write of a session after its login removes the visitor data. So the data cannot exist for longer than
        an unused session and a tombstone.
        """
        return self._namespace.lifetimes.idle + CARRY_SECONDS + CLOCK_SKEW

    def _seconds_to_store(self, record: UserRecord) -> int:
        lifetime = self.settings.lifetime if record.values else DELETED_SECONDS
        # If the clock was set back, the last merge may have a time in the future. The present time is used instead.
        last_merge = min(max(record.merge_log.merged.values(), default=0), self._namespace.now() + CLOCK_SKEW)
        return max(lifetime, last_merge + self._pending_seconds() - self._namespace.now()) + 1


def unpack_value(key: Any, packed: bytes) -> Any:
    """Return a value of a user's data, unpacked. Raises UserDataError, whose text names the key, if that fails."""
    try:
        return codec.unpack(packed)
    except codec.CodecError as error:
        raise UserDataError(
            f"user_session[{key!r}] cannot be decoded and stays as it is: {error}. Register the value's type with "
            "register_type. Or set or delete the key, so that the stored value is deleted."
        ) from None


def _differences(before: Values, after: Values) -> ChangedValues:
    keys = [*after, *(key for key in before if key not in after)]
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def _size(values: Values) -> int:
    return sum(map(len, values.values()))
