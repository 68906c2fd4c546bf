"""A user's sessions and logins: list them, limit their number, and end one or all of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
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

#: Seconds for which a claim without a session counts as a login in progress. A login that takes longer fails, because
#: its key is blocked by then, and the user has to log in again.
PENDING_SECONDS: Final = 20


class OwnedSession(NamedTuple):
    """A live session of a user, as it was read."""

    key: bytes
    entry: Entry
    header: Header
    owner: Ownership


@dataclass(frozen=True, slots=True)
class SessionLimit:
    """How many sessions a user may have, and what happens to one more."""

    most: int
    #: "oldest": the session that was not used for longest ends. "refuse": the new session is not created.
    policy: Literal["oldest", "refuse"] = "oldest"


class SessionRegistry:
    """The sessions and remembered logins of one namespace's users. Lists need a store with an owner index."""

    def __init__(
        self, namespace: Namespace, index: OwnerIndex, families: RememberFamilies, limit: SessionLimit | None = None
    ) -> None:
        """List the sessions in ``index`` and the logins in ``families``. ``limit``: None for no limit."""
        self.namespace = namespace
        self.index = index
        self._families = families
        self.limit = limit

    def admit(self, owner: Ownership, key: bytes, seconds: int, old_owner: str = "") -> None:
        """Claim ``key`` for a new session, within the owner's limit.

        ``seconds``: how long the session may live. ``old_owner``: the header's owner in the session that the new one
        replaces, "" for none. A session that moves within the same owner does not count as one more.

        Raises StoreError, and SessionLimitError if the limit refuses the session. Then nothing is claimed.
        """
        old = Ownership.parse(old_owner) if old_owner and self.limit is not None else None
        limit = None if old is not None and old.name == owner.name else self.limit
        most = limit.most if limit is not None and limit.policy == "refuse" else None
        claimed = self.index.claim(owner.name, key, seconds, most)
        if not claimed:
            # Release the claims of sessions whose process crashed. Otherwise they would keep the owner out.
            for _ in self._live_sessions(owner.name):
                pass
            claimed = self.index.claim(owner.name, key, seconds, most)
        if not claimed:
            assert limit is not None
            raise SessionLimitError(limit.most)
        if limit is not None and limit.policy == "oldest" and self.index.indexed_store is not None:
            self._enforce_limit(owner.name, limit.most, owner.handle)

    def _enforce_limit(self, name: str, most: int, new_handle: str) -> None:
        """End all but the ``most`` sessions that were used last. Sessions that are about to be created count too.

        The number is exact without a lock. An owner's claims have one order, and each login comes here after its claim
        and before it creates its session. So the last login sees all claims. A session that ends here has ``most``
        claims after it, and later claims come after these.
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
            elif found is not None and found.owner.handle not in handles:  # a session that moves has two claims
                handles.add(found.owner.handle)
                alive += 1

    def _end_oldest(self, name: str, key: bytes, most: int, handles: set[str]) -> None:
        entry = self.namespace.store.load(key)
        header = None if entry is None else self._live_header(key, entry)
        owner = None if header is None else Ownership.parse(header.owner)
        if owner is not None and owner.handle not in handles:
            # Otherwise the remember token would log that browser in again, and another session would end. The token
            # family of a login with another live session stays.
            self._families.end_login(name, owner.handle)
        if end(self.namespace, key):
            log.info("a session was ended, because its user has more than %d sessions", most)
        self.index.release_claim(name, key)

    # -- reading ------------------------------------------------------------------------------------------

    def has_lost_claim(self, record: Record) -> bool:
        """Return whether the owner index has lost a live session. At most two store commands. Raises StoreError.

        A session is claimed before its creation and released after its end. So if a live session has no claim, the
        store has deleted a part of the index, as a Redis does that evicts keys.
        """
        owner = Ownership.parse(record.header.owner)
        if owner is None or self.index.indexed_store is None:
            return False
        if any(claim.key == record.key for claim in self.index.claims_of(owner.name)):
            return False
        entry = self.namespace.store.load(record.key)  # the session may have moved or ended since it was read
        return entry is not None and self._live_header(record.key, entry) is not None

    def sessions(self, name: str) -> list[OwnedSession]:
        """Return an owner's live sessions, the last used first, and release the claims of ended ones.

        Raises StoreError, and CloakroomError if the store has no owner index.
        """
        found: dict[str, OwnedSession] = {}
        for session in self._live_sessions(name):
            other = found.get(session.owner.handle)
            # A session that is just moving has two entries. The later one is its successor.
            if other is None or other.header.renewed <= session.header.renewed:
                found[session.owner.handle] = session
        return sorted(found.values(), key=lambda session: session.header.seen, reverse=True)

    def logins(self, name: str) -> list[tuple[Header, Ownership, bool]]:
        """Return an owner's logins, the last used first: header, owner, and whether the login has a live session.

        A login without one is only remembered. Raises the same errors as :meth:`sessions`.
        """
        found = [(session.header, session.owner, True) for session in self.sessions(name)]
        handles = {owner.handle for _, owner, _ in found}
        found += [(*login, False) for login in self._families.of(name) if login[1].handle not in handles]
        return sorted(found, key=lambda login: login[0].seen, reverse=True)

    # -- ending -------------------------------------------------------------------------------------------

    def end(self, name: str, handle: str) -> bool:
        """End an owner's login with this handle: its token family and its session. False: there is none.

        Raises StoreError, and CloakroomError if the store has no owner index.
        """
        self.index.require()
        # The token family first. Otherwise the token could begin a session after this method has listed the sessions.
        ended = self._families.end_login(name, handle)
        return self.end_sessions(name, handle) or ended

    def end_sessions(self, name: str, handle: str, *, except_for: bytes | None = None) -> bool:
        """End an owner's sessions with this handle, but not the token family. False: there is none.

        ``except_for``: the key of a session that stays. Does nothing if the store has no owner index.
        """
        if self.index.indexed_store is None:
            return False
        ended = False
        for session in list(self._live_sessions(name)):
            if session.owner.handle == handle and session.key != except_for:
                ended = end_entry(self.namespace, session.key, session.entry) or ended
        return ended

    def end_all(self, name: str, *, except_for: str | None = None) -> int:
        """End an owner's sessions and token families, and block sessions that are about to be created.

        ``except_for``: the handle of a login that stays. Returns how many sessions ended. Raises StoreError; then some
        sessions may have ended and others not.
        """
        self.index.require()
        # Before the sessions, so that no token begins another one meanwhile. And again after the sessions, for a login
        # that was in progress. So a login in progress that succeeds may lose its remember token.
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
        """End all sessions and token families of this namespace. Return how many sessions ended.

        Walks over the store until a walk finds no more sessions. Sessions that begin after this call stay. Raises
        StoreError, and CloakroomError if the store cannot be walked.
        """
        store: Any = self.namespace.store
        if not isinstance(store, Walks):
            raise CloakroomError(f"{store} cannot list its entries. Use SQLite, Redis or Valkey, or empty the store")
        self._families.end_everybody()
        began = self.namespace.now()
        total, ended = 0, 1
        while ended:
            # A walk may miss a session that moves meanwhile. The next walk finds it.
            ended = 0
            for key, entry, header in walk_entries(store):
                if header is None or not self._is_live(header):
                    continue
                # A session with its creation further in the future was created before the clock was set back.
                is_later = began < header.created <= self.namespace.now() + CLOCK_SKEW
                if not is_later and self.index.is_in_namespace(header):
                    ended += end_entry(self.namespace, key, entry)
            total += ended
        # Again, because a login in progress may have stored a token family since the first time.
        self._families.end_everybody()
        return total

    # -- parts --------------------------------------------------------------------------------------------

    def _live_header(self, key: bytes, entry: Entry) -> Header | None:
        """Return the header of a live session; None for any other entry."""
        header = header_of(key, entry)
        return header if header is not None and self._is_live(header) else None

    def _is_live(self, header: Header) -> bool:
        namespace = self.namespace
        return header.kind is EntryKind.SESSION and not namespace.lifetimes.is_over(header, namespace.clock())

    def _live_sessions(self, name: str) -> Iterator[OwnedSession]:
        """Yield an owner's live sessions, and release the claims of ended ones. Raises StoreError."""
        for claim in self.index.claims_of(name):
            found = self._resolve(name, claim)
            if isinstance(found, OwnedSession):
                yield found

    def _resolve(self, name: str, claim: Claim) -> OwnedSession | Claim | None:
        """Return a claim's session, wherever it has moved; the claim itself if the session is about to be created.

        None: the claim's session has ended or belongs to another owner. If it has ended, the claim is released. Raises
        StoreError.
        """
        entry = self.namespace.store.load(claim.key)
        if entry is None:
            longest = self.namespace.lifetimes.idle + CLAIM_SLACK
            absolute = self.namespace.lifetimes.absolute
            if absolute is not None:
                longest = min(longest, absolute + 1 + CLAIM_SLACK)
            # Without the block, a slow login could still create its session there, and the index would not list it.
            if is_within(longest - claim.left, PENDING_SECONDS) or not block_creation(self.namespace, claim.key):
                return claim
        else:
            # The session may have moved after the claims were read, to a key whose claim was not read.
            key, moved, header = destination(self.namespace, claim.key, entry)
            if moved is not None and header is not None and self._is_live(header):
                if key != claim.key:
                    self.index.release_claim(name, claim.key)
                owner = Ownership.parse(header.owner)
                return OwnedSession(key, moved, header, owner) if owner is not None and owner.name == name else None
        self.index.release_claim(name, claim.key)
        return None
