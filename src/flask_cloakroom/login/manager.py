"""``LoginManager``: an application's own realm, wired to Flask, and what views do with its logins."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, overload

from flask import Blueprint, Flask, Response

from ..context import this_request
from ..hooks import LOGIN_SECRETS, SHOWN_BY_HEADER
from .access import refusal
from .access.decorators import checked_age, guard, refuse_anonymous, refuse_not_fresh
from .access.login_by_default import require_login
from .access.permissions import refuse_without_permission
from .compat.deprecated import DeprecatedNames
from .devices.active_sessions import ActiveSession, Devices
from .devices.login_watch import LoginWatch
from .lifecycle import confirm, is_fresh, is_remembered, log_in, log_out, update_auth_hash
from .request import impersonation, remember_cookies
from .request.csrf_hooks import has_header_login, login_secrets
from .request.current_user import user_context, user_of
from .request.state import LoginSource, LoginState, login_state
from .setup.realm import EXTENSION_KEY
from .setup.settings import settings_of
from .user_session.administration import delete_data, export_data

F = TypeVar("F", bound=Callable[..., Any])


class LoginManager(DeprecatedNames):
    """Lives as long as the process; one serves any number of applications. Its attributes are set before they run.

    Loaders and handlers may be async, if Flask was installed with its extra ``async``. The methods for views do what
    the functions of their names do, which find the present application's manager by themselves.
    """

    def __init__(self, app: Flask | None = None, add_context_processor: bool = True) -> None:
        """With ``app``, do :meth:`init_app` at once."""
        super().__init__()
        if app is not None:
            self.init_app(app, add_context_processor)

    def init_app(self, app: Flask, add_context_processor: bool = True) -> None:
        """Make this the application's manager, ``app.login_manager``; with ``current_user`` in its templates.

        Raises :class:`~flask_cloakroom.SettingError` for a wrong setting.
        """
        settings_of(app)
        if EXTENSION_KEY not in app.extensions:
            # Whichever manager the application has by then.
            app.after_request(lambda response: app.extensions[EXTENSION_KEY].finish_response(response))
        app.extensions |= {EXTENSION_KEY: self, LOGIN_SECRETS: login_secrets, SHOWN_BY_HEADER: has_header_login}
        app.login_manager = self  # type: ignore[attr-defined]
        if add_context_processor:
            app.context_processor(user_context)

    def finish_response(self, response: Response) -> Response:
        """Add the headers of the login to the response of a request that asked for its user."""
        request = this_request()
        request.__dict__[self.finished_name] = True
        state: LoginState | None = request.__dict__.get(self.state_name)
        if state is not None:
            if state.private and "Cache-Control" not in response.headers:
                # OWASP ASVS 5.0, 14.3.2: what a browser keeps, its next user finds after the logout.
                response.headers["Cache-Control"] = "no-store"
            if state.clear_site_data and state.settings.clear_site_data:
                response.headers.setdefault("Clear-Site-Data", state.settings.clear_site_data)
            if state.remember_cookie is not None or state.settings.refresh_each_request:
                remember_cookies.send(state, response)
        return response

    # -- the answers to refused requests ---------------------------------------------------------------------

    def unauthorized(self) -> Any:
        """Return the response for those who are not logged in: the handler's, or a redirect to the login view.

        Raises a 401 if there is neither.
        """
        return refusal.unauthorized(self)

    def needs_refresh(self) -> Any:
        """Return the response for those whose login is not fresh: the handler's, or a redirect to the refresh view.

        Raises a 401 if there is neither.
        """
        return refusal.needs_refresh(self)

    def forbidden(self, reason: str = "the user has no permission") -> Any:
        """Return the response for those who are logged in and must not see the page: the handler's.

        Raises a 403 if there is none. ``reason`` is for the log.
        """
        return refusal.forbidden(self, reason)

    # -- what views do --------------------------------------------------------------------------------------

    def login_user(
        self,
        user: Any,
        remember: bool = False,
        duration: timedelta | None = None,
        force: bool = False,
        fresh: bool = True,
    ) -> bool:
        """Log ``user`` in: :func:`flask_cloakroom.login_user`."""
        return log_in(login_state(self), user, remember=remember, duration=duration, force=force, fresh=fresh)

    def logout_user(self) -> bool:
        """Log the user out: :func:`flask_cloakroom.logout_user`. Users of other kinds stay logged in."""
        return log_out(login_state(self))

    def confirm_login(self) -> None:
        """Mark the login as fresh: :func:`flask_cloakroom.confirm_login`."""
        confirm(login_state(self))

    def update_session_auth_hash(self, user: Any = None) -> None:
        """Let this login outlive a new password: :func:`flask_cloakroom.update_session_auth_hash`."""
        update_auth_hash(login_state(self), user)

    def login_fresh(self, max_age: timedelta | float | None = None) -> bool:
        """Tell whether the user has shown who they are in this session: :func:`flask_cloakroom.login_fresh`."""
        return is_fresh(login_state(self), checked_age(max_age))

    def login_remembered(self) -> bool:
        """Tell whether the login will outlive the session: :func:`flask_cloakroom.login_remembered`."""
        return is_remembered(login_state(self))

    def login_source(self) -> LoginSource | None:
        """Tell by what the request's user was found: :func:`flask_cloakroom.login_source`."""
        return self._state_with_user().source

    def impersonate(self, user: Any) -> None:
        """Let the current user see the site as another of this kind: :func:`flask_cloakroom.impersonate`."""
        impersonation.start(self._state_with_user(), user)

    def stop_impersonating(self) -> bool:
        """Be the impersonator again: :func:`flask_cloakroom.stop_impersonating`."""
        return impersonation.stop(self._state_with_user())

    def impersonator(self) -> Any:
        """Return the user who is really logged in, or None: :func:`flask_cloakroom.impersonator`."""
        return self._state_with_user().impersonator

    def login_watch(self) -> LoginWatch:
        """Return what tells later whether the login is still good: :func:`flask_cloakroom.login_watch`."""
        return LoginWatch(login_state(self))

    def _state_with_user(self) -> LoginState:
        state = login_state(self)
        user_of(state)
        return state

    # -- decorators -----------------------------------------------------------------------------------------

    def login_required(self, view: F) -> F:
        """Call the view only if the user is authenticated: :func:`flask_cloakroom.login_required`."""
        return guard(view, refuse_anonymous, self)

    @overload
    def fresh_login_required(self, view: F) -> F: ...

    @overload
    def fresh_login_required(self, *, max_age: timedelta | float) -> Callable[[F], F]: ...

    def fresh_login_required(
        self, view: F | None = None, *, max_age: timedelta | float | None = None
    ) -> F | Callable[[F], F]:
        """Call the view only if the user is freshly authenticated: :func:`flask_cloakroom.fresh_login_required`."""
        refuse = refuse_not_fresh(checked_age(max_age))
        return (lambda view: guard(view, refuse, self)) if view is None else guard(view, refuse, self)

    def permission_required(self, predicate: Callable[..., Any]) -> Callable[[F], F]:
        """Call the view only if ``predicate(user)`` is true: :func:`flask_cloakroom.permission_required`."""
        refuse = refuse_without_permission(predicate)
        return lambda view: guard(view, refuse, self)

    def require_login(self, target: Flask | Blueprint) -> None:
        """Let nobody into this application's or blueprint's views but users of this manager's: see the function."""
        require_login(target, self)

    # -- the sessions of a user -------------------------------------------------------------------------------

    def active_sessions(self, user: Any = None) -> list[ActiveSession]:
        """Return the sessions in which a user is logged in: :func:`flask_cloakroom.active_sessions`."""
        return Devices(self).sessions(user)

    def revoke_session(self, handle: str, *, operator: bool = False) -> bool:
        """End one session of a user of this kind: :func:`flask_cloakroom.revoke_session`."""
        return Devices(self).revoke(handle, operator=operator)

    def logout_everywhere(self, user: Any = None, *, keep_current: bool = False) -> int:
        """End all sessions of a user of this kind: :func:`flask_cloakroom.logout_everywhere`."""
        return Devices(self).end_all(user, keep_current=keep_current)

    def logout_everybody(self) -> int:
        """End the sessions of all users of this kind, and what remembers them; return how many sessions ended."""
        return Devices(self).end_everybody()

    def delete_user_data(self, user: Any) -> bool:
        """Delete all that is in ``user_session`` of a user of this kind: :func:`flask_cloakroom.delete_user_data`."""
        return delete_data(self, user)

    def export_user_data(self, user: Any) -> str:
        """Return all that is in ``user_session`` of a user of this kind: :func:`flask_cloakroom.export_user_data`."""
        return export_data(self, user)
