"""Remember tokens in the sessions' store: random, for one device, valid for one use, and revocable."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import partial, wraps
from typing import Final, ParamSpec, TypeVar

from flask import Flask

from ... import signals
from ...core.entries.family import TOKEN_PATTERN, Family, TokenStatus
from ...core.entries.ownership import UNDESCRIBED, NewLogin, Ownership
from ...core.sessions.repository import Repository
from ...errors import StoreError
from ...first_use import tell
from ...secret import Secret
from ...sessions.outage import SessionUnavailable
from .tokens import Remembered, Used

log = logging.getLogger("flask_cloakroom.login")

P = ParamSpec("P")
R = TypeVar("R")

_matches: Final = re.compile(TOKEN_PATTERN).fullmatch


def _unavailable_if_down(method: Callable[P, R]) -> Callable[P, R]:
    """Return a method that raises SessionUnavailable (503) where ``method`` raises StoreError."""

    @wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except StoreError as error:
            tell(log.error, "the store of the remember tokens failed: %s", error)
            raise SessionUnavailable from error

    return guarded


class StoredTokens:
    """Remember tokens whose families are in the sessions' store. A token is random and needs no key.

    Every method raises SessionUnavailable (503) if the store is down.
    """

    def __init__(self, app: Flask, repository: Repository) -> None:
        self._app = app
        self._repository = repository
        self._families = repository.families

    @_unavailable_if_down
    def issue(self, user_id: str, auth_hash: str, lifetime: int, new_login: NewLogin = UNDESCRIBED) -> str:
        """Begin a token family, and return its first remember token."""
        return self._families.issue(user_id, auth_hash, lifetime, new_login)

    @_unavailable_if_down
    def resolve(self, token: str) -> Remembered | None:
        """Return the contents of a token, or None if it is not valid. An old token may be a copy, so its login ends."""
        found = self._find(token)
        if found is not None and found[1] is TokenStatus.OLD:
            self._end_and_report(found[0])
        if found is not None and found[1] is TokenStatus.UNSHOWN:
            return self._contents(token, *found)
        return self._remembered(token, found)

    @_unavailable_if_down
    def use(self, remembered: Remembered, auth_hash: str) -> Used | None:
        """Replace a token by the next token of its family. Return the result, or None if the family has ended.

        If a parallel request has replaced the token just now, return the same result for this request. A repeat is
        logged and sends the signal.
        """
        family = _family_of(remembered)
        used = self._families.use(family, remembered.token, auth_hash)
        if used is None:
            return None
        if used.first and used.earlier:
            tell(
                log.warning,
                "%r: a used token came back, whose successor was never shown. It has another successor",
                family,
            )
            handle = family.owner.handle
            tell(signals.remember_token_repeated.send, self._app, user_id=family.user_id, handle=handle)
        left = max(1, remembered.lifetime - remembered.age)
        return Used(used.token, left, used.ticket, used.first, used.earlier, used.unshown)

    @_unavailable_if_down
    def accept(self, user_id: str, foreign: str, lifetime: int) -> Remembered | None:
        """Begin a token family for a foreign credential, and return the contents of its token.

        A credential begins only one family. A parallel request gets the same family, and a later request gets None. No
        signal is sent, because all devices of a user have the same credential.
        """
        token = self._families.exchange(foreign, user_id, lifetime)
        return self._remembered(token, self._find(token))

    @_unavailable_if_down
    def refuse(self, foreign: str) -> None:
        """End the token family that was just begun with the credential, and let no request begin another family."""
        found = self._find(self._families.refuse(foreign))
        if found is not None and found[1] in (TokenStatus.CURRENT, TokenStatus.PREVIOUS):
            self._families.end(found[0])

    @_unavailable_if_down
    def is_alive(self, remembered: Remembered) -> bool:
        """Return whether the token family is still in the store."""
        return self._families.is_alive(_family_of(remembered))

    @_unavailable_if_down
    def renew(self, remembered: Remembered, auth_hash: str) -> str | None:
        """Replace a token by a new token of the same family with this digest. Return None if the family has ended."""
        return self._families.renew(_family_of(remembered), auth_hash)

    @_unavailable_if_down
    def extend(self, remembered: Remembered) -> str | None:
        """Let the token family expire a whole lifetime from now. Return the token, or None if the family has ended."""
        return remembered.token if self._families.extend(_family_of(remembered)) else None

    @_unavailable_if_down
    def revoke(self, token: str) -> str:
        """End the family of a token, and return the handle of its login, or "" if the token is unknown.

        If the token was replaced more than :data:`.family.TOKEN_OVERLAP` seconds ago, the login's sessions end too.
        """
        return self._revoke(token)

    def revoke_or_retry(self, token: str) -> str:
        """End the family of a token as :meth:`revoke` does. If the store is down, return "" and try again later."""
        return (
            self._families.end_or_retry(partial(self._revoke, Secret(token))) or ""
        )  # an error report may show the call

    def revoke_login_or_retry(self, owner: Ownership) -> None:
        """End the token family of a login. If the store is down, try again later."""
        self._families.end_or_retry(partial(self._families.end_login, owner.name, owner.handle))

    def _revoke(self, token: str) -> str:
        found = self._find(token)
        if found is None:
            return ""
        family, status = found
        if status is TokenStatus.OLD:
            self._end_and_report(family)
        else:
            self._families.end(family)
            if status in (TokenStatus.LATE, TokenStatus.UNSHOWN):
                self._repository.owners.end_sessions(family.owner.name, family.owner.handle)
        return family.owner.handle

    @_unavailable_if_down
    def revoke_login(self, owner: Ownership) -> None:
        """End the token family of a login."""
        self._families.end_login(owner.name, owner.handle)

    def _find(self, token: str) -> tuple[Family, TokenStatus] | None:
        return self._families.find(token) if _matches(token) else None

    def _remembered(self, token: str, found: tuple[Family, TokenStatus] | None) -> Remembered | None:
        """Return the contents of a current or previous token, and None for any other token."""
        if found is None or found[1] not in (TokenStatus.CURRENT, TokenStatus.PREVIOUS):
            return None
        return self._contents(token, *found)

    def _contents(self, token: str, family: Family, status: TokenStatus) -> Remembered:
        left = family.header.deadline - self._repository.now_ms() // 1000
        return Remembered(
            family.user_id,
            family.auth_hash,
            family.lifetime - left,
            family.lifetime,
            token,
            family.owner.handle,
            status is TokenStatus.PREVIOUS,
            family,
            status is TokenStatus.UNSHOWN,
        )

    def _end_and_report(self, family: Family) -> None:
        """End the login of a family whose old token was used again, and send the signal.

        A thief has a copy either of the old token or of the current token. It is unknown which browser is the thief's,
        so both browsers must log in again. Only the user can do that.
        """
        tell(log.warning, "%r: an old token was used again, which may be a copy. The login ends on its device", family)
        self._families.end(family)
        self._repository.owners.end_sessions(family.owner.name, family.owner.handle)
        tell(signals.remember_token_reused.send, self._app, user_id=family.user_id, handle=family.owner.handle)


def _family_of(remembered: Remembered) -> Family:
    assert remembered.family is not None, "the argument is no result of resolve(). Call resolve() first"
    return remembered.family
