"""``current_user``, and how it is found: by credential, session, remember cookie or request loader."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from flask import has_request_context
from werkzeug.exceptions import HTTPException
from werkzeug.local import LocalProxy

from ... import signals
from ...first_use import Reentered, is_in_store_use, tell
from ...secret import Secret
from ...sessions.outage import SessionUnavailable, WaitedTooLong
from ..in_session.session_login import FRESH, SessionLogin, browser_id, is_same_digest, login_problem
from ..setup.authenticators import SENT_BY_BROWSERS, Refused, scheme_of
from ..setup.callbacks import call
from ..setup.settings import UNSET, checked_protection
from ..setup.users import FLAGS, as_flag, is_set
from . import impersonation
from .remember_cookies import log_in_again, revoke_remember_tokens
from .state import LoginSource, LoginState, login_state

log = logging.getLogger("flask_cloakroom.login")


class UserProxy(LocalProxy[Any]):
    """A proxy for the request's user. Flags such as ``is_active`` can be read or called, for every class of users."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._get_current_object(), name)
        return as_flag(value, name) if name in FLAGS else value


def get_user() -> Any:
    """Return the request's user, loaded at the first call, or an anonymous user if nobody is logged in.

    Return None outside of a request.
    """
    return user_of(login_state()) if has_request_context() else None


#: The user who makes the current request, or an anonymous user. The first use loads the user, also a use in a template.
current_user: Any = UserProxy(get_user)


def user_context() -> dict[str, Any]:
    """Return the names that templates get. The value is the proxy, so only a page that uses the name loads the user."""
    return {"current_user": current_user}


def user_of(state: LoginState) -> Any:
    """Return the user of a request, loaded at the first call, or an anonymous user if nobody is logged in.

    If the load of the user or of the session calls this function, return an anonymous user. Raises RuntimeError if the
    realm has no loader, the 401 of an authenticator that refuses the credential, and SessionUnavailable.
    """
    if not state.is_loaded:
        if is_in_store_use():
            return state.realm.anonymous_user()
        try:
            state.first_use.run_alone(partial(_load, state), state.realm.timeout_for(state.app))
        except Reentered:
            return state.realm.anonymous_user()
        except TimeoutError:
            text = "another thread of this request has not loaded the user yet, so this thread gets a 503"
            state.first_use.call_inside(log.error, text)
            raise WaitedTooLong from None
    return state.user


def _load(state: LoginState) -> None:
    """Find the user of a request, and set the user in the state. Raises the same errors as :func:`user_of`."""
    if state.is_loaded:
        return  # another thread has found the user while this thread waited
    if state.failed:
        raise SessionUnavailable
    try:
        if signals.user_accessed.receivers:
            tell(signals.user_accessed.send, state.app)
        source: LoginSource | None
        impersonator: Any = None
        user, source = _from_credential(state)
        if user is None:
            (user, impersonator, ended), source = _from_session(state), "session"
            if user is None and not ended:
                user, source = log_in_again(state), "remember"
            if user is None:
                user, source = _from_request(state), "request_loader"
        if user is None:
            state.set_user(state.realm.anonymous_user(), private=False)
        else:
            state.set_user(user, private=True, source=source, impersonator=impersonator)
    except WaitedTooLong:
        raise
    except SessionUnavailable:
        state.fail()
        raise


def _from_credential(state: LoginState) -> tuple[Any, LoginSource | None]:
    """Return the user of the request's credential, and the source. Both are None without a credential.

    The first authenticator that accepts or refuses the credential decides. If it refuses the credential, its error is
    raised, and the request stays anonymous, even if its session has a login.
    """
    for authenticator in state.realm.authenticators:
        try:
            user = authenticator.user_of(state.request)
        except HTTPException as error:
            if isinstance(error, Refused):
                error.challenge = error.challenge or authenticator.challenge
            reason = error.reason if isinstance(error, Refused) else error.name
            tell(log.info, "no session: %s was refused: %s", state.request.endpoint, reason)
            state.refuse(error)
            raise
        if user is not None:
            tell(signals.user_loaded_from_request.send, state.app, user=user)
            return user, "browser" if scheme_of(state.request) in SENT_BY_BROWSERS else "header"
    return None, None


def _from_session(state: LoginState) -> tuple[Any, Any, bool]:
    """Return the session's user or None, the impersonator or None, and whether this function ended a login."""
    # The session is in no local variable: Flask's own is a dict, and an error report of a loader would show its values.
    realm, login = state.realm, state.login
    stored = login.stored()
    if stored is None or realm.user_callback is None:
        return None, None, False  # without a user_loader, the request_loader may read the session
    problem: str | None = None
    user: Any = None
    impersonator: Any = None
    if not _passes_session_protection(state, login, stored.browser):
        problem = "it is in another browser"
    else:
        user = realm.user_with_id(stored.user_id)
        problem = login_problem(user, stored.auth_hash, forced=stored.forced)
        if problem is None and stored.impersonated is not None:
            impersonator, user = user, realm.user_with_id(stored.impersonated)
            problem = impersonation.impersonation_problem(realm, impersonator, user)
    if problem is None:
        return user, impersonator, False
    tell(log.info, "%s: its login ends, because %s", login.log_name, problem)
    revoke_remember_tokens(state, login.owner)
    login.end()
    if stored.impersonated is not None:
        target, logged_in = (None, user) if impersonator is None else (user, impersonator)
        impersonation.send_ended(state, target, logged_in)
    return None, None, True


def _passes_session_protection(state: LoginState, login: SessionLogin, browser: object) -> bool:
    """Return whether SESSION_PROTECTION lets the login continue in the request's browser.

    ``browser`` is the digest that was stored at the login. In another browser, the login ends if the mode is "strong",
    and is not fresh any more if the mode is "basic".
    """
    mode = state.settings.protection
    if mode is UNSET:
        mode = checked_protection(state.realm.session_protection)
    if mode is None or is_same_digest(browser, browser_id(state.request.headers.get("User-Agent"))):
        return True
    tell(signals.session_protected.send, state.app)
    # An update of the browser changes the User-Agent. As in Flask-Login, a login in a permanent session of Flask's own
    # survives the update. A login on the server ends, because there all sessions are permanent by default.
    if mode == "strong" and (login.server_session is not None or not login.session.permanent):
        return False
    if login.session.get(FRESH) is not False:
        tell(log.info, "%s: its login is not fresh any more, because it is in another browser", login.log_name)
        login.session[FRESH] = False
    return True


def _from_request(state: LoginState) -> Any:
    """Return the user that the request_loader or header_loader finds, or None. The session is not changed.

    Raises RuntimeError if the realm has no loader at all.
    """
    realm, request = state.realm, state.request
    if not realm.has_loader:
        raise RuntimeError(
            "Missing user_loader or request_loader. Without one nobody can be logged in: decorate a function that "
            "returns the user of an id with @login_manager.user_loader; docs/logins.md shows it."
        )
    user, signal = None, signals.user_loaded_from_request
    if realm.request_callback is not None:
        user = call(realm.request_callback, request)
    elif realm.header_callback is not None and state.settings.auth_header in request.headers:
        header = Secret(request.headers[state.settings.auth_header])
        user, signal = call(realm.header_callback, header), signals.user_loaded_from_header
    if user is None:
        return None
    if not is_set(user, "is_active"):
        tell(log.info, "no session: the user of the request_loader was refused, because the user is not active")
        return None
    tell(signal.send, state.app, user=user)
    return user
