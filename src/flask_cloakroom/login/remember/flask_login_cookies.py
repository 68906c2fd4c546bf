"""Remember cookies of Flask-Login: a user id and a signature, valid for ever. Each cookie is accepted once.

A remember token replaces the accepted cookie. This module is for the change from Flask-Login to this package, with
REMEMBER_COOKIE_ACCEPT_LEGACY. Such a cookie has neither a time nor the user's ``session_auth_hash()``, so a stolen
cookie that was never used at this application logs the thief in once.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from flask import Flask

from ...errors import SettingError
from .secret_keys import decode_cookie, verifying_keys
from .tokens import Remembered, RememberTokens

#: Each remember cookie of Flask-Login contains this character, and no remember token of this package contains it.
SEPARATOR = "|"


@runtime_checkable
class AcceptsForeign(Protocol):
    """Remember tokens that can replace a foreign credential, which is a remember cookie of Flask-Login.

    The caller of the methods has checked the signature of the credential.
    """

    def accept(self, user_id: str, foreign: str, lifetime: int) -> Remembered | None:
        """Return the contents of a new token for a foreign credential, or None if the credential was used before.

        ``lifetime``: the lifetime of the new token, in seconds.
        """

    def refuse(self, foreign: str) -> None:
        """Refuse a foreign credential from now on."""


def as_accepting(tokens: RememberTokens) -> AcceptsForeign:
    """Return the tokens, typed as AcceptsForeign. Raises SettingError if they lack its methods."""
    if not isinstance(tokens, AcceptsForeign):
        problem = "needs remember tokens with the methods accept() and refuse(). Add both to your class of tokens"
        raise SettingError("REMEMBER_COOKIE_ACCEPT_LEGACY", problem)
    return tokens


def exchange(app: Flask, tokens: RememberTokens, cookie: str, lifetime: int) -> Remembered | None:
    """Replace a cookie of Flask-Login by a new token, and return the contents of the token.

    ``lifetime``: the lifetime of the new token, in seconds. Return None if the signature is wrong or was made with a
    weak secret key, or if the cookie was used before.
    """
    user_id = _user_id_in(app, cookie)
    return None if user_id is None else as_accepting(tokens).accept(user_id, cookie, lifetime)


def refuse(app: Flask, tokens: RememberTokens, cookie: str) -> None:
    """Refuse a cookie of Flask-Login from now on, and revoke the token that replaced it."""
    if _user_id_in(app, cookie) is not None:
        as_accepting(tokens).refuse(cookie)


def _user_id_in(app: Flask, cookie: str) -> str | None:
    """Return the user id in a cookie, or None if its signature is wrong."""
    found: list[Any] = [decode_cookie(cookie, key) for key in verifying_keys(app)]
    return next((user_id for user_id in found if user_id), None)
