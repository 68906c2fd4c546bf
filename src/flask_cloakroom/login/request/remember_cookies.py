"""The remember tokens that a browser sends: found in its cookies, and ended."""

from __future__ import annotations

from collections.abc import Iterator

from ...cookies import MAX_TRIES
from ...core.entries.ownership import Ownership
from ...secret import Secret
from ..in_session.device_note import is_remembered_by
from ..remember.flask_login_cookies import SEPARATOR, exchange, spend
from ..remember.tokens import Remembered
from .state import LoginState


def tokens_in(state: LoginState) -> list[Secret]:
    """Return the remember tokens that the browser sent: those that can be one, the first few."""
    if not state.request.environ.get("HTTP_COOKIE"):
        return []
    found = state.settings.find_tokens(state.request.environ)
    if state.settings.accept_legacy and SEPARATOR in state.request.environ["HTTP_COOKIE"]:
        cookies = state.settings.cookie.values(state.request.environ)  # without the quotes that some have
        found += [cookie for cookie in cookies if SEPARATOR in cookie][:MAX_TRIES]
    return found


def resolve(state: LoginState, token: str) -> Remembered | None:
    """Return what one of these tokens says, or the token that takes the place of a cookie of Flask-Login's.

    None if it is good for nothing.
    """
    if SEPARATOR in token:
        return exchange(state.app, state.tokens, token, state.settings.remember_for)
    return state.tokens.resolve(token)


def revoke(state: LoginState, token: str) -> str:
    """End one of these tokens and all that were made of it. Return the handle of their login, "" if there is none."""
    if SEPARATOR in token:
        spend(state.app, state.tokens, token)
        return ""
    return state.tokens.revoke(token)


def remembered_in(state: LoginState, user_id: object) -> Iterator[Remembered]:
    """Yield what those of these tokens say that are good and this user's."""
    for token in tokens_in(state):
        remembered = resolve(state, token)
        if remembered is not None and remembered.user_id == str(user_id):
            yield remembered


def forget(state: LoginState, owner: Ownership | None) -> None:
    """End what remembers the browser, and let the response delete the cookie. At the end of the login of ``owner``.

    Raises SessionUnavailable (503) if the store is down.
    """
    ended = {revoke(state, token) for token in tokens_in(state)}
    if owner is not None and owner.handle not in ended and is_remembered_by(owner.note):
        state.tokens.revoke_login(owner)  # a browser may have lost its cookie, or have been made to lose it
    if state.remember or state.settings.cookie.values(state.request.environ):
        state.set_remember("")


def forget_others(state: LoginState, user_id: str) -> str:
    """End what else this browser is remembered by: other users would be logged in again when this session is over.

    Return the handle of the login that remembers this one, "" if there is none.
    """
    handle = ""
    for token in tokens_in(state):
        remembered = resolve(state, token)
        if remembered is not None and remembered.user_id == user_id:
            handle = remembered.handle
        else:
            # Also one that is good for nothing any more: if somebody has the one that took its place, that ends too.
            revoke(state, token)
            state.set_remember("")
    return handle
