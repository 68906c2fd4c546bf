"""What belongs to a user: one entry in the sessions' store, the same on every device. Without Flask.

It lies as a session does, each value packed by itself, and every write is a compare-and-set of that one entry. What a
visitor brings at a login is merged in the same write that notes the id of it, so that it is merged once, whoever tries
again. A deletion leaves an empty entry behind, with another generation and with those ids: what was read before it
can't be saved any more, and what was merged before it isn't merged again.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

from ...errors import SessionTooLargeError, SettingError, UserDataError
from ...secret import Secret, SecretBytes
from ...stores.base import Entry
from ..clock import CLOCK_SKEW, is_within
from ..entries import envelope
from ..entries.envelope import EntryKind, EnvelopeError, Header, Seal
from ..entries.namespace import Namespace
from ..entries.tickets import public_id
from ..entries.tombstone import LEFT_SECONDS
from ..values import codec
from ..values.merge import MISSING, STRATEGIES, Strategies
from ..values.rebase import Changes, Contested, Values, rebase, same
from ..values.undo import take_back
from .merge_log import NOTE, Note, Undo
from .visitor import Brought

#: Seconds without use after which it is over, unless told: as long as any browser keeps a cookie (RFC 6265bis, 5.6.3),
#: so that who is still remembered by a device finds what is theirs.
DEFAULT_LIFETIME: Final = 400 * 24 * 3600
#: "Last seen" is written anew when a tenth of the lifetime has passed, and at the latest after so many seconds. Nobody
#: is shown it, so a day is exact enough.
REFRESH_SECONDS: Final = 24 * 3600
#: Seconds for which the last merge can be undone: the pages after a login, and a night to sleep over it.
UNDO_SECONDS: Final = 24 * 3600
#: Seconds for which a deletion is in the way of requests that began before it, as a session's mark is.
DELETED_SECONDS: Final = 30
#: Bytes of a secret below which anybody can try all that people think of; remember tokens refuse those as well.
SHORTEST_SECRET: Final = 8


@dataclass(frozen=True, slots=True)
class UserDataSettings:
    """How it is kept."""

    strategies: Strategies = field(default_factory=dict)
    #: Seconds.
    lifetime: int = DEFAULT_LIFETIME
    #: What it is sealed with, if sessions are: the application's SECRET_KEY, and then those that are for reading only.
    secrets: tuple[bytes, ...] = field(default=(), repr=False)


class Held(NamedTuple):
    """What is known of a user's entry: the base of the next write."""

    name: str
    #: None: nothing is stored.
    version: bytes | None
    header: Header
    #: Key to packed value. Never changed in place.
    values: Values
    note: Note

    def __repr__(self) -> str:
        return f"<Held keys={len(self.values)}>"


class Merged(NamedTuple):
    """A write went through: what is stored now, and what was contested."""

    held: Held
    contested: list[Contested]
    #: Key to packed value before and after, of what a merge or an undo changed.
    changed: dict[Any, tuple[bytes | None, bytes | None]]


#: From what is stored to what shall be; None for "leave it".
_Work = Callable[[Held], Held | None]


class UserData:
    """That of the users of one namespace. One object serves all threads of a process.

    A user is named by :meth:`.tickets.Tickets.owner_name`. Every method raises StoreError if the store is down,
    UserDataError (which is one) if what is stored cannot be read, and ContentionError if others write all the time.
    """

    def __init__(self, namespace: Namespace, settings: UserDataSettings) -> None:
        self._namespace = namespace
        self.settings = settings

    # -- reading --------------------------------------------------------------------------------------------

    def load(self, name: str) -> Held:
        """Return what is stored, be it nothing. One store command."""
        return self._open(name, self._namespace.store.load(self._key(name)))

    def is_due(self, held: Held) -> bool:
        """Tell whether it should be written down that it is in use."""
        refresh = min(self.settings.lifetime // 10, REFRESH_SECONDS)
        unseen = self._namespace.now() - held.header.seen
        # A time in the future is written anew as well. Else it would lengthen the life of the data.
        return bool(held.values) and (unseen >= refresh or unseen < -CLOCK_SKEW)

    # -- writing --------------------------------------------------------------------------------------------

    def commit(self, base: Held, changes: Changes) -> Merged | None:
        """Write ``changes``, merging with what others wrote since ``base`` was read. None: it was deleted meanwhile.

        Raises SessionTooLargeError, SessionValueError.
        """
        contested: list[Contested] = []

        def work(held: Held) -> Held | None:
            is_other = held.note.generation != base.note.generation
            # One without data goes soon by itself, and then nothing was deleted.
            if bool(base.values) if held.version is None else is_other:
                return None
            values, contested[:] = self._rebase(base.values, held.values, changes)
            return held._replace(values=values)

        saved = self._write(base, work)
        return None if saved is None else Merged(saved, contested, {})

    def merge(self, name: str, brought: Brought) -> Merged | None:
        """Merge what a visitor brings, unless that was done before; then None.

        For each key both sides began with nothing; its strategy says what becomes of the two, else the general rule,
        by which the visitor's is the later change. Raises SessionTooLargeError, SessionValueError.
        """
        contested: list[Contested] = []
        changed: dict[Any, tuple[bytes | None, bytes | None]] = {}

        def work(held: Held) -> Held | None:
            if brought.visitor_id in held.note.merged:
                return None
            values, contested[:] = self._rebase({}, held.values, brought.values)
            changed.clear()
            changed.update(_differences(held.values, values))
            note = held.note.with_merged(brought.visitor_id, self._namespace.now(), self._longest_pending())
            return held._replace(values=values, note=note._replace(undo=Undo(self._namespace.now(), dict(changed))))

        saved = self._write(self.load(name), work)
        return None if saved is None else Merged(saved, contested, changed)

    def undo(self, name: str) -> Merged | None:
        """Take the last merge back out, for :data:`UNDO_SECONDS`; what was changed since stays. None: there is none."""
        changed: dict[Any, tuple[bytes | None, bytes | None]] = {}

        def work(held: Held) -> Held | None:
            undo = self.undoable(held)
            if undo is None:
                return None
            values = dict(held.values)
            for key, (before, after) in undo.changed.items():
                packed = self._taken_back(key, before, after, values.pop(key, None))
                if packed is not None:
                    values[key] = packed
            changed.clear()
            changed.update(_differences(held.values, values))
            return held._replace(values=values, note=held.note._replace(undo=None))

        saved = self._write(self.load(name), work)
        return None if saved is None else Merged(saved, [], changed)

    def undoable(self, held: Held) -> Undo | None:
        """Return what :meth:`undo` would take back; None if there is nothing."""
        undo = held.note.undo
        return undo if undo is not None and is_within(self._namespace.now() - undo.at, UNDO_SECONDS) else None

    def delete(self, name: str) -> bool:
        """Delete all of it, whatever others are writing; False if there was nothing. Requests under way are late."""
        had: list[bool] = []

        def work(held: Held) -> Held:
            had[:] = [bool(held.values)]
            note = Note(generation=os.urandom(8), merged=held.note.merged)
            return held._replace(values={}, note=note)

        entry = self._namespace.store.load(self._key(name))
        try:
            held = self._open(name, entry)
        except UserDataError:
            # Then this is the way out. Which ids it knew is lost with it.
            assert entry is not None
            held = self._nothing(name)._replace(version=entry.version)
            self._write(held, work)
            return True
        self._write(held, work)
        return had[0]

    # -- parts ----------------------------------------------------------------------------------------------

    def _rebase(self, base: Values, theirs: Values, changes: Changes) -> tuple[Values, list[Contested]]:
        for key in changes:
            if key in theirs and base.get(key) != theirs[key]:
                unpacked(key, theirs[key])  # what cannot be read must not be taken for something that may go
        return rebase(base, theirs, changes, self.settings.strategies, setting="USER_SESSION_MERGE")

    def _taken_back(self, key: Any, before: bytes | None, after: bytes | None, now: bytes | None) -> bytes | None:
        if now == after:
            return before
        three = [MISSING if packed is None else unpacked(key, packed) for packed in (before, after, now)]
        is_sum = self.settings.strategies.get(key) is STRATEGIES["sum"]
        try:
            left = take_back(*three, same=same, packed=codec.pack, is_sum=is_sum)
            return None if left is MISSING else SecretBytes(codec.pack(left))
        except (codec.UnsupportedTypeError, RecursionError):
            raise UserDataError(
                f"user_session[{key!r}] holds values that cannot be compared, so the merge cannot be taken back. "
                "delete_user_data() gives all of the user's data up"
            ) from None

    def _write(self, held: Held, work: _Work) -> Held | None:
        """Compare and set until it is in, asking ``work`` anew for what is stored by then. None if it said None."""
        key = self._key(held.name)

        def packed(found: Held) -> tuple[Held, bytes, int] | None:
            wanted = work(found)
            return None if wanted is None else self._packed(wanted, key, found)

        written = self._namespace.compare_and_set(key, held, packed, partial(self._open, held.name))
        return None if written is None else written[0]._replace(version=written[1])

    def _packed(self, wanted: Held, key: bytes, before: Held) -> tuple[Held, bytes, int]:
        now = self._namespace.now()
        header = wanted.header._replace(created=wanted.header.created or now, renewed=now, seen=now)
        wanted = wanted._replace(header=header)
        data = self._sealed(wanted, key)
        limit = self._namespace.max_bytes
        if len(data) > limit and wanted.note.undo is not None:
            wanted = wanted._replace(note=wanted.note._replace(undo=None))
            data = self._sealed(wanted, key)
        # One that was stored when the limit was higher can still be read, be used and shrink.
        if len(data) > limit and _size(wanted.values) > _size(before.values):
            largest = max(wanted.values, key=lambda name: len(wanted.values[name]))
            raise SessionTooLargeError(len(data), limit, largest, len(wanted.values[largest]), "user_session")
        return wanted, data, self._remaining(wanted)

    def _sealed(self, wanted: Held, key: bytes) -> bytes:
        payload = envelope.pack_values({**wanted.values, NOTE: wanted.note.packed()}, codec.pack)
        seal = Seal(self._seals(wanted.name)[0], key) if self._namespace.encrypts else None
        return envelope.pack(wanted.header, payload, key, seal_for=seal)

    def _open(self, name: str, entry: Entry | None) -> Held:
        if entry is None:
            return self._nothing(name)
        key = self._key(name)
        try:
            header, payload, sealed = envelope.open_header(entry.data, key)
            if header.kind is not EntryKind.USER_DATA:
                raise EnvelopeError("it is something else")
            if sealed:
                # What was stored before SESSION_ENCRYPTION was switched on is read, and sealed by the next write.
                payload = self._unsealed(name, key, entry.data, payload)
            values = envelope.unpack_values(payload, codec.unpack_key)
            note = Note.unpacked(values.pop(NOTE))
        except (EnvelopeError, codec.CodecError, KeyError, TypeError, ValueError) as error:
            raise UserDataError(
                f"user data {public_id(key)} cannot be read ({type(error).__name__}: {error}) and stays as it is. "
                "If SECRET_KEY was changed, put the old one into SECRET_KEY_FALLBACKS; delete_user_data() gives it up"
            ) from None
        if self._namespace.now() > header.seen + self.settings.lifetime:
            values = {}
            note = note._replace(undo=None)
        return Held(name, entry.version, header, values, note)

    def _unsealed(self, name: str, key: bytes, data: bytes, payload: bytes) -> bytes:
        for number, seal in enumerate(seals := self._seals(name), 1):
            try:
                return envelope.unseal(data, payload, Seal(seal, key))
            except EnvelopeError:
                if number == len(seals):
                    raise
        raise AssertionError  # there is at least one

    def check_secrets(self) -> None:
        """Raise SettingError if it must be sealed and there is nothing to seal it with, or nothing that is secret."""
        if not self._namespace.encrypts:
            return
        if self.settings.secrets and len(self.settings.secrets[0]) < SHORTEST_SECRET:
            raise SettingError(
                "SECRET_KEY", f"is shorter than {SHORTEST_SECRET} bytes, so all can be tried; make it 32"
            )
        if not self.settings.secrets:
            raise SettingError(
                "SECRET_KEY",
                "is not set, and user_session needs it with SESSION_ENCRYPTION: what belongs to a user is sealed "
                "with a key that is made of it, because no ticket is the same on all devices",
            )

    def _seals(self, name: str) -> list[Secret]:
        """Return what stands for the ticket, made with each secret: the first is for writing."""
        if not self.settings.secrets:
            self.check_secrets()
            raise EnvelopeError("it is sealed, and there is no SECRET_KEY")
        text = b"flask-cloakroom:user-data\0" + name.encode()
        return [Secret(hmac.digest(secret, text, "sha256").hex()) for secret in self.settings.secrets]

    def _nothing(self, name: str) -> Held:
        return Held(name, None, Header(0, 0, 0, kind=EntryKind.USER_DATA), {}, Note())

    def _key(self, name: str) -> bytes:
        return self._namespace.tickets.user_key(name)

    def _longest_pending(self) -> int:
        """Return for how many seconds a session, or a mark, may hold what was merged already.

        Whatever a session writes once it is a user's drops it as well, so it is as old as the login.
        """
        return self._namespace.lifetimes.idle + LEFT_SECONDS + CLOCK_SKEW

    def _remaining(self, held: Held) -> int:
        lifetime = self.settings.lifetime if held.values else DELETED_SECONDS
        # A merge that is noted in the future, by a clock that was set back, was made by now.
        noted = min(max(held.note.merged.values(), default=0), self._namespace.now() + CLOCK_SKEW)
        return max(lifetime, noted + self._longest_pending() - self._namespace.now()) + 1


def unpacked(key: Any, packed: bytes) -> Any:
    """Return a value. Raises UserDataError, which names the key."""
    try:
        return codec.unpack(packed)
    except codec.CodecError as error:
        raise UserDataError(
            f"user_session[{key!r}] cannot be decoded and stays as it is: {error}. Register its type with "
            "register_type, or give the value up by deleting or setting the key"
        ) from None


def _differences(before: Values, after: Values) -> dict[Any, tuple[bytes | None, bytes | None]]:
    keys = [*after, *(key for key in before if key not in after)]
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def _size(values: Values) -> int:
    return sum(map(len, values.values()))
