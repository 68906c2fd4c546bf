"""What views do: log in, log out, confirm, and ask about the login."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from flask import Blueprint, Request, session
from werkzeug.local import LocalProxy

from .. import signals
from ..sessions.cookie import MAX_AGE_LIMIT
from ..sessions.outage import SessionUnavailable
from . import kept
from .config import BROWSER, FRESH, USER_ID
from .current import current_manager, get_user
from .flags import is_set
from .loading import tokens_in
from .manager import LoginManager
from .notes import note_of
from .protection import browser_id
from .response import forget
from .settings import LoginSettings
from .state import LoginState, state_of, this_app, this_request

log = logging.getLogger("flask_cloakroom.login")


def login_user(
    user: Any, remember: bool = False, duration: timedelta | None = None, force: bool = False, fresh: bool = True
) -> bool:
    """Log ``user`` in, with a new id for the session, whose contents stay. False: nobody was logged in.

    That is so if the user is not active, or has as many sessions as SESSION_LIMIT_PER_USER allows and
    SESSION_LIMIT_POLICY is "refuse".

    ``remember``: also after the session is over, for ``duration`` (else REMEMBER_COOKIE_DURATION). ``force``: even if
    the user is not active; then the login stays until it is ended. ``fresh``: the user has just shown who they are.

    Raises TypeError for a duration that is no timedelta, ValueError for a user without an id, and, with
    ``remember``, :class:`~flask_cloakroom.SettingError` if SECRET_KEY is not fit for it. Then nothing has changed.
    """
    if isinstance(user, LocalProxy):
        user = user._get_current_object()
    if not force and not is_set(user, "is_active"):
        log.info("a login was refused: the user is not active")
        return False
    request, manager = this_request(), current_manager()
    state = state_of(request)
    user_id = manager.id_of(user)
    described = kept.description(user, user_id, fresh=fresh, forced=force, user_agent=request.headers.get("User-Agent"))
    token, lifetime = None, 0
    if remember:
        lifetime = _seconds_of(duration, state.settings)
        token = manager.tokens_for(state.app).issue(str(user_id), kept.auth_hash_of(user), lifetime)
    if not kept.begin(described, note_of(request, remembered=remember)):
        return False
    if token is not None:
        state.set_remember(token, lifetime)
    elif _remembers_another(manager, request, state, str(user_id)):
        state.set_remember("")  # or that one would be logged in again when this session is over
    state.set_user(user, private=True)
    signals.user_logged_in.send(state.app, user=user)
    return True


def _seconds_of(duration: timedelta | None, settings: LoginSettings) -> int:
    if duration is None:
        return settings.remember_for
    if not isinstance(duration, timedelta):
        raise TypeError(f"duration must be a datetime.timedelta, instead got: {duration}")
    seconds = -int(-duration.total_seconds() // 1)
    if seconds < 1:
        raise ValueError(f"duration must be at least a second, not {duration}")
    return min(seconds, MAX_AGE_LIMIT)


def _remembers_another(manager: LoginManager, request: Request, state: LoginState, user_id: str) -> bool:
    found = tokens_in(request, state)
    if not found:
        return False
    tokens = manager.tokens_for(state.app)
    return any((remembered := tokens.resolve(token)) and remembered.user_id != user_id for token in found)


def logout_user() -> bool:
    """Log the user out: end the session in the store, and forget this browser. Returns True.

    What is put into the session afterwards, as a flash message, begins a new one. Over Flask's own cookie session the
    login's keys are removed, and all else stays. Raises SessionUnavailable (503) if the store is down: then nobody
    was logged out.
    """
    request, manager = this_request(), current_manager()
    state = state_of(request)
    user = _user_to_log_out(manager, state)
    if kept.has_login():
        log.debug("%s: logged out", kept.public_id())
        kept.end()
    forget(request, state)
    state.clear_site_data = True
    try:
        signals.user_logged_out.send(state.app, user=user)
    finally:
        state.set_user(manager.anonymous_user(), private=False)
    return True


def _user_to_log_out(manager: LoginManager, state: LoginState) -> Any:
    """Return the user whom the signal will name. That a loader fails is no reason to stay logged in."""
    try:
        return get_user()
    except SessionUnavailable:
        raise  # then nobody can be logged out
    except Exception:
        log.exception("the user could not be loaded at the logout, which goes on without")
        return manager.anonymous_user()


def confirm_login() -> None:
    """Mark the login as fresh, after the user has shown again who they are; the session gets a new id.

    Nothing happens if the session has no login: there is nothing to confirm.
    """
    get_user()
    if session.get(USER_ID) is None:
        log.warning("confirm_login() was called, and nobody is logged in by this session")
        return
    session[FRESH] = True
    session[BROWSER] = browser_id(this_request().headers.get("User-Agent"))
    kept.rotate()
    signals.user_login_confirmed.send(this_app())


def login_fresh() -> bool:
    """Tell whether the user has shown who they are in this session, and was not just remembered."""
    get_user()
    return session.get(USER_ID) is not None and session.get(FRESH) is True


def login_remembered() -> bool:
    """Tell whether the login will outlive the session: the browser has a good remember token of the user's."""
    get_user()
    request = this_request()
    state = state_of(request)
    user_id = session.get(USER_ID)
    if state.remember is not None or user_id is None:
        return bool(state.remember)
    tokens = current_manager().tokens_for(state.app)
    found = (tokens.resolve(token) for token in tokens_in(request, state))
    return any(remembered is not None and remembered.user_id == str(user_id) for remembered in found)


def set_login_view(login_view: str, blueprint: Blueprint | None = None) -> None:
    """Set where one logs in, for the application or for a blueprint.

    Once a blueprint has a login view of its own, give one for each: what the application had is then the one for
    pages outside of every blueprint.
    """
    manager = current_manager()
    views = manager.blueprint_login_views
    if blueprint is None and not views:
        manager.login_view = login_view
        return
    views[None if blueprint is None else blueprint.name] = login_view
    if manager.login_view is not None and None not in views:
        views[None] = manager.login_view
    manager.login_view = None
