"""Remember tokens over sessions on the server: random, for one device, good for one use, and revocable."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from flask import Flask

from ... import signals
from ...core.entries.family import TOKEN_PATTERN, Family, TokenStatus
from ...core.entries.ownership import UNDESCRIBED, NewLogin, Ownership
from ...core.sessions.repository import Repository
from ...errors import StoreError
from ...sessions.outage import SessionUnavailable
from .tokens import Remembered, Used

log = logging.getLogger("flask_cloakroom.login")

_matches: Final = re.compile(TOKEN_PATTERN).fullmatch


class StoredTokens:
    """Tokens whose families are in the sessions' store. They need no key, and hold nothing but random bytes.

    Every method raises SessionUnavailable (503) if the store is down.
    """

    def __init__(self, app: Flask, repository: Repository) -> None:
        self._app = app
        self._repository = repository
        self._families = repository.families

    def issue(self, user_id: str, auth_hash: str, lifetime: int, begun: NewLogin = UNDESCRIBED) -> str:
        """Begin a family."""
        with _outage():
            return self._families.issue(user_id, auth_hash, lifetime, begun)

    def resolve(self, token: str) -> Remembered | None:
        """Ask the store. If the token is an old one, its family and the login that was made of it end."""
        found = self._find(token)
        if found is None:
            return None
        family, standing = found
        if standing is TokenStatus.OLD:
            with _outage():
                self._report(family)
        return self._remembered(token, family, standing)

    def _remembered(self, token: str, family: Family, standing: TokenStatus) -> Remembered | None:
        if standing in (TokenStatus.OLD, TokenStatus.LATE):
            return None
        return Remembered(
            family.user_id,
            family.auth_hash,
            family.lifetime - self._left(family),
            family.lifetime,
            token,
            family.owner.handle,
            standing is TokenStatus.PREVIOUS,
            family,
        )

    def _report(self, family: Family) -> None:
        """End the login of a family whose old token came back: either that is a copy, or the new one is with somebody.

        Nobody can tell which, so both parties have to log in again (and only one of them can).
        """
        log.warning("%r: an old token came back, which may be a copy; the login ends on its device", family)
        self._families.end(family)
        self._end_sessions(family)
        signals.remember_token_reused.send(self._app, user_id=family.user_id, handle=family.owner.handle)

    def _end_sessions(self, family: Family) -> None:
        if self._repository.index.power is not None:
            self._repository.owners.end_sessions(family.owner.name, family.owner.handle)

    def use(self, remembered: Remembered, auth_hash: str) -> Used | None:
        """Make the next token, or find out which one a parallel request has made."""
        assert remembered.family is not None
        with _outage():
            used = self._families.use(remembered.family, remembered.token, auth_hash)
        if used is None:
            return None
        return Used(used.token, max(1, self._left(remembered.family)), used.ticket, used.first)

    def _left(self, family: Family) -> int:
        return family.header.deadline - self._repository.now_ms() // 1000

    def accept(self, user_id: str, foreign: str, lifetime: int) -> Remembered | None:
        """Begin a family with it, once; a parallel request finds that.

        Whoever comes later is refused, and that is no alarm: all devices of a user have the same one.
        """
        with _outage():
            token = self._families.exchange(foreign, user_id, lifetime)
        found = self._find(token)
        return None if found is None else self._remembered(token, *found)

    def spend(self, foreign: str) -> None:
        """End the family that this browser has just begun with it, or see to it that none begins."""
        with _outage():
            token = self._families.refuse(foreign)
        found = self._find(token)
        if found is not None and found[1] in (TokenStatus.CURRENT, TokenStatus.PREVIOUS):
            with _outage():
                self._families.end(found[0])

    def stands(self, remembered: Remembered) -> bool:
        """Ask the store again."""
        assert remembered.family is not None
        with _outage():
            return self._families.is_alive(remembered.family)

    def renew(self, remembered: Remembered, auth_hash: str) -> str | None:
        """Put another token in its place, in the same family."""
        assert remembered.family is not None
        with _outage():
            return self._families.renew(remembered.family, auth_hash)

    def extend(self, remembered: Remembered) -> str | None:
        """Write a later deadline. The token stays; it changes when it is used."""
        assert remembered.family is not None
        with _outage():
            return remembered.token if self._families.extend(remembered.family) else None

    def revoke(self, token: str) -> str:
        """End the token's family. If it is an old one of it, somebody else has the present one, and ends as well."""
        found = self._find(token)
        if found is None:
            return ""
        family, standing = found
        with _outage():
            if standing is TokenStatus.OLD:
                self._report(family)
            else:
                self._families.end(family)
                if standing is TokenStatus.LATE:
                    self._end_sessions(family)
        return family.owner.handle

    def revoke_login(self, owner: Ownership) -> None:
        """End the family of that handle."""
        with _outage():
            self._families.end_login(owner.name, owner.handle)

    def _find(self, token: str) -> tuple[Family, TokenStatus] | None:
        if not _matches(token):
            return None
        with _outage():
            return self._families.find(token)


@contextmanager
def _outage() -> Iterator[None]:
    """Let a request whose login cannot be looked up be a 503: nobody is logged in or out by that."""
    try:
        yield
    except StoreError as error:
        log.error("the store of remembered logins failed: %s", error)
        raise SessionUnavailable from error
