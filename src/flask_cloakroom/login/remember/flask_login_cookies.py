"""The remember cookies that Flask-Login issued: an id and a signature, for ever. Taken once, and replaced.

Only with REMEMBER_COOKIE_ACCEPT_LEGACY, for the time of a move: such a cookie carries neither a time nor the user's
``session_auth_hash()``, so whoever has a copy of one that was never used here can use it, once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ...core.entries.ownership import NOTHING_BEGUN, Begun, Ownership
from ...errors import SettingError
from .secret_keys import decode_cookie, reading_keys
from .tokens import Remembered, RememberTokens, Used

if TYPE_CHECKING:
    from flask import Flask

log = logging.getLogger("flask_cloakroom.login")

#: Stands in each of Flask-Login's cookies, and in none of ours.
SEPARATOR = "|"


@runtime_checkable
class AcceptsForeign(Protocol):
    """Tokens that can take the place of credentials which others have issued and somebody has checked."""

    def accept(self, user_id: str, foreign: str, lifetime: int) -> Remembered | None:
        """Return what a credential stands for from now on; None if it was spent. ``lifetime`` is in seconds."""

    def spend(self, foreign: str) -> None:
        """See to it that a credential is never accepted."""


class LegacyTokens:
    """Passes on what is of our own kind, and takes what is of Flask-Login's."""

    def __init__(self, app: Flask, tokens: RememberTokens, lifetime: int) -> None:
        """``lifetime``, in seconds, is what a replaced one gets. Raises SettingError if ``tokens`` take none."""
        if not isinstance(tokens, AcceptsForeign):
            problem = "needs remember tokens with the methods accept() and spend(), which remember_tokens has not"
            raise SettingError("REMEMBER_COOKIE_ACCEPT_LEGACY", problem)
        self._app = app
        self._accepts: AcceptsForeign = tokens
        self._tokens: RememberTokens = tokens
        self._lifetime = lifetime

    def issue(self, user_id: str, auth_hash: str, lifetime: int, begun: Begun = NOTHING_BEGUN) -> str:
        """Issue one of our own kind."""
        return self._tokens.issue(user_id, auth_hash, lifetime, begun)

    def resolve(self, token: str) -> Remembered | None:
        """Check the signature of one of Flask-Login's by the keys that are fit for it, and accept it."""
        if SEPARATOR not in token:
            return self._tokens.resolve(token)
        user_id = self._checked(token)
        return None if user_id is None else self._accepts.accept(user_id, token, self._lifetime)

    def _checked(self, token: str) -> str | None:
        found: list[Any] = [decode_cookie(token, key) for key in reading_keys(self._app)]
        return next((user_id for user_id in found if user_id), None)

    def use(self, remembered: Remembered, auth_hash: str) -> Used | None:
        """Use one of either kind."""
        return self._tokens.use(remembered, auth_hash)

    def stands(self, remembered: Remembered) -> bool:
        """Ask the others."""
        return self._tokens.stands(remembered)

    def renew(self, remembered: Remembered, auth_hash: str) -> str | None:
        """Ask the others."""
        return self._tokens.renew(remembered, auth_hash)

    def extend(self, remembered: Remembered) -> str | None:
        """Ask the others."""
        return self._tokens.extend(remembered)

    def revoke(self, token: str) -> str:
        """End one of either kind; one of Flask-Login's also if it was never used."""
        if SEPARATOR not in token:
            return self._tokens.revoke(token)
        if self._checked(token) is not None:
            self._accepts.spend(token)
        return ""

    def revoke_login(self, owner: Ownership) -> None:
        """Ask the others."""
        self._tokens.revoke_login(owner)
