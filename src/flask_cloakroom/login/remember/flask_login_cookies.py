"""The remember cookies that Flask-Login issued: an id and a signature, for ever. Taken once, and replaced.

Only with REMEMBER_COOKIE_ACCEPT_LEGACY, for the time of a move: such a cookie carries neither a time nor the user's
``session_auth_hash()``, so whoever has a copy of one that was never used here can use it, once.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from flask import Flask

from ...errors import SettingError
from .secret_keys import decode_cookie, verifying_keys
from .tokens import Remembered, RememberTokens

#: Stands in each of Flask-Login's cookies, and in none of ours.
SEPARATOR = "|"


@runtime_checkable
class AcceptsForeign(Protocol):
    """Tokens that can take the place of credentials which others have issued and somebody has checked."""

    def accept(self, user_id: str, foreign: str, lifetime: int) -> Remembered | None:
        """Return what a credential stands for from now on; None if it was spent. ``lifetime`` is in seconds."""

    def refuse(self, foreign: str) -> None:
        """See to it that a credential is never accepted."""


def as_accepting(tokens: RememberTokens) -> AcceptsForeign:
    """Return the tokens, which can take the place of Flask-Login's. Raises SettingError if they cannot."""
    if not isinstance(tokens, AcceptsForeign):
        problem = "needs remember tokens with the methods accept() and refuse(), which remember_tokens has not"
        raise SettingError("REMEMBER_COOKIE_ACCEPT_LEGACY", problem)
    return tokens


def exchange(app: Flask, tokens: RememberTokens, cookie: str, lifetime: int) -> Remembered | None:
    """Put a token of ours in the place of a cookie of Flask-Login's, and return what it says.

    ``lifetime`` is the new token's, in seconds. None: the signature is by no key that is fit, or the cookie was spent.
    """
    user_id = _checked(app, cookie)
    return None if user_id is None else as_accepting(tokens).accept(user_id, cookie, lifetime)


def refuse(app: Flask, tokens: RememberTokens, cookie: str) -> None:
    """End what was made of a cookie of Flask-Login's, and let nothing be made of it if it was never used."""
    if _checked(app, cookie) is not None:
        as_accepting(tokens).refuse(cookie)


def _checked(app: Flask, cookie: str) -> str | None:
    found: list[Any] = [decode_cookie(cookie, key) for key in verifying_keys(app)]
    return next((user_id for user_id in found if user_id), None)
