"""What views do with logins, for the present application's own users: methods of its manager, as functions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Blueprint

from ..context import this_app
from .devices.active_sessions import ActiveSession, Activity
from .devices.login_watch import LoginWatch
from .manager import current_manager
from .request.state import LoginSource
from .setup.realm import realms_of


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
    return current_manager().login_user(user, remember, duration, force, fresh)


def logout_user() -> bool:
    """Log the user out: end the session in the store, and forget this browser. Returns True.

    What is put into the session afterwards, as a flash message, begins a new one. Over Flask's own cookie session the
    login's keys are removed, and all else stays. Raises SessionUnavailable (503) if the store is down: then nobody
    was logged out.
    """
    return current_manager().logout_user()


def confirm_login() -> None:
    """Mark the login as fresh, after the user has shown again who they are; the session gets a new id.

    Nothing happens if the session has no login: there is nothing to confirm.
    """
    current_manager().confirm_login()


def update_session_auth_hash(user: Any = None) -> None:
    """Let this login go on although ``session_auth_hash()`` of its user has changed, as with a new password.

    All other logins of the user end, and what remembers them; this session gets a new id, and the browser a new
    remember token if it had one. The login becomes no fresher by it. ``user``: as they are now; else the current user.

    Raises ValueError if that is not who is logged in by this session.
    """
    current_manager().update_session_auth_hash(user)


def login_fresh(max_age: timedelta | float | None = None) -> bool:
    """Tell whether the user has shown who they are in this session, and was not just remembered.

    ``max_age``: within the last so many seconds. Raises ValueError for an age that is not above zero.
    """
    return current_manager().login_fresh(max_age)


def login_remembered() -> bool:
    """Tell whether the login will outlive the session: the browser has a good remember token of the user's."""
    return current_manager().login_remembered()


def login_source() -> LoginSource | None:
    """Tell by what the request's user was found; None if nobody is logged in.

    "session"; "remember", in the request that the cookie of an earlier login began this one in; "header", by an
    authenticator; "browser", by an authenticator and a credential that browsers send by themselves, as they do
    cookies; "request_loader". When a request needs no protection against forgery stands in docs/csrf.md: an
    authenticator may go by what is no header.
    """
    return current_manager().login_source()


def impersonate(user: Any) -> None:
    """Let the current user see the site as ``user`` from here on; the session gets a new id. For support.

    ``@login_manager.impersonation_allowed`` must say that they may, now and at every request to come. The session stays
    that of the current user: what ends their login ends this. It is never fresh meanwhile. Ended by
    :func:`stop_impersonating`, by a login, and by a logout.

    Raises a 403 if it is not allowed, or ``user`` is not active; ValueError for the same user; RuntimeError if nobody
    is logged in by this session, it impersonates somebody already, or nothing was registered that could allow it.
    """
    current_manager().impersonate(user)


def stop_impersonating() -> bool:
    """Be the impersonator again, in a session with a new id. False: nobody was impersonated, and nothing happened."""
    return current_manager().stop_impersonating()


def impersonator() -> Any:
    """Return the user who is really logged in, if they impersonate the current one; else None."""
    return current_manager().impersonator()


def login_watch() -> LoginWatch:
    """Return what tells, as often as it is asked and also when the request is over, whether its login is still good.

    Takes the login as it is now; what the request put into the session so far is saved at once. Raises RuntimeError if
    nobody is logged in or there is no user_loader, and what saving raises.
    """
    return current_manager().login_watch()


def active_sessions(user: Any = None) -> list[ActiveSession]:
    """Return the sessions in which ``user`` (else the current user) is logged in, those used last first.

    A device whose session is over and that is remembered is among them, because it needs no password to be back.

    Raises RuntimeError if nobody is logged in and no user is given, CloakroomError if the sessions are not on the
    server or their store cannot tell whose they are, StoreError.
    """
    return current_manager().active_sessions(user)


def revoke_session(handle: str, *, operator: bool = False) -> bool:
    """End the session that :func:`active_sessions` gave this handle. Its next request is nobody's.

    Only one of the current user's; with ``operator=True`` anybody's, which the view has to allow. False: there is no
    such session, or it is not theirs, which is answered alike. The current one may be ended too; then this is
    :func:`logout_user`. Raises RuntimeError if nobody is logged in, CloakroomError and StoreError as above.
    """
    return current_manager().revoke_session(handle, operator=operator)


def logout_everywhere(user: Any = None, *, keep_current: bool = False) -> int:
    """End all sessions of ``user``, else of the current user; return how many ended.

    ``keep_current``: but for that of this request, and what remembers it. Else, if it is one of them, this is
    :func:`logout_user` as well. Remember tokens end with the sessions.

    Given a user, it needs no request but only the application's context, as in a worker. Raises RuntimeError if
    nobody is logged in and no user is given, CloakroomError and StoreError as above.
    """
    return current_manager().logout_everywhere(user, keep_current=keep_current)


def logout_everybody() -> int:
    """For operators: end the sessions of all who are logged in, of every kind of user, and what remembers them.

    Returns how many sessions ended. The store is walked over some times for each kind.

    It takes about as long as reading and writing every session does. Logins that are made meanwhile stay. Needs no
    request but only the application's context. Raises CloakroomError if the store cannot be walked over, StoreError.
    """
    current_manager()  # an application without one has nobody to log out, and should hear of it
    return sum(Activity(realm).end_everybody() for realm in realms_of(this_app()))


def delete_user_data(user: Any) -> bool:
    """Delete all that is in ``user_session`` of this user, given as an object or by their id. False: there was nothing.

    A request that is under way does not bring it back: what it changes is dropped, and ``user_session_discarded`` tells
    so. Needs no request but only the application's context. Raises CloakroomError if sessions are not on the server,
    StoreError.
    """
    return current_manager().delete_user_data(user)


def export_user_data(user: Any) -> str:
    """Return all that is in ``user_session`` of this user, given as an object or by their id, as JSON.

    Every type is readable: :func:`.core.user_data.export.to_json` says how. Raises as :func:`delete_user_data`.
    """
    return current_manager().export_user_data(user)


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
