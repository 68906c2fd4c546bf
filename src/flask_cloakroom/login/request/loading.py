"""Who makes this request: by its credentials, by the session, by the cookie that remembers a login, or by a loader."""

from __future__ import annotations

import logging
from typing import Any

from werkzeug.exceptions import HTTPException

from ... import signals
from ...core.values.own_keys import is_user_id
from ...secret import Secret
from ...sessions.outage import SessionUnavailable
from ..in_session.browser import is_same_browser
from ..in_session.session_login import SessionLogin, description, has_auth_hash
from ..remember.tokens import Remembered, RememberTokens
from ..setup.authenticators import SENT_BY_BROWSERS, Refused, scheme_of
from ..setup.callbacks import call
from ..setup.config import AUTH_HASH, FRESH
from ..setup.realm import Realm
from ..setup.settings import UNSET, checked_protection
from ..setup.users import is_set
from . import impersonation
from .remember_cookies import forget, resolve, revoke, tokens_in
from .state import LoginSource, LoginState

log = logging.getLogger("flask_cloakroom.login")


def user_of(state: LoginState) -> Any:
    """Return the user of a request, loaded at the first call; an anonymous one if nobody is logged in."""
    if not state.loaded:
        if state.loading:
            return state.realm.anonymous_user()
        load(state)
    return state.user


def load(state: LoginState) -> None:
    """Find out who makes the request, and keep it in its state. Raises RuntimeError if there is no loader."""
    realm = state.realm
    if not realm.has_loader:
        raise RuntimeError(
            "Missing user_loader or request_loader. Without one nobody can be logged in: decorate a function that "
            "returns the user of an id with @login_manager.user_loader; docs/logins.md shows it."
        )
    state.loading = True
    try:
        signals.user_accessed.send(state.app)
        source: LoginSource | None
        impersonator: Any = None
        user, source = authenticate(state)
        if user is None:
            (user, impersonator, ended), source = _from_session(state), "session"
            if user is None and not ended:
                user, source = _from_remember_cookie(state), "remember"
            if user is None:
                user, source = _from_request(state), "request_loader"
        if user is None:
            state.set_user(realm.anonymous_user(), private=False)
        else:
            state.set_user(user, private=True, source=source, impersonator=impersonator)
    finally:
        state.loading = False


def authenticate(state: LoginState) -> tuple[Any, LoginSource | None]:
    """Return the user whom the first authenticator finds that knows the request's credential, and how; else None.

    Raises what that one raises; then nobody is logged in for the rest of the request, whatever else it brought.
    """
    for authenticator in state.realm.authenticators:
        try:
            user = authenticator.user_of(state.request)
        except HTTPException as error:
            if isinstance(error, Refused):
                error.challenge = error.challenge or authenticator.challenge
            reason = error.reason if isinstance(error, Refused) else error.name
            log.info("no session: %s was refused: %s", state.request.endpoint, reason)
            state.refuse(error)
            raise
        if user is not None:
            signals.user_loaded_from_request.send(state.app, user=user)
            return user, "browser" if scheme_of(state.request) in SENT_BY_BROWSERS else "header"
    return None, None


def _from_session(state: LoginState) -> tuple[Any, Any, bool]:
    """Return the session's user or None, who impersonates them if somebody does, and whether a login was ended."""
    # No session in a local variable: Flask's own is a dict, and an error report of a loader would show all of it.
    realm, login = state.realm, state.login
    kept = login.kept()
    if kept is None or realm.user_callback is None:
        return None, None, False  # an application that has but a request_loader reads the session in that
    problem: str | None = None
    user: Any = None
    impersonator: Any = None
    if not _is_protected(state, login, kept.browser):
        problem = "it is in another browser"
    else:
        user = _user_with_id(realm, kept.user_id)
        problem = problem_with(user, kept.auth_hash, forced=kept.forced)
        if problem is None and kept.impersonated is not None:
            impersonator, user = user, _user_with_id(realm, kept.impersonated)
            problem = impersonation.problem_with(realm, impersonator, user)
    if problem is None:
        return user, impersonator, False
    log.info("%s: its login ends, because %s", login.log_name, problem)
    forget(state, login.owner)
    login.end()
    if kept.impersonated is not None:
        target, logged_in = (None, user) if impersonator is None else (user, impersonator)
        impersonation.tell_end(state, target, logged_in)
    return None, None, True


def _user_with_id(realm: Realm, user_id: object) -> Any:
    """Return the user of an id that was kept of an earlier login; None if there is none, or if that can be no id."""
    load = realm.user_callback
    return call(load, user_id) if load is not None and is_user_id(user_id) else None


def problem_with(user: Any, auth_hash: object, *, forced: bool = False, unknown_hash: bool = False) -> str | None:
    """Return why this user must not be logged in by what was kept of an earlier login; None if they may."""
    if user is None:
        return "the user is not there any more"
    if not forced and not is_set(user, "is_active"):
        return "the user is not active"
    if not unknown_hash and not has_auth_hash(auth_hash, user):
        return "session_auth_hash() is another one by now"
    return None


def _is_protected(state: LoginState, login: SessionLogin, browser: object) -> bool:
    """Tell whether a login made in this browser may go on; in the basic mode it may elsewhere, and is fresh no more."""
    mode = state.settings.protection
    if mode is UNSET:
        mode = checked_protection(state.realm.session_protection)
    if mode is None or is_same_browser(browser, state.user_agent):
        return True
    signals.session_protected.send(state.app)
    if mode == "strong" and not login.may_change_browser:
        return False
    if login.session.get(FRESH) is not False:
        log.info("%s: its login is not fresh any more, because it is in another browser", login.log_name)
        login.session[FRESH] = False
    return True


def _from_remember_cookie(state: LoginState) -> Any:
    """Return the remembered user and log them in, not freshly; None if no token is good."""
    realm = state.realm
    if realm.user_callback is None or state.remember == "":
        return None
    login = state.login
    for token in tokens_in(state):
        remembered = resolve(state, token)
        if remembered is None:
            log.info("%s: a remember token was refused (forged, expired, revoked)", login.log_name)
            continue
        if not remembered.used and login.is_superseded:
            # This request left the browser before a login or logout that has been made meanwhile: it must not undo it.
            log.info("%s: a remember token was not used: the request is older than that", login.log_name)
            return None
        user = _user_with_id(realm, remembered.user_id)
        problem = problem_with(user, remembered.auth_hash, unknown_hash=remembered.auth_hash is None)
        if problem is None:
            return user if _resume(state, login, user, remembered) else None
        log.info("%s: a remember token was refused, because %s", login.log_name, problem)
        revoke(state, token)
        state.set_remember("")
    return None


def _stands(tokens: RememberTokens, login: SessionLogin, remembered: Remembered) -> bool:
    try:
        return tokens.stands(remembered)
    except SessionUnavailable:
        # Nobody may get the ticket of a login of which it is not known whether it stands.
        login.give_up()
        raise


def _resume(state: LoginState, login: SessionLogin, user: Any, remembered: Remembered) -> bool:
    """Log a remembered user in, or go on with the login that a parallel request has made by the same token."""
    tokens, user_id = state.tokens, state.realm.id_of(user)
    described = description(user, user_id, fresh=False, forced=False, user_agent=state.user_agent)
    used = tokens.use(remembered, described.get(AUTH_HASH, ""))
    if used is None:
        log.info("%s: a remember token was refused, because it was revoked meanwhile", login.log_name)
        return False
    if used.token is not None:
        # Now, because the one that the browser has is spent: whatever fails from here on, it must get this one.
        state.set_remember(used.token, used.lifetime)
    begun = login.begun(state.request, remembered=True, handle=remembered.handle)
    if used.ticket is None:
        begins = login.begin(described, begun)
    else:
        if used.first:
            # A browser that shows its token has lost the session that it had by it. If another one has that, by a copy
            # of the token, it has to show that copy, and is found out.
            login.end_others(user_id, remembered.handle, used.ticket)
        begins = login.join(described, begun, used.ticket, first=used.first)
    # Who revokes ends the token first and then the sessions that there are. So if it stands now, whoever revokes it
    # from here on will find this session.
    if begins and not _stands(tokens, login, remembered):
        log.info("%s: a remember token was revoked while it was used", login.log_name)
        login.end()
        state.remember = None
        begins = False
    if not begins:
        return False
    if used.token is None:
        state.remember = None  # another one, before this, may have been bad
    state.resumed = remembered
    if used.first:
        signals.user_loaded_from_cookie.send(state.app, user=user)
    return True


def _from_request(state: LoginState) -> Any:
    """Return the user that a request_loader (or a header_loader) finds; the session knows nothing of them."""
    realm, request = state.realm, state.request
    user, signal = None, signals.user_loaded_from_request
    if realm.request_callback is not None:
        user = call(realm.request_callback, request)
    elif realm.header_callback is not None and state.settings.auth_header in request.headers:
        header = Secret(request.headers[state.settings.auth_header])
        user, signal = call(realm.header_callback, header), signals.user_loaded_from_header
    if user is None:
        return None
    if not is_set(user, "is_active"):
        log.info("a request was refused, because the user that its loader found is not active")
        return None
    signal.send(state.app, user=user)
    return user
