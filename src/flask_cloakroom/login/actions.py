"""Functions for views, for the application's own users. Each function calls the manager's method of the same name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from flask import Blueprint

from ..context import this_app
from .devices.active_sessions import ActiveSession, Devices
from .devices.login_watch import LoginWatch
from .manager import LoginManager
from .request.state import LoginSource
from .setup.realm import realm_of, realms_of


def _manager() -> LoginManager:
    """Return the current application's manager. Raises RuntimeError if it has none."""
    # The realm of an application's own users is always a LoginManager. The modules below know its base class only.
    return cast(LoginManager, realm_of(this_app()))


def login_user(
    user: Any, remember: bool = False, duration: timedelta | None = None, force: bool = False, fresh: bool = True
) -> bool:
    """Log ``user`` in, and return True. The session gets a new ticket; its contents stay.

    Return False if the user is not active, or if SESSION_LIMIT_POLICY is "refuse" and the user has
    SESSION_LIMIT_PER_USER sessions already.

    ``remember``: also set a remember token, which logs the user in again after the session has ended.
    ``duration``: the lifetime of the remember token; by default REMEMBER_COOKIE_DURATION.
    ``force``: also log in a user who is not active. Later requests do not check ``is_active`` either.
    ``fresh``: whether the user has just given a password or another proof: see :func:`login_fresh`.

    Raises TypeError for a duration that is no timedelta, ValueError for a duration below one second or a user without
    an id, :class:`~flask_cloakroom.SettingError` if ``remember`` needs a better SECRET_KEY, and SessionUnavailable
    (503) if the store is down. After an error nobody is logged in.
    """
    return _manager().login_user(user, remember, duration, force, fresh)


def logout_user() -> bool:
    """Log the user out, and return True. The session ends, and the browser's remember tokens are revoked.

    Values that the view puts into the session afterwards, such as a flash message, begin a new session. In Flask's
    own cookie session only the login's keys are removed. Raises SessionUnavailable (503) if the store is down; then
    the user is still logged in.
    """
    return _manager().logout_user()


def confirm_login() -> None:
    """Mark the login as fresh, after the user has given the password again. The session gets a new ticket.

    Without a login in the session, this function only logs a warning. Raises a 403 during an impersonation, because
    the password may be the support member's or the user's.
    """
    _manager().confirm_login()


def update_session_auth_hash(user: Any = None) -> None:
    """Let this login stay valid although ``session_auth_hash()`` of its user has changed, as with a new password.

    All other logins of the user end at their next request. This session gets a new ticket, and a new token replaces
    the remember token of the browser. The login does not become fresh. ``user``: the user object with the new hash; by
    default the current user.

    Raises ValueError if ``user`` is not the user who is logged in by this session.
    """
    _manager().update_session_auth_hash(user)


def login_fresh(max_age: timedelta | float | None = None) -> bool:
    """Return whether the user logged in with a password in this session, and not by a remember token.

    ``max_age``: a timedelta or a number of seconds. If the user gave the password longer ago, return False. Raises
    ValueError for a ``max_age`` of zero or less.
    """
    return _manager().login_fresh(max_age)


def login_remembered() -> bool:
    """Return whether a remember token will log the user in again after the session has ended."""
    return _manager().login_remembered()


def login_source() -> LoginSource | None:
    """Return how the request's user was found, or None for an anonymous user.

    "session": by the session. "remember": by a remember token, which began this session in this request. "header": by
    an authenticator. "browser": by an authenticator and a credential that browsers send automatically, as they send
    cookies. "request_loader": by the request loader.

    A request with the source "header" may need a CSRF token, because an authenticator may read something else than a
    header. docs/csrf.md says which requests need no CSRF token.
    """
    return _manager().login_source()


def impersonate(user: Any) -> None:
    """Let the current user see the site as ``user`` from now on, for support. The session gets a new ticket.

    The function with the decorator ``@login_manager.impersonation_allowed`` must allow the impersonation now and at
    every later request. The session still belongs to the current user, so the end of the current user's login ends the
    impersonation. During the impersonation the login is not fresh. :func:`stop_impersonating`, a login and a logout end
    the impersonation.

    Raises a 403 if the impersonation is not allowed or ``user`` is not active, ValueError if ``user`` is the current
    user, and RuntimeError if nobody is logged in by this session, if the session impersonates a user already, or if
    the application has no such function.
    """
    _manager().impersonate(user)


def stop_impersonating() -> bool:
    """End the impersonation, and return True. Return False without an impersonation. The session gets a new ticket."""
    return _manager().stop_impersonating()


def impersonator() -> Any:
    """Return the logged-in user who impersonates the current user, or None without an impersonation."""
    return _manager().impersonator()


def login_watch() -> LoginWatch:
    """Return a :class:`LoginWatch`. It tells whether this login is still valid, even after the request has ended.

    This call saves the session before it returns. Raises RuntimeError if nobody is logged in or the application has no
    user_loader, and the errors of a save: SessionUnavailable (503), SessionValueError, SessionTooLargeError.
    """
    return _manager().login_watch()


def active_sessions(user: Any = None) -> list[ActiveSession]:
    """Return the sessions in which ``user`` (by default the current user) is logged in, the last used first.

    The list also has each device whose session has ended and whose remember token is still valid, because that device
    needs no password to log in again.

    Raises RuntimeError if nobody is logged in and no user is given, CloakroomError if the sessions are not on the
    server or their store has no owner index, and StoreError if the store is down.
    """
    return _manager().active_sessions(user)


def revoke_session(handle: str, *, operator: bool = False) -> bool:
    """End the session with a handle from :func:`active_sessions`, and return True. Return False without such a session.

    The session must belong to the current user. For another user's session, the function does nothing and returns
    False. With ``operator=True`` the session may belong to any user; the view must check that the current user may do
    that. For the session of this request, the function does the same as :func:`logout_user`. Raises RuntimeError if
    nobody is logged in, and the other errors of :func:`active_sessions`.
    """
    return _manager().revoke_session(handle, operator=operator)


def logout_everywhere(user: Any = None, *, keep_current: bool = False) -> int:
    """End all sessions and remember tokens of ``user``, by default the current user, and return the number of sessions.

    ``keep_current``: do not end the session of this request and its remember token. Otherwise, if ``user`` is logged in
    by the session of this request, the function also does the same as :func:`logout_user`.

    If ``user`` is given, the function needs only an application context, so a worker can call it. Raises RuntimeError
    if nobody is logged in and no user is given, and the other errors of :func:`active_sessions`.
    """
    return _manager().logout_everywhere(user, keep_current=keep_current)


def logout_everybody() -> int:
    """End the sessions and remember tokens of all users of every kind, and return the number of sessions.

    This function is for operators. It reads every entry of the store several times for each user kind, so it takes
    about as long as reading and writing every session. Logins that begin during the call stay valid. The function needs
    only an application context. Raises CloakroomError if the store cannot list its entries, and StoreError if the store
    is down.
    """
    _manager()  # raises RuntimeError if the application has none
    return sum(Devices(realm).end_everybody() for realm in realms_of(this_app()))


def delete_user_data(user: Any) -> bool:
    """Delete the user data of ``user``, a user object or a user id, and return True. Return False without user data.

    A request at the same time cannot restore the data: its changes are discarded, and the signal
    ``user_session_discarded`` is sent. The function needs only an application context. Raises CloakroomError if the
    sessions are not on the server, and StoreError if the store is down.
    """
    return _manager().delete_user_data(user)


def export_user_data(user: Any) -> str:
    """Return the user data of ``user``, a user object or a user id, as JSON text.

    :func:`.core.user_data.export.to_json` says how each type is written. Raises the errors of :func:`delete_user_data`.
    """
    return _manager().export_user_data(user)


def set_login_view(login_view: str | None, blueprint: Blueprint | None = None) -> None:
    """Set the login view of the application, or of one blueprint. With None, pages answer with a 401.

    As soon as a blueprint has a login view of its own, the application's login view is used only for pages outside of
    all blueprints. Then set a login view for each blueprint.
    """
    manager = _manager()
    views = manager.blueprint_login_views
    if blueprint is None and not views:
        manager.login_view = login_view
        return
    views[None if blueprint is None else blueprint.name] = login_view
    if manager.login_view is not None and None not in views:
        views[None] = manager.login_view
    manager.login_view = None
