"""Who makes this request: by its credentials, by the session, by the cookie that remembers a login, or by a loader."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from flask.sessions import SessionMixin

from ... import signals
from ...core.values.own_keys import is_user_id
from ...secret import Secret
from ...sessions.outage import SessionUnavailable
from ..in_session import session_login
from ..in_session.browser import is_same_browser
from ..in_session.device_note import begun_by
from ..remember.tokens import Remembered
from ..setup.authenticators import authenticate
from ..setup.callbacks import call
from ..setup.config import AUTH_HASH, BROWSER, FORCED, FRESH, IMPERSONATED, USER_ID
from ..setup.users import is_set
from ..setup.settings import UNSET, checked_protection
from . import impersonation
from .remember_cookies import forget, tokens_in
from .state import LoginSource, LoginState

if TYPE_CHECKING:
    from ..manager import LoginManager

log = logging.getLogger("flask_cloakroom.login")


def load(state: LoginState) -> None:
    """Find out who makes the request, and keep it in its state. Raises RuntimeError if there is no loader."""
    manager = state.manager
    if not manager.has_loader:
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
            state.set_user(manager.anonymous_user(), private=False)
        else:
            state.set_user(user, private=True, source=source, impersonator=impersonator)
    finally:
        state.loading = False


def _from_session(state: LoginState) -> tuple[Any, Any, bool]:
    """Return the session's user or None, who impersonates them if somebody does, and whether a login was ended."""
    # No session in a local variable: Flask's own is a dict, and an error report of a loader would show all of it.
    manager = state.manager
    user_id, impersonated, auth_hash, forced = _login_in(state.session)
    if user_id is None or manager.user_callback is None:
        return None, None, False  # an application that has but a request_loader reads the session in that
    problem: str | None = None
    user: Any = None
    impersonator: Any = None
    if not _is_protected(state):
        problem = "it is in another browser"
    else:
        user = _user_of(manager, user_id)
        problem = problem_with(user, auth_hash, forced=forced)
        if problem is None and impersonated is not None:
            impersonator, user = user, _user_of(manager, impersonated)
            problem = impersonation.problem_with(manager, impersonator, user)
    if problem is None:
        return user, impersonator, False
    log.info("%s: its login ends, because %s", session_login.public_id(state.session), problem)
    forget(state, session_login.owner_of(state.session))
    session_login.end(state.session)
    if impersonated is not None:
        target, logged_in = (None, user) if impersonator is None else (user, impersonator)
        impersonation.tell_end(state, target, logged_in)
    return None, None, True


def _user_of(manager: LoginManager, user_id: object) -> Any:
    """Return the user of an id that was kept of an earlier login; None if there is none, or if that can be no id."""
    load = manager.user_callback
    return call(load, user_id) if load is not None and is_user_id(user_id) else None


def _login_in(session: SessionMixin) -> tuple[Any, Any, Any, bool]:
    """Return the ids of the session's user and of the impersonated one, the digest, and whether the login is forced."""
    user_id = session.get(USER_ID)
    if user_id is None:
        return None, None, None, False
    return user_id, session.get(IMPERSONATED), session.get(AUTH_HASH), session.get(FORCED) is True


def problem_with(user: Any, auth_hash: object, *, forced: bool = False, unknown_hash: bool = False) -> str | None:
    """Return why this user must not be logged in by what was kept of an earlier login; None if they may."""
    if user is None:
        return "the user is not there any more"
    if not forced and not is_set(user, "is_active"):
        return "the user is not active"
    if not unknown_hash and not session_login.has_auth_hash(auth_hash, user):
        return "session_auth_hash() is another one by now"
    return None


def _is_protected(state: LoginState) -> bool:
    """Tell whether the login may go on in this browser; in the basic mode it may, and is fresh no more."""
    mode = state.settings.protection
    if mode is UNSET:
        mode = checked_protection(state.manager.session_protection)
    if mode is None or is_same_browser(state.session.get(BROWSER), state.user_agent):
        return True
    signals.session_protected.send(state.app)
    # Flask's permanent session outlives the browser window, and with it an update of the browser, so there it is
    # spared. On the server sessions are permanent unless told otherwise, and strong means strong.
    if mode == "strong" and (session_login.server_session(state.session) is not None or not state.session.permanent):
        return False
    if state.session.get(FRESH) is not False:
        log.info(
            "%s: its login is not fresh any more, because it is in another browser",
            session_login.public_id(state.session),
        )
        state.session[FRESH] = False
    return True


def _from_remember_cookie(state: LoginState) -> Any:
    """Return the remembered user and log them in, not freshly; None if no token is good."""
    manager = state.manager
    if manager.user_callback is None or state.remember == "":
        return None
    found = tokens_in(state)
    if not found:
        return None
    tokens = state.tokens
    for token in found:
        remembered = tokens.resolve(token)
        if remembered is None:
            log.info(
                "%s: a remember token was refused (forged, expired, revoked)", session_login.public_id(state.session)
            )
            continue
        if not remembered.used and _is_superseded(state.session):
            # This request left the browser before a login or logout that has been made meanwhile: it must not undo it.
            log.info(
                "%s: a remember token was not used: the request is older than that",
                session_login.public_id(state.session),
            )
            return None
        user = _user_of(manager, remembered.user_id)
        problem = problem_with(user, remembered.auth_hash, unknown_hash=remembered.auth_hash is None)
        if problem is None:
            return user if _resume(state, user, remembered) else None
        log.info("%s: a remember token was refused, because %s", session_login.public_id(state.session), problem)
        tokens.revoke(token)
        state.set_remember("")
    return None


def _stands(state: LoginState, remembered: Remembered) -> bool:
    try:
        return state.tokens.stands(remembered)
    except SessionUnavailable:
        session_login.give_up(
            state.session
        )  # nobody may get the ticket of a login of which it is not known whether it stands
        raise


def _is_superseded(session: SessionMixin) -> bool:
    server_session = session_login.server_session(session)
    return server_session is not None and server_session.superseded


def _resume(state: LoginState, user: Any, remembered: Remembered) -> bool:
    """Log a remembered user in, or go on with the login that a parallel request has made by the same token."""
    tokens = state.tokens
    user_id = state.manager.id_of(user)
    described = session_login.description(user, user_id, fresh=False, forced=False, user_agent=state.user_agent)
    used = tokens.use(remembered, described.get(AUTH_HASH, ""))
    if used is None:
        log.info(
            "%s: a remember token was refused, because it was revoked meanwhile", session_login.public_id(state.session)
        )
        return False
    if used.token is not None:
        # Now, because the one that the browser has is spent: whatever fails from here on, it must get this one.
        state.set_remember(used.token, used.lifetime)
    begun = begun_by(state, remembered=True, handle=remembered.handle)
    server_session = session_login.server_session(state.session)
    if server_session is None or used.ticket is None:
        begins = session_login.begin(state.session, described, begun)
    else:
        if used.first:
            # A browser that shows its token has lost the session that it had by it. If another one has that, by a copy
            # of the token, it has to show that copy, and is found out.
            session_login.end_others(server_session, user_id, remembered.handle, used.ticket)
        begins = session_login.join(server_session, described, begun, used.ticket, first=used.first)
    # Who revokes ends the token first and then the sessions that there are. So if it stands now, whoever revokes it
    # from here on will find this session.
    if begins and not _stands(state, remembered):
        log.info("%s: a remember token was revoked while it was used", session_login.public_id(state.session))
        session_login.end(state.session)
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
    manager, request = state.manager, state.request
    user, signal = None, signals.user_loaded_from_request
    if manager.request_callback is not None:
        user = call(manager.request_callback, request)
    elif manager.header_callback is not None and state.settings.auth_header in request.headers:
        header = Secret(request.headers[state.settings.auth_header])
        user, signal = call(manager.header_callback, header), signals.user_loaded_from_header
    if user is None:
        return None
    if not is_set(user, "is_active"):
        log.info("a request was refused, because the user that its loader found is not active")
        return None
    signal.send(state.app, user=user)
    return user
