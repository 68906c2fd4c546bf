"""A user's sessions and logins: how many there may be, which there are, and how one or all of them end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from ...errors import CloakroomError, SessionLimitError
from ...stores.base import Claim, Entry, Owners, Walks
from ..clock import CLOCK_SKEW, is_within
from ..entries.envelope import Header
from ..entries.namespace import Namespace
from ..entries.ownership import Ownership
from ..entries.record import Record
from .ending import bury, destination, end, end_entry, header_of, walked
from .owner_index import CLAIM_SLACK, OwnerIndex
from .remember_families import Families

log = logging.getLogger("flask_cloakroom.sessions")

#: For so many seconds a claim without a session is taken for one that is about to be created. Nothing but courtesy
#: rests on it: a key whose claim is pruned too early cannot be created any more, and the login is tried again.
PENDING_SECONDS: Final = 20


class OwnedSession(NamedTuple):
    """A live session of a user, as it was read."""

    key: bytes
    entry: Entry
    header: Header
    owner: Ownership


@dataclass(frozen=True, slots=True)
class SessionLimit:
    """How many sessions a user may have, and what happens at one more."""

    most: int
    #: "oldest": what was not used for longest ends. "refuse": the new one is not begun.
    policy: Literal["oldest", "refuse"] = "oldest"


class SessionRegistry:
    """The sessions and remembered logins of one namespace's users. Lists need a store with an owner index."""

    def __init__(
        self, namespace: Namespace, index: OwnerIndex, families: Families, limit: SessionLimit | None = None
    ) -> None:
        self.namespace = namespace
        self._index = index
        self._families = families
        self.limit = limit

    @property
    def is_kept(self) -> bool:
        """Whether the store can tell which sessions belong to a user."""
        return self._index.is_kept

    def require(self) -> Owners:
        """Return the store's power to do so. Raises CloakroomError if it has none."""
        return self._index.require()

    def admit(self, owner: Ownership, key: bytes, seconds: int, moves: str = "") -> None:
        """Claim ``key`` for a session that is about to be created there, within the owner's limit.

        ``seconds``: how long the session may live. ``moves``: the header's owner in the session that this one
        replaces; with the same owner the new session is not one more. Raises StoreError, and SessionLimitError if the
        limit refuses the session; then nothing was done.
        """
        was = Ownership.parse(moves) if moves and self.limit is not None else None
        limit = None if was is not None and was.name == owner.name else self.limit
        most = limit.most if limit is not None and limit.policy == "refuse" else None
        claimed = self._index.claim(owner.name, key, seconds, most)
        if not claimed:
            # A session that ended without being released, by a crash, must not keep its owner out.
            for _ in self._live_sessions(owner.name):
                pass
            claimed = self._index.claim(owner.name, key, seconds, most)
        if not claimed:
            assert limit is not None
            raise SessionLimitError(limit.most)
        if limit is not None and limit.policy == "oldest" and self._index.is_kept:
            self._enforce_limit(owner.name, limit.most, owner.handle)

    def _enforce_limit(self, name: str, most: int, begins: str) -> None:
        """End all but the ``most`` sessions that were used last, those that others are about to create included.

        Exact without a lock: claims of one owner stand in one order, and each login comes here after its claim and
        before its session is there. The last of them sees all claims. A session that is ended here has ``most`` claims
        after it, and those that come later stand after these.
        """
        claims = self._index.owned(name)
        if len(claims) <= most:
            return
        # What remembers the login that begins must not end with a session which that has left behind.
        handles: set[str] = set()
        alive = 0
        for claim in reversed(claims):
            if alive >= most:
                self._end_oldest(name, claim.key, most, {*handles, begins})
                continue
            found = self._resolve(name, claim)
            if isinstance(found, Claim):
                alive += 1
            elif (
                found is not None and found.owner.handle not in handles
            ):  # else it is just moving, and stands here twice
                handles.add(found.owner.handle)
                alive += 1

    def _end_oldest(self, name: str, key: bytes, most: int, handles: set[str]) -> None:
        entry = self.namespace.store.load(key)
        header = None if entry is None else self._live(key, entry)
        owner = None if header is None else Ownership.parse(header.owner)
        if owner is not None and owner.handle not in handles:
            # Or that browser would be logged in again by itself, and put another one out.
            self._families.end_login(name, owner.handle)
        if end(self.namespace, key):
            log.info("a session was ended, because its user has begun more than %d", most)
        self._index.forget(name, key)

    # -- reading ------------------------------------------------------------------------------------------

    def lacks(self, record: Record) -> bool:
        """Tell whether the index has lost the claim of a live session. Two store commands at most. Raises StoreError.

        A claim is made before its session and released after the session's end. So a live session without a claim
        means that the store dropped some of the index, as a Redis does that evicts keys.
        """
        owner = Ownership.parse(record.header.owner)
        if owner is None or self._index.power is None:
            return False
        if any(claim.key == record.key for claim in self._index.owned(owner.name)):
            return False
        entry = self.namespace.store.load(record.key)  # the session may have moved or ended since it was read
        return entry is not None and self._live(record.key, entry) is not None

    def sessions(self, name: str) -> list[OwnedSession]:
        """Return the live sessions of an owner, those used last first; forget claims that have none.

        Raises StoreError, and CloakroomError if the store has no index.
        """
        found: dict[str, OwnedSession] = {}
        for session in self._live_sessions(name):
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
        found += [(*one, False) for one in self._families.of(name) if one[1].handle not in handles]
        return sorted(found, key=lambda login: login[0].seen, reverse=True)

    def end(self, name: str, handle: str) -> bool:
        """End the login of an owner that has this handle: what remembers it, and its session, wherever that moves.

        False: there is none. Raises StoreError.
        """
        self.require()
        # First, so that no session begins by it once this has looked for sessions.
        ended = self._families.end_login(name, handle)
        return self.end_sessions(name, handle) or ended

    def end_sessions(self, name: str, handle: str, *, spare: bytes | None = None) -> bool:
        """End the sessions of an owner that have this handle, and not what remembers their login. False: none.

        ``spare``: not the one under this key.
        """
        ended = False
        for session in list(self._live_sessions(name)):
            if session.owner.handle == handle and session.key != spare:
                ended = end_entry(self.namespace, session.key, session.entry) or ended
        return ended

    def end_all(self, name: str, *, spare: str | None = None) -> int:
        """End an owner's sessions, those about to be created included, and what remembers a login of theirs.

        Return how many sessions ended. ``spare``: not the login with this handle.

        Raises StoreError; then some may have ended and others not.
        """
        self.require()
        # Before the sessions, so that none begins by it once they were looked for; and after, for a login that was
        # under way. One that is made meanwhile and stays may so be one that is not remembered.
        self._families.end_all(name, spare=spare)

        def is_spared(header: Header) -> bool:
            owner = Ownership.parse(header.owner)
            return owner is not None and owner.handle == spare

        ended = 0
        for claim in self._index.owned(name):
            if end(self.namespace, claim.key, spare=is_spared if spare else None):
                ended += 1
            elif spare and (entry := self.namespace.store.load(claim.key)) and self._live(claim.key, entry):
                continue
            self._index.forget(name, claim.key)
        self._families.end_all(name, spare=spare)
        return ended

    def end_everybody(self) -> int:
        """End the sessions of all owners, in as many walks over the store as it takes to find no more; return how many.

        What remembers logins ends before and after, in walks of its own. Sessions that begin after this was called are
        spared, and those of other namespaces. Raises StoreError; CloakroomError if it can't be walked.
        """
        store: Any = self.namespace.store
        if not isinstance(store, Walks):
            raise CloakroomError(f"{store} cannot list what it holds")
        self._families.end_everybody()
        began = self.namespace.now()
        total, ended = 0, 1
        while ended:
            # One that moves from before the walk to behind it is found by the next.
            ended = 0
            for key, entry, header in walked(store):
                if header is None or not self._is_live(header):
                    continue
                # One that began further in the future is from before the clock was set back.
                is_later = began < header.created <= self.namespace.now() + CLOCK_SKEW
                if not is_later and self._index.is_of_here(header):
                    ended += end_entry(self.namespace, key, entry)
            total += ended
        # Once more, for a login that was under way: its session has ended, and it must not be back by itself.
        self._families.end_everybody()
        return total

    def _live(self, key: bytes, entry: Entry) -> Header | None:
        """Return the header of a live session; None for anything else."""
        header = header_of(key, entry)
        return header if header is not None and self._is_live(header) else None

    def _is_live(self, header: Header) -> bool:
        return not (header.superseded or header.remembers or header.belongs or self.namespace.is_over(header))

    def _live_sessions(self, name: str) -> Iterator[OwnedSession]:
        """Yield an owner's live sessions, and forget the claims that have none. Raises StoreError."""
        for claim in self._index.owned(name):
            found = self._resolve(name, claim)
            if isinstance(found, OwnedSession):
                yield found

    def _resolve(self, name: str, claim: Claim) -> OwnedSession | Claim | None:
        """Return the session of a claim, from where it has moved to.

        The claim itself: its session is about to be created. None: there is no session of this owner, and unless it is
        another owner's the claim was forgotten. Raises StoreError.
        """
        entry = self.namespace.store.load(claim.key)
        if entry is None:
            longest = self.namespace.lifetimes.idle + CLAIM_SLACK
            absolute = self.namespace.lifetimes.absolute
            if absolute is not None:
                longest = min(longest, absolute + 1 + CLAIM_SLACK)
            # A session that comes later, however late, must not be created once its claim is forgotten.
            if is_within(longest - claim.left, PENDING_SECONDS) or not bury(self.namespace, claim.key):
                return claim
        else:
            # It may have moved since the claims were read, to where another claim is, which was not read.
            key, moved, header = destination(self.namespace, claim.key, entry)
            if moved is not None and header is not None and self._is_live(header):
                if key != claim.key:
                    self._index.forget(name, claim.key)
                owner = Ownership.parse(header.owner)
                return OwnedSession(key, moved, header, owner) if owner is not None and owner.name == name else None
        self._index.forget(name, claim.key)
        return None
