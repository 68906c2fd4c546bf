"""A user's sessions and logins: list them, limit their number, and end one login or all logins."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from ...errors import CloakroomError, SessionLimitError
from ...stores.base import Claim, Entry, Walks
from ..clock import CLOCK_SKEW, is_within
from ..entries.envelope import EntryKind, Header
from ..entries.namespace import Namespace
from ..entries.ownership import Ownership
from ..entries.record import Record
from .ending import block_creation, destination, end, end_entry, header_of, walk_entries
from .owner_index import CLAIM_SLACK, OwnerIndex
from .remember_families import RememberFamilies

log = logging.getLogger("flask_cloakroom.sessions")

#: The time in seconds for which a claim without a session counts as a login in progress. After that, the claim's store
#: key may be blocked. Then a login that takes longer fails, and the user has to log in again.
PENDING_SECONDS: Final = 20


class OwnedSession(NamedTuple):
    """A live session of a user, with the entry as it was read from the store under ``key``."""

    key: bytes
    entry: Entry
    header: Header
    owner: Ownership


@dataclass(frozen=True, slots=True)
class SessionLimit:
    """The limit of a user's sessions. ``most``: the number of sessions that a user may have."""

    most: int
    #: What happens if a user with ``most`` sessions logs in. "oldest": the session that was not used for the longest
    #: time ends. "refuse": the new session is not created.
    policy: Literal["oldest", "refuse"] = "oldest"


class SessionRegistry:
    """Lists and ends the sessions and remembered logins of one namespace's users.

    ``name`` is always a user's owner name, which :meth:`.tickets.Tickets.owner_name` returns. A list of a user's
    sessions needs a store with an owner index.
    """

    def __init__(
        self, namespace: Namespace, index: OwnerIndex, families: RememberFamilies, limit: SessionLimit | None = None
    ) -> None:
        """Set the parts. ``index``: the claims of sessions. ``limit``: the session limit, or None for no limit."""
        self.namespace = namespace
        self.index = index
        self._families = families
        self.limit = limit

    def admit(self, owner: Ownership, key: bytes, seconds: int, old_owner: str = "") -> None:
        """Claim the store key of a new session, if the owner's session limit allows one more session.

        With the policy "oldest", end the oldest sessions above the limit. ``seconds``: the longest time for which the
        session may live. ``old_owner``: the owner in the header of the session that the new session replaces, or ""
        without such a session. If the owner stays the same, the limit does not apply.

        Raises SessionLimitError, and claims nothing, if the policy is "refuse" and the limit is reached. Raises
        StoreError.
        """
        old = Ownership.parse(old_owner) if old_owner and self.limit is not None else None
        limit = None if old is not None and old.name == owner.name else self.limit
        most = limit.most if limit is not None and limit.policy == "refuse" else None
        claimed = self.index.claim(owner.name, key, seconds, most)
        if not claimed:
            # Listing the sessions releases claims without a session, for example after a crash. Otherwise such claims
            # would count as sessions, and the owner could not log in.
            for _ in self._live_sessions(owner.name):
                pass
            claimed = self.index.claim(owner.name, key, seconds, most)
        if not claimed:
            assert limit is not None
            raise SessionLimitError(limit.most)
        if limit is not None and limit.policy == "oldest" and self.index.indexed_store is not None:
            self._enforce_limit(owner.name, limit.most, owner.handle)

    def _enforce_limit(self, name: str, most: int, new_handle: str) -> None:
        """End all sessions of an owner except the ``most`` sessions whose claims expire last.

        A login in progress counts as a session. ``new_handle``: the handle of the login that calls this method.

        Parallel logins need no lock. Each login stores its claim before it calls this method, and creates its session
        afterwards. So the login that calls this method last finds all claims, and ends all sessions above the limit. A
        session is ended only if ``most`` other sessions or logins in progress have claims that expire later.
        """
        claims = self.index.claims_of(name)
        if len(claims) <= most:
            return
        handles: set[str] = set()
        alive = 0
        for claim in reversed(claims):
            if alive >= most:
                self._end_oldest(name, claim.key, most, {*handles, new_handle})
                continue
            found = self._resolve(name, claim)
            if isinstance(found, Claim):
                alive += 1
            elif found is not None and found.owner.handle not in handles:  # count a session with two claims once
                handles.add(found.owner.handle)
                alive += 1

    def _end_oldest(self, name: str, key: bytes, most: int, handles: set[str]) -> None:
        entry = self.namespace.store.load(key)
        header = None if entry is None else self._live_header(key, entry)
        owner = None if header is None else Ownership.parse(header.owner)
        if owner is not None and owner.handle not in handles:
            # The token family ends too, because its token would log the browser in again, and another session would
            # end. But the family does not end if the same login has another live session.
            self._families.end_login(name, owner.handle)
        if end(self.namespace, key):
            log.info("a session was ended, because its user has more than %d sessions", most)
        self.index.release_claim(name, key)

    # -- reading ------------------------------------------------------------------------------------------

    def has_lost_claim(self, record: Record) -> bool:
        """Return True if a live session has no claim in the owner index. Return False otherwise.

        Each live session has a claim from its creation to its end. If the claim is missing, the store has deleted a
        part of the index, for example because a Redis server with too little memory evicts keys. Takes at most two
        store commands. Raises StoreError.
        """
        owner = Ownership.parse(record.header.owner)
        if owner is None or self.index.indexed_store is None:
            return False
        if any(claim.key == record.key for claim in self.index.claims_of(owner.name)):
            return False
        entry = self.namespace.store.load(record.key)  # the session may have moved or ended since it was read
        return entry is not None and self._live_header(record.key, entry) is not None

    def sessions(self, name: str) -> list[OwnedSession]:
        """Return an owner's live sessions. The session that was used last comes first.

        Release the claims of ended sessions.

        Raises StoreError, and CloakroomError if the store has no owner index.
        """
        found: dict[str, OwnedSession] = {}
        for session in self._live_sessions(name):
            other = found.get(session.owner.handle)
            # While a session moves, it has two entries. The entry with the later ``renewed`` is the successor.
            if other is None or other.header.renewed <= session.header.renewed:
                found[session.owner.handle] = session
        return sorted(found.values(), key=lambda session: session.header.seen, reverse=True)

    def logins(self, name: str) -> list[tuple[Header, Ownership, bool]]:
        """Return an owner's logins, each with a header, the owner, and True if the login has a live session.

        The login that was used last comes first. A login without a live session has only a token family, and its header
        is the family's. Raises StoreError, and CloakroomError if the store has no owner index.
        """
        found = [(session.header, session.owner, True) for session in self.sessions(name)]
        handles = {owner.handle for _, owner, _ in found}
        found += [(*login, False) for login in self._families.of(name) if login[1].handle not in handles]
        return sorted(found, key=lambda login: login[0].seen, reverse=True)

    # -- ending -------------------------------------------------------------------------------------------

    def end(self, name: str, handle: str) -> bool:
        """End an owner's login that has this handle, with its token family and its session.

        Return False if the owner has no such login. Raises StoreError, and CloakroomError if the store has no owner
        index.
        """
        self.index.require()
        # The token family ends first. Otherwise its token could create a new session after this method has listed the
        # sessions, and this session would stay.
        ended = self._families.end_login(name, handle)
        return self.end_sessions(name, handle) or ended

    def end_sessions(self, name: str, handle: str, *, except_for: Collection[bytes] = ()) -> bool:
        """End an owner's sessions with this handle, but not the token family. Return False if no session has ended.

        ``except_for``: the store keys of sessions that stay. If the store has no owner index, do nothing.
        """
        if self.index.indexed_store is None:
            return False
        ended = False
        for session in list(self._live_sessions(name)):
            if session.owner.handle == handle and session.key not in except_for:
                ended = end_entry(self.namespace, session.key, session.entry) or ended
        return ended

    def end_all(self, name: str, *, except_for: str | None = None) -> int:
        """End an owner's sessions, token families and logins in progress. Return the number of sessions that ended.

        ``except_for``: the handle of a login that stays. Raises CloakroomError if the store has no owner index. Raises
        StoreError if the store fails. Then some sessions may have ended and others may still exist.
        """
        self.index.require()
        # Token families end before the sessions, so that no token can create a new session meanwhile. They end again
        # after the sessions, because a login in progress may have created a family meanwhile. So if a login in progress
        # succeeds, its remember token may be revoked.
        self._families.end_all(name, except_for=except_for)

        def stays(header: Header) -> bool:
            owner = Ownership.parse(header.owner)
            return owner is not None and owner.handle == except_for

        ended = 0
        for claim in self.index.claims_of(name):
            if end(self.namespace, claim.key, except_for=stays if except_for else None):
                ended += 1
            elif except_for and (entry := self.namespace.store.load(claim.key)) and self._live_header(claim.key, entry):
                continue
            self.index.release_claim(name, claim.key)
        self._families.end_all(name, except_for=except_for)
        return ended

    def end_everybody(self) -> int:
        """End all sessions and token families of this namespace. Return the number of sessions that ended.

        The method lists all entries of the store, again and again until it finds no more sessions to end. Sessions that
        are created after the call has begun stay. Raises StoreError, and CloakroomError if the store cannot list its
        entries.
        """
        store: Any = self.namespace.store
        if not isinstance(store, Walks):
            raise CloakroomError(f"{store} cannot list its entries. Use SQLite, Redis or Valkey, or empty the store.")
        self._families.end_everybody()
        began = self.namespace.now()
        total, ended = 0, 1
        while ended:
            # A walk may not yield a session that moves during the walk. The next walk yields this session.
            ended = 0
            for key, entry, header in walk_entries(store):
                if header is None or not self._is_live(header):
                    continue
                # A session that was created after ``began`` stays. If its creation is further in the future than clocks
                # differ, the clock was set back after its creation, so the session is older and ends.
                is_later = began < header.created <= self.namespace.now() + CLOCK_SKEW
                if not is_later and self.index.is_in_namespace(header):
                    ended += end_entry(self.namespace, key, entry)
            total += ended
        # A second call, because a login in progress may have stored a token family after the first call.
        self._families.end_everybody()
        return total

    # -- parts --------------------------------------------------------------------------------------------

    def _live_header(self, key: bytes, entry: Entry) -> Header | None:
        """Return the header of an entry if the entry is a live session. Return None for any other entry."""
        header = header_of(key, entry)
        return header if header is not None and self._is_live(header) else None

    def _is_live(self, header: Header) -> bool:
        namespace = self.namespace
        return header.kind is EntryKind.SESSION and not namespace.lifetimes.is_over(header, namespace.clock())

    def _live_sessions(self, name: str) -> Iterator[OwnedSession]:
        """Yield an owner's live sessions, and release the claims of ended sessions. Raises StoreError."""
        for claim in self.index.claims_of(name):
            found = self._resolve(name, claim)
            if isinstance(found, OwnedSession):
                yield found

    def _resolve(self, name: str, claim: Claim) -> OwnedSession | Claim | None:
        """Return the live session of a claim, also if the session has moved to another store key.

        Return the claim itself if its login is in progress, so that its session is not stored yet. Return None if the
        session has ended or belongs to another owner. If the session has ended, release its claim. Raises StoreError.
        """
        entry = self.namespace.store.load(claim.key)
        if entry is None:
            longest = self.namespace.lifetimes.idle + CLAIM_SLACK
            absolute = self.namespace.lifetimes.absolute
            if absolute is not None:
                longest = min(longest, absolute + 1 + CLAIM_SLACK)
            # block_creation() is called before the claim is released. Otherwise a slow login could still create its
            # session under this key, and the session would have no claim.
            if is_within(longest - claim.left, PENDING_SECONDS) or not block_creation(self.namespace, claim.key):
                return claim
        else:
            # The session may have moved after the claims were read. Then the claim of its new store key was not read.
            key, moved, header = destination(self.namespace, claim.key, entry)
            if moved is not None and header is not None and self._is_live(header):
                if key != claim.key:
                    self.index.release_claim(name, claim.key)
                owner = Ownership.parse(header.owner)
                return OwnedSession(key, moved, header, owner) if owner is not None and owner.name == name else None
        self.index.release_claim(name, claim.key)
        return None
