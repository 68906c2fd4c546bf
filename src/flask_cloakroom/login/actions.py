"""What views do: log in, log out, confirm, and ask about the login."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Blueprint

from .access.decorators import checked_age
from .lifecycle import confirm, is_fresh, is_remembered, log_in, log_out, update_auth_hash
from .request import impersonation
from .request.current import current_manager, this_login, user_of
from .request.state import LoginSource


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
    return log_in(this_login(), user, remember=remember, duration=duration, force=force, fresh=fresh)


def logout_user() -> bool:
    """Log the user out: end the session in the store, and forget this browser. Returns True.

    What is put into the session afterwards, as a flash message, begins a new one. Over Flask's own cookie session the
    login's keys are removed, and all else stays. Raises SessionUnavailable (503) if the store is down: then nobody
    was logged out.
    """
    return log_out(this_login())


def confirm_login() -> None:
    """Mark the login as fresh, after the user has shown again who they are; the session gets a new id.

    Nothing happens if the session has no login: there is nothing to confirm.
    """
    confirm(this_login())


def update_session_auth_hash(user: Any = None) -> None:
    """Let this login go on although ``session_auth_hash()`` of its user has changed, as with a new password.

    All other logins of the user end, and what remembers them; this session gets a new id, and the browser a new
    remember token if it had one. The login becomes no fresher by it. ``user``: as they are now; else the current user.

    Raises ValueError if that is not who is logged in by this session.
    """
    update_auth_hash(this_login(), user)


def login_fresh(max_age: timedelta | float | None = None) -> bool:
    """Tell whether the user has shown who they are in this session, and was not just remembered.

    ``max_age``: within the last so many seconds. Raises ValueError for an age that is not above zero.
    """
    return is_fresh(this_login(), checked_age(max_age))


def login_remembered() -> bool:
    """Tell whether the login will outlive the session: the browser has a good remember token of the user's."""
    return is_remembered(this_login())


def login_source() -> LoginSource | None:
    """Tell by what the request's user was found; None if nobody is logged in.

    "session"; "remember", in the request that the cookie of an earlier login began this one in; "header", by an
    authenticator; "browser", by an authenticator and a credential that browsers send by themselves, as they do
    cookies; "request_loader". When a request needs no protection against forgery stands in docs/csrf.md: an
    authenticator may go by what is no header.
    """
    state = this_login()
    user_of(state)
    return state.source


def impersonate(user: Any) -> None:
    """Let the current user see the site as ``user`` from here on; the session gets a new id. For support.

    ``@login_manager.impersonation_allowed`` must say that they may, now and at every request to come. The session stays
    that of the current user: what ends their login ends this. It is never fresh meanwhile. Ended by
    :func:`stop_impersonating`, by a login, and by a logout.

    Raises a 403 if it is not allowed, or ``user`` is not active; ValueError for the same user; RuntimeError if nobody
    is logged in by this session, it impersonates somebody already, or nothing was registered that could allow it.
    """
    state = this_login()
    user_of(state)
    impersonation.start(state, user)


def stop_impersonating() -> bool:
    """Be the impersonator again, in a session with a new id. False: nobody was impersonated, and nothing happened."""
    state = this_login()
    user_of(state)
    return impersonation.stop(state)


def impersonator() -> Any:
    """Return the user who is really logged in, if they impersonate the current one; else None."""
    state = this_login()
    user_of(state)
    return state.impersonator


def set_login_view(login_view: str | None, blueprint: Blueprint | None = None) -> None:
    """Set where one logs in, for the application or for a blueprint. None: its pages answer with a 401.

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
