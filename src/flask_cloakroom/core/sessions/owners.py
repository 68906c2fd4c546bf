"""Whose sessions are where: the owner index, kept so that it may hold too much and never too little.

A session's key is claimed for its owner before the session is created or moved there, and released after it has ended.
Whatever crashes in between leaves a claim without a session, which is pruned by whoever reads it, or expires. What a
claim says is never believed: the session's own header decides.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from ...errors import CloakroomError, SessionLimitError, StoreError
from ...stores.base import Claim, Entry, Owners, Walks
from ..clock import CLOCK_SKEW, is_within
from ..entries.envelope import Header
from ..entries.record import Record
from ..values import codec, own_keys
from ..values.own_keys import USER_KEY
from ..values.rebase import Values
from .ending import bury, destination, end, end_entry, header_of, walked

if TYPE_CHECKING:
    from .repository import Repository

log = logging.getLogger("flask_cloakroom.sessions")

#: Seconds that a claim outlives its session, because clocks differ and a commit takes time.
CLAIM_SLACK: Final = CLOCK_SKEW
#: For so many seconds a claim without a session is taken for one that is about to be created. Nothing but courtesy
#: rests on it: a key whose claim is pruned too early cannot be created any more, and the login is tried again.
PENDING_SECONDS: Final = 20
#: Random bytes in a handle: none is ever met twice.
HANDLE_BYTES: Final = 9


class Ownership(NamedTuple):
    """What a session's header says of its owner."""

    #: A hash of the owner's id, bound to the namespace: :meth:`.ticket.Tickets.owner_name`.
    name: str
    #: Names the session from login to logout, through all rotations. It opens nothing.
    handle: str
    #: What whoever logs in wants to find in the list of sessions. Nothing here reads it.
    note: str = ""

    def __str__(self) -> str:
        return ".".join(self)

    @classmethod
    def parse(cls, text: str) -> Ownership | None:
        """Return what ``str()`` was made of; None for a session that is nobody's."""
        parts = text.split(".", 2)
        return cls(*parts) if len(parts) == 3 else None


class Begun(NamedTuple):
    """What is said of a login with which a session gets its owner."""

    note: str = ""
    #: That of the family of remember tokens which belongs to it; "" makes a new one.
    handle: str = ""


NOTHING_BEGUN: Final = Begun()


def new_handle() -> str:
    """Return what names a login, and opens nothing."""
    return secrets.token_urlsafe(HANDLE_BYTES)


class OwnedSession(NamedTuple):
    """A live session of somebody's."""

    key: bytes
    header: Header
    owner: Ownership


@dataclass(frozen=True, slots=True)
class SessionLimit:
    """How many sessions a user may have, and what happens at one more."""

    most: int
    #: "oldest": what was not used for longest ends. "refuse": the new one is not begun.
    policy: Literal["oldest", "refuse"] = "oldest"


class OwnerIndex:
    """The index of one repository. Where the store has no such power nothing is noted, and nothing can be listed."""

    def __init__(self, repository: Repository, limit: SessionLimit | None = None) -> None:
        self._repository = repository
        self.limit = limit

    @property
    def power(self) -> Owners | None:
        """The store's, if it has it."""
        store: Any = self._repository.store
        return store if isinstance(store, Owners) else None

    @property
    def is_kept(self) -> bool:
        """Whether the store can tell which sessions belong to a user."""
        return self.power is not None

    def require(self) -> Owners:
        """Return the store's power. Raises CloakroomError if it has none."""
        power = self.power
        if power is None:
            raise CloakroomError(
                f"{self._repository.store} cannot tell which sessions belong to a user: it has none of claim(), "
                "release() and owned() (flask_cloakroom.stores.Owners). SQLite, Redis and Valkey have them."
            )
        return power

    # -- what a session's header says -----------------------------------------------------------------------

    def describe(self, values: Values, before: str = "", begun: Begun | None = None) -> str:
        """Return what the header has to say, for a session with these values that said ``before`` until now.

        ``begun`` is of a login that begins with this; None: what it said, if the owner is the same.
        """
        user_id = user_id_in(values)
        if user_id is None:
            return ""
        name = self._repository.tickets.owner_name(str(user_id))
        was = Ownership.parse(before)
        if was is not None and was.name == name:
            return str(was if begun is None else was._replace(note=begun.note, handle=begun.handle or was.handle))
        begun = begun or NOTHING_BEGUN
        return str(Ownership(name, begun.handle or new_handle(), begun.note))

    # -- around a session's writes ----------------------------------------------------------------------------

    def admit(self, header: Header, key: bytes, moves: str = "") -> None:
        """Claim ``key`` for a session that is about to be created there, within the owner's limit.

        ``moves`` is what the header of the session said that this one takes the place of: if that has the same owner,
        it is not one more. Raises SessionLimitError if the limit refuses it; then nothing was done.
        """
        owner, power = Ownership.parse(header.owner), self.power
        if owner is None or power is None:
            return
        was = Ownership.parse(moves)
        limit = None if was is not None and was.name == owner.name else self.limit
        claimed = self._claim(power, owner, header, key, limit)
        if not claimed:
            # A session that ended without being released, by a crash, must not keep its owner out.
            for _ in self._sift(power, owner.name):
                pass
            claimed = self._claim(power, owner, header, key, limit)
        if not claimed:
            assert limit is not None
            raise SessionLimitError(limit.most)
        if limit is not None and limit.policy == "oldest":
            self._make_room(power, owner.name, limit.most, owner.handle)

    def _claim(self, power: Owners, owner: Ownership, header: Header, key: bytes, limit: SessionLimit | None) -> bool:
        most = limit.most if limit is not None and limit.policy == "refuse" else None
        return power.claim(_indexed(owner.name), key, self._repository.remaining(header) + CLAIM_SLACK, most)

    def keep(self, header: Header, key: bytes) -> None:
        """Claim ``key`` for as long as its session may live, before a write that lengthens that."""
        owner, power = Ownership.parse(header.owner), self.power
        if owner is not None and power is not None:
            self._claim(power, owner, header, key, None)

    def release(self, header: Header, key: bytes) -> None:
        """Forget ``key``, whose session has ended or moved. That the store fails is only logged: it may hold more."""
        owner, power = Ownership.parse(header.owner), self.power
        if owner is not None and power is not None:
            self._forget(power, owner.name, key)

    def _forget(self, power: Owners, name: str, key: bytes) -> None:
        try:
            power.release(_indexed(name), key)
        except StoreError as error:
            log.warning("the claim of an ended session was not released: %s", error)

    def _make_room(self, power: Owners, name: str, most: int, begins: str) -> None:
        """End all but the ``most`` sessions that were used last, those that others are about to create included.

        Exact without a lock: claims of one owner stand in one order, and each login comes here after its claim and
        before its session is there. The last of them sees all claims. A session that is ended here has ``most`` claims
        after it, and those that come later stand after these.
        """
        claims = power.owned(_indexed(name))
        if len(claims) <= most:
            return
        # What remembers the login that begins must not end with a session which that has left behind.
        handles: set[str] = set()
        alive = 0
        for claim in reversed(claims):
            if alive >= most:
                self._evict(power, name, claim.key, most, {*handles, begins})
                continue
            found = self._look(power, name, claim)
            if found is None:
                continue
            owner = None if found.header is _PENDING else Ownership.parse(found.header.owner)
            if owner is None:
                alive += 1
            elif owner.handle not in handles:  # else it is just moving, and stands here twice
                handles.add(owner.handle)
                alive += 1

    def _evict(self, power: Owners, name: str, key: bytes, most: int, handles: set[str]) -> None:
        entry = self._repository.store.load(key)
        header = None if entry is None else self._live(key, entry)
        owner = None if header is None else Ownership.parse(header.owner)
        if owner is not None and owner.handle not in handles:
            # Or that browser would be logged in again by itself, and put another one out.
            self._repository.families.end_login(name, owner.handle)
        if end(self._repository, key):
            log.info("a session was ended, because its user has begun more than %d", most)
        self._forget(power, name, key)

    # -- reading ------------------------------------------------------------------------------------------

    def lacks(self, record: Record) -> bool:
        """Tell whether the index has lost the claim of a live session. Two store commands at most. Raises StoreError.

        A claim is made before its session and released after the session's end. So a live session without a claim
        means that the store dropped some of the index, as a Redis does that evicts keys.
        """
        owner, power = Ownership.parse(record.header.owner), self.power
        if owner is None or power is None:
            return False
        if any(claim.key == record.key for claim in power.owned(_indexed(owner.name))):
            return False
        entry = self._repository.store.load(record.key)  # the session may have moved or ended since it was read
        return entry is not None and self._live(record.key, entry) is not None

    def sessions(self, name: str) -> list[OwnedSession]:
        """Return the live sessions of an owner, those used last first; forget claims that have none.

        Raises StoreError, and CloakroomError if the store has no index.
        """
        found: dict[str, OwnedSession] = {}
        for session in self._sift(self.require(), name):
            other = found.get(session.owner.handle)
            # One that is just moving is there twice; the later one is where it goes.
            if other is None or other.header.renewed <= session.header.renewed:
                found[session.owner.handle] = session
        return sorted(found.values(), key=lambda session: session.header.seen, reverse=True)

    def logins(self, name: str) -> list[tuple[Header, Ownership, bool]]:
        """Return the logins of an owner, those used last first, and whether each has a live session.

        One that has none is only remembered. Raises as :meth:`sessions` does.
        """
        found = [(session.header, session.owner, True) for session in self.sessions(name)]
        handles = {owner.handle for _, owner, _ in found}
        found += [(*one, False) for one in self._repository.families.of(name) if one[1].handle not in handles]
        return sorted(found, key=lambda login: login[0].seen, reverse=True)

    def end(self, name: str, handle: str) -> bool:
        """End the login of an owner that has this handle: what remembers it, and its session, wherever that moves.

        False: there is none. Raises StoreError.
        """
        self.require()
        # First, so that no session begins by it once this has looked for sessions.
        ended = self._repository.families.end_login(name, handle)
        return self.end_sessions(name, handle) or ended

    def end_sessions(self, name: str, handle: str, *, spare: bytes | None = None) -> bool:
        """End the sessions of an owner that have this handle, and not what remembers their login. False: none.

        ``spare``: not the one under this key.
        """
        power = self.require()
        ended = False
        for session in list(self._sift(power, name)):
            if session.owner.handle == handle and session.key != spare:
                ended = end(self._repository, session.key) or ended
                self._forget(power, name, session.key)
        return ended

    def end_all(self, name: str, *, spare: str | None = None) -> int:
        """End an owner's sessions, those about to be created included, and what remembers a login of theirs.

        Return how many sessions ended. ``spare``: not the login with this handle.

        Raises StoreError; then some may have ended and others not.
        """
        power = self.require()
        # Before the sessions, so that none begins by it once they were looked for; and after, for a login that was
        # under way. One that is made meanwhile and stays may so be one that is not remembered.
        self._repository.families.end_all(name, spare=spare)

        def is_spared(header: Header) -> bool:
            owner = Ownership.parse(header.owner)
            return owner is not None and owner.handle == spare

        ended = 0
        for claim in power.owned(_indexed(name)):
            if end(self._repository, claim.key, spare=is_spared if spare else None):
                ended += 1
            elif spare and (entry := self._repository.store.load(claim.key)) and self._live(claim.key, entry):
                continue
            self._forget(power, name, claim.key)
        self._repository.families.end_all(name, spare=spare)
        return ended

    def end_everybody(self) -> int:
        """End the sessions of all owners, in as many walks over the store as it takes to find no more; return how many.

        What remembers logins ends before and after, in walks of its own. Sessions that begin after this was called are
        spared, and those of other namespaces. Raises StoreError; CloakroomError if it can't be walked.
        """
        store: Any = self._repository.store
        if not isinstance(store, Walks):
            raise CloakroomError(f"{store} cannot list what it holds")
        self._repository.families.end_everybody()
        began = self._repository.now_ms() // 1000
        total, ended = 0, 1
        while ended:
            # One that moves from before the walk to behind it is found by the next.
            ended = 0
            for key, entry, header in walked(store):
                if header is None or not self._is_live(header):
                    continue
                # One that began further in the future is from before the clock was set back.
                is_later = began < header.created <= self._repository.now_ms() // 1000 + CLOCK_SKEW
                if not is_later and self.is_of_here(header):
                    ended += end_entry(self._repository, key, entry)
            total += ended
        # Once more, for a login that was under way: its session has ended, and it must not be back by itself.
        self._repository.families.end_everybody()
        return total

    def is_of_here(self, header: Header) -> bool:
        """Tell whether a session has an owner, and one of this namespace: others may be in the same store."""
        return header.owner.startswith(self._repository.tickets.owner_tag)

    def _live(self, key: bytes, entry: Entry) -> Header | None:
        """Return the header of a live session; None for anything else."""
        header = header_of(key, entry)
        return header if header is not None and self._is_live(header) else None

    def _is_live(self, header: Header) -> bool:
        return not (header.superseded or header.remembers or header.belongs or self._repository.is_over(header))

    def _sift(self, power: Owners, name: str) -> Iterator[OwnedSession]:
        for claim in power.owned(_indexed(name)):
            found = self._look(power, name, claim)
            if found is None or found.header is _PENDING:
                continue
            owner = Ownership.parse(found.header.owner)
            if owner is not None and owner.name == name:
                yield OwnedSession(found.key, found.header, owner)

    def _look(self, power: Owners, name: str, claim: Claim) -> _Found | None:
        """Return a claim's session, where it is by now; None, and forget the claim, if there is none any more."""
        entry = self._repository.store.load(claim.key)
        if entry is None:
            longest = self._repository.lifetimes.idle + CLAIM_SLACK
            absolute = self._repository.lifetimes.absolute
            if absolute is not None:
                longest = min(longest, absolute + 1 + CLAIM_SLACK)
            if is_within(longest - claim.left, PENDING_SECONDS):
                return _Found(claim.key, _PENDING)
            # It may yet come, however late: so that it can't, before nobody knows of it.
            if not bury(self._repository, claim.key):
                return _Found(claim.key, _PENDING)
        else:
            # It may have moved since the claims were read, to where another claim is, which was not read.
            key, entry = destination(self._repository, claim.key, entry)
            header = None if entry is None else self._live(key, entry)
            if header is not None:
                if key != claim.key:
                    self._forget(power, name, claim.key)
                return _Found(key, header)
        self._forget(power, name, claim.key)
        return None


class _Found(NamedTuple):
    key: bytes
    header: Header


#: Stands for the header of a session that is about to be created.
_PENDING: Final = Header(0, 0, 0)


def _indexed(name: str) -> bytes:
    """Return what the store calls an owner: not what a handle shows of them."""
    return hashlib.sha256(b"flask-cloakroom:index:" + name.encode()).digest()[:16]


def user_id_in(values: Values) -> Any:
    """Return the user's id that a session holds; None if there is none, or none that can be read."""
    packed = values.get(USER_KEY)
    try:
        return None if packed is None else own_keys.unpack(USER_KEY, packed)
    except codec.CodecError:
        return None
