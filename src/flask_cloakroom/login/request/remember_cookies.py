"""The remember cookie of a request: log in again by its token, revoke the token, renew it, and send the cookie."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final

from flask import Response

from ... import signals
from ...cookies import MAX_TRIES
from ...core.entries.ownership import Ownership
from ...core.values.own_keys import USER_KEY
from ...first_use import tell
from ...secret import Secret
from ...sessions.outage import SessionUnavailable
from ..in_session.device_note import describe_login, was_remembered
from ..in_session.session_login import AUTH_HASH, SessionLogin, login_problem, login_values
from ..remember.flask_login_cookies import SEPARATOR, exchange, refuse
from ..remember.tokens import Remembered, RememberTokens, retrying
from .state import LoginState

log = logging.getLogger("flask_cloakroom.login")

#: With REMEMBER_COOKIE_REFRESH_EACH_REQUEST a token is extended when a tenth of its lifetime has passed. So the token
#: expires at most a tenth of its lifetime too early, and the images of a page do not each cost a write.
REFRESH_PART: Final = 10
#: A token with a long lifetime is extended earlier: after this number of seconds.
REFRESH_SECONDS: Final = 600


# -- the tokens of the request --------------------------------------------------------------------------------


def sent_tokens(state: LoginState) -> list[Secret]:
    """Return the values of the remember cookie that look like a token, the first :data:`MAX_TRIES` of them.

    With REMEMBER_COOKIE_ACCEPT_LEGACY, up to the same number of Flask-Login's cookies follow.
    """
    if not state.request.environ.get("HTTP_COOKIE"):
        return []
    found = state.settings.find_tokens(state.request.environ)
    if state.settings.accept_legacy and SEPARATOR in state.request.environ["HTTP_COOKIE"]:
        cookies = state.settings.cookie.values(state.request.environ)  # values() removes the quotes around some values
        found += [cookie for cookie in cookies if SEPARATOR in cookie][:MAX_TRIES]
    return found


def resolve(state: LoginState, token: str, *, repeat: bool = False) -> Remembered | None:
    """Return the contents of a sent token, or None if the token is not valid.

    A cookie of Flask-Login is replaced by a new token, whose contents are returned. ``repeat``: also accept a token
    that was used long ago, and of whose result the browser has shown nothing. Only :func:`log_in_again` accepts it: at
    a login with a password, the unknown browser that may have the result must not stay logged in.
    """
    if SEPARATOR in token:
        return exchange(state.app, state.tokens, token, state.settings.remember_for)
    remembered = state.tokens.resolve(token)
    return None if remembered is not None and remembered.unshown and not repeat else remembered


def revoke(state: LoginState, token: str) -> str:
    """Revoke the family of a sent token, and return the handle of its login, or "" if it has no handle."""
    if SEPARATOR in token:
        refuse(state.app, state.tokens, token)
        return ""
    return state.tokens.revoke(token)


def sent_tokens_of(state: LoginState, user_id: object) -> Iterator[Remembered]:
    """Yield the contents of each sent token that is valid and belongs to this user."""
    for token in sent_tokens(state):
        remembered = resolve(state, token)
        if remembered is not None and remembered.user_id == str(user_id):
            yield remembered


# -- log in again ---------------------------------------------------------------------------------------------


def log_in_again(state: LoginState) -> Any:
    """Log in the user of a sent remember token, not freshly. Return the user, or None if no token is valid."""
    realm = state.realm
    if realm.user_callback is None or state.remember_cookie == "":
        return None
    login = state.login
    for token in sent_tokens(state):
        remembered = resolve(state, token, repeat=True)
        if remembered is None:
            tell(log.info, "%s: a remember token was refused (forged, expired or revoked)", login.log_name)
            continue
        was_used = remembered.used or remembered.unshown  # then its own use may have ended the session of the request
        if not was_used and login.server_session is not None and login.server_session.superseded:
            # The browser sent this request before a login or logout that has ended by now. The token must not undo the
            # login or logout.
            tell(
                log.info,
                "%s: a remember token was not used: the request is older than a login or logout",
                login.log_name,
            )
            return None
        user = realm.user_with_id(remembered.user_id)
        problem = login_problem(user, remembered.auth_hash, unknown_hash=remembered.auth_hash is None)
        if problem is None:
            # Where the next token cannot reach the browser, the page shows the user, and the token stays as it is.
            logged_in = not state.can_send_cookies or _use_token(state, login, user, remembered)
            return user if logged_in else None
        tell(log.info, "%s: a remember token was refused, because %s", login.log_name, problem)
        revoke(state, token)
        state.set_remember_cookie("")
    return None


def _use_token(state: LoginState, login: SessionLogin, user: Any, remembered: Remembered) -> bool:
    """Log a remembered user in, or join the login that a parallel request made with the same token.

    Return False if a parallel request revoked the token, if the login in the other session cannot be joined, or if the
    session with the login would be too large. In the last case the token is not used.
    """
    tokens, user_id = state.tokens, state.realm.id_of(user)
    user_agent = state.request.headers.get("User-Agent")
    values = login_values(user, user_id, fresh=False, forced=False, user_agent=user_agent)
    new_login = describe_login(login.session, state.request, remembered=True, handle=remembered.handle)
    if not remembered.used and not login.fits(values, new_login):
        return False
    used = tokens.use(remembered, values.get(AUTH_HASH, ""))
    if used is None:
        tell(log.info, "%s: a remember token was refused, because a parallel request revoked it", login.log_name)
        return False
    if used.token is not None and used.ticket is None:
        # Before the other steps, because the token of the browser is not valid any more: if another step fails, the
        # browser still needs the new token.
        state.set_remember_cookie(used.token, used.lifetime)
    begins = login.join(values, new_login, used)
    # A revocation ends the token first and then the sessions. If the token is still valid now, a later revocation finds
    # the session of this request.
    if begins and not _is_alive(tokens, login, remembered):
        tell(log.info, "%s: a remember token was revoked while it was used", login.log_name)
        login.end()
        state.remember_cookie = None
        return False
    if used.token is not None:
        # After the other steps. If one of them fails, the browser gets neither the next token nor the session. Then the
        # token that it has leads to both again. With the next token alone, it would lose the session's values.
        state.set_remember_cookie(used.token, used.lifetime)
    if not begins:
        return False
    if used.token is None:
        state.remember_cookie = None  # an earlier invalid token may have set "", which deletes the cookie
    state.used_token = remembered
    if used.first:
        tell(signals.user_loaded_from_cookie.send, state.app, user=user)
    return True


def _is_alive(tokens: RememberTokens, login: SessionLogin, remembered: Remembered) -> bool:
    try:
        return tokens.is_alive(remembered)
    except SessionUnavailable:
        # The login may be revoked by now, so the browser must not get its ticket.
        login.abort()
        raise


# -- revoke ---------------------------------------------------------------------------------------------------


def revoke_remember_tokens(state: LoginState, owner: Ownership | None) -> None:
    """Revoke the sent tokens and the tokens of a login that ends, and let the response delete the cookie.

    ``owner``: owner and handle of the login that ends, if its session is on the server. Raises SessionUnavailable (503)
    if the store is down.
    """
    ended = {revoke(state, token) for token in sent_tokens(state)}
    if owner is not None and owner.handle not in ended and was_remembered(owner.note):
        state.tokens.revoke_login(owner)  # the browser may have lost its cookie
    if state.remember_cookie or state.settings.cookie.values(state.request.environ):
        state.set_remember_cookie("")


def revoke_replaced(state: LoginState, tokens: Sequence[str], owner: Ownership | None) -> None:
    """Revoke tokens that a new login has replaced. If the store is down, log a warning and try again later.

    ``tokens``: sent tokens. ``owner``: owner and handle of the login before, whose token the browser may not have sent.
    """
    lenient = retrying(state.tokens)
    ended = {lenient.revoke_or_retry(token) for token in tokens if SEPARATOR not in token}
    if owner is not None and owner.handle not in ended and was_remembered(owner.note):
        lenient.revoke_login_or_retry(owner)
    for token in tokens:
        if SEPARATOR in token:
            try:
                revoke(state, token)
            except SessionUnavailable:
                log.warning("the store is down, so a cookie of Flask-Login was not refused. It stays valid")


def renew_token(state: LoginState, user_id: object, auth_hash: str) -> None:
    """Replace the sent token of this user by a token with another digest of ``session_auth_hash()``.

    If the store fails twice, log a warning. Then the old token is refused, and the user is not remembered any more.
    """
    for is_last in (False, True):
        try:
            remembered = next(sent_tokens_of(state, user_id), None)
            renewed = None if remembered is None else state.tokens.renew(remembered, auth_hash)
        except SessionUnavailable:
            if is_last:
                log.warning("the store is down, so a remember token was not renewed after a change of the password")
            continue
        if remembered is not None and renewed is not None:
            state.set_remember_cookie(renewed, max(1, remembered.lifetime - remembered.age))
        return


# -- send -----------------------------------------------------------------------------------------------------


def send(state: LoginState, response: Response) -> None:
    """Set or delete the remember cookie in a response, if the login of the request asks for that."""
    after_save, state.after_save = state.after_save, ()
    for function in after_save:
        function()
    if state.logged_in_user is not None:
        state.roll_back()  # another request had ended the session, so the login was discarded
    state.revoke_unsent()
    if state.settings.refresh_each_request and _may_refresh(state):
        try:
            _refresh(state)
        except SessionUnavailable:
            log.warning("a remember token was not extended, because the store is down. The next request tries again")
    if state.remember_cookie and state.used_token is not None:
        try:
            if not state.tokens.is_alive(state.used_token):
                state.remember_cookie = None  # a parallel request may have set the token of a later login
        except SessionUnavailable:
            pass  # the token of the browser is not valid any more, so the browser needs the new token
    if state.remember_cookie:
        state.settings.cookie.set(response, state.remember_cookie, state.remember_cookie_age)
    elif state.remember_cookie is not None:
        state.settings.cookie.delete(response)


def _may_refresh(state: LoginState) -> bool:
    """Return whether the session has a login without impersonation, and the response does not set the cookie yet."""
    by_session = state.private and not state.ignores_session
    return by_session and state.impersonator is None and state.remember_cookie is None


def _refresh(state: LoginState) -> None:
    """Extend the sent token of the logged-in user, if a tenth of its lifetime or ten minutes have passed."""
    session = state.realm.session_of(state.request)
    for remembered in sent_tokens_of(state, session.get(USER_KEY)):
        if remembered.used or remembered.auth_hash != session.get(AUTH_HASH, ""):
            continue
        if remembered.age >= min(remembered.lifetime / REFRESH_PART, REFRESH_SECONDS):
            extended = state.tokens.extend(remembered)
            if extended is not None:
                state.set_remember_cookie(extended, remembered.lifetime)
        return
