"""``LoginManager``: the realm of an application's own users, connected to Flask, with the functions for views."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, overload

from flask import Blueprint, Flask, Request, Response

from ..hooks import HAS_HEADER_LOGIN, LOGIN_SECRETS
from ..sessions.outcome import add_response_part
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
    """The logins of an application's users: loaders, handlers, messages, and a method for each function of views.

    A manager lives as long as the process, and can serve several applications. Set its attributes before the first
    request. Loaders and handlers may be async, if Flask was installed with its extra ``async``.
    """

    def __init__(self, app: Flask | None = None, add_context_processor: bool = True) -> None:
        """Make a manager. With ``app``, also call :meth:`init_app`."""
        super().__init__()
        if app is not None:
            self.init_app(app, add_context_processor)

    def init_app(self, app: Flask, add_context_processor: bool = True) -> None:
        """Make this the manager of the application's own users, and set ``app.login_manager`` to it.

        With ``add_context_processor``, templates get ``current_user``.
        Raises :class:`~flask_cloakroom.SettingError` for a wrong setting.
        """
        settings_of(app)
        add_response_part(app, EXTENSION_KEY, self)  # in place of another manager
        app.extensions |= {EXTENSION_KEY: self, LOGIN_SECRETS: login_secrets, HAS_HEADER_LOGIN: has_header_login}
        app.login_manager = self  # type: ignore[attr-defined]
        if add_context_processor:
            app.context_processor(user_context)

    def finish_response(self, request: Request, response: Response) -> None:
        """Add the headers and cookies of the login to a response, if the request used its login."""
        state: LoginState | None = request.__dict__.get(self.state_name)
        if state is None:
            return
        if state.private and "Cache-Control" not in response.headers:
            # OWASP ASVS 5.0, 14.3.2. Without this header the browser's "back" button shows the page after a logout.
            response.headers["Cache-Control"] = "no-store"
        if state.clear_site_data and state.settings.clear_site_data:
            response.headers.setdefault("Clear-Site-Data", state.settings.clear_site_data)
        has_login = state.after_save or state.issued_tokens or state.logged_in_user is not None
        if has_login or state.remember_cookie is not None or state.settings.refresh_each_request:
            remember_cookies.send(state, response)

    def roll_back(self, request: Request) -> None:
        """Forget the login that this request made, because its session could not be saved."""
        state: LoginState | None = request.__dict__.get(self.state_name)
        if state is not None:
            state.roll_back()

    # -- responses to refused requests ------------------------------------------------------------------------

    def unauthorized(self) -> Any:
        """Return the response to an anonymous user: the handler's response, or a redirect to the login view.

        Raises a 401 if the application has neither.
        """
        return refusal.unauthorized(self)

    def needs_refresh(self) -> Any:
        """Return the response to a login that is not fresh: the handler's response, or a redirect to the refresh view.

        Raises a 401 if the application has neither.
        """
        return refusal.needs_refresh(self)

    def forbidden(self, reason: str = "the user has no permission") -> Any:
        """Return the handler's response to a logged-in user without permission.

        ``reason`` is for the log. Raises a 403 if the application has no handler.
        """
        return refusal.forbidden(self, reason)

    # -- functions for views ----------------------------------------------------------------------------------

    def login_user(
        self,
        user: Any,
        remember: bool = False,
        duration: timedelta | None = None,
        force: bool = False,
        fresh: bool = True,
    ) -> bool:
        """Log ``user`` in. See :func:`flask_cloakroom.login_user`."""
        return log_in(login_state(self), user, remember=remember, duration=duration, force=force, fresh=fresh)

    def logout_user(self) -> bool:
        """Log the user out. Users of other kinds stay logged in. See :func:`flask_cloakroom.logout_user`."""
        return log_out(login_state(self))

    def confirm_login(self) -> None:
        """Mark the login as fresh. See :func:`flask_cloakroom.confirm_login`."""
        confirm(login_state(self))

    def update_session_auth_hash(self, user: Any = None) -> None:
        """Let this login stay valid with a new password. See :func:`flask_cloakroom.update_session_auth_hash`."""
        update_auth_hash(login_state(self), user)

    def login_fresh(self, max_age: timedelta | float | None = None) -> bool:
        """Return whether the login is fresh. See :func:`flask_cloakroom.login_fresh`."""
        return is_fresh(login_state(self), checked_age(max_age))

    def login_remembered(self) -> bool:
        """Return whether a remember token will log the user in again. See :func:`flask_cloakroom.login_remembered`."""
        return is_remembered(login_state(self))

    def login_source(self) -> LoginSource | None:
        """Return how the request's user was found. See :func:`flask_cloakroom.login_source`."""
        return self._state_with_user().source

    def impersonate(self, user: Any) -> None:
        """Let the current user see the site as another user. See :func:`flask_cloakroom.impersonate`."""
        impersonation.start(self._state_with_user(), user)

    def stop_impersonating(self) -> bool:
        """End the impersonation. See :func:`flask_cloakroom.stop_impersonating`."""
        return impersonation.stop(self._state_with_user())

    def impersonator(self) -> Any:
        """Return the user who impersonates the current user, or None. See :func:`flask_cloakroom.impersonator`."""
        return self._state_with_user().impersonator

    def login_watch(self) -> LoginWatch:
        """Return an object that tells later if the login is still valid. See :func:`flask_cloakroom.login_watch`."""
        return LoginWatch(login_state(self))

    def _state_with_user(self) -> LoginState:
        state = login_state(self)
        user_of(state)
        return state

    # -- decorators -----------------------------------------------------------------------------------------

    def login_required(self, view: F) -> F:
        """Call the view only if the user is authenticated. See :func:`flask_cloakroom.login_required`."""
        return guard(view, refuse_anonymous, self)

    @overload
    def fresh_login_required(self, view: F) -> F: ...

    @overload
    def fresh_login_required(self, *, max_age: timedelta | float) -> Callable[[F], F]: ...

    def fresh_login_required(
        self, view: F | None = None, *, max_age: timedelta | float | None = None
    ) -> F | Callable[[F], F]:
        """Call the view only if the login is fresh. See :func:`flask_cloakroom.fresh_login_required`."""
        refuse = refuse_not_fresh(checked_age(max_age))
        return (lambda view: guard(view, refuse, self)) if view is None else guard(view, refuse, self)

    def permission_required(self, predicate: Callable[..., Any]) -> Callable[[F], F]:
        """Call the view only if ``predicate(user)`` is true. See :func:`flask_cloakroom.permission_required`."""
        refuse = refuse_without_permission(predicate)
        return lambda view: guard(view, refuse, self)

    def require_login(self, target: Flask | Blueprint) -> None:
        """Require a login of this manager's users in all views. See :func:`flask_cloakroom.require_login`."""
        require_login(target, self)

    # -- the sessions and data of a user ----------------------------------------------------------------------

    def active_sessions(self, user: Any = None) -> list[ActiveSession]:
        """Return the sessions in which a user is logged in. See :func:`flask_cloakroom.active_sessions`."""
        return Devices(self).sessions(user)

    def revoke_session(self, handle: str, *, operator: bool = False) -> bool:
        """End one session of a user of this kind. See :func:`flask_cloakroom.revoke_session`."""
        return Devices(self).revoke(handle, operator=operator)

    def logout_everywhere(self, user: Any = None, *, keep_current: bool = False) -> int:
        """End all sessions of a user of this kind. See :func:`flask_cloakroom.logout_everywhere`."""
        return Devices(self).end_all(user, keep_current=keep_current)

    def logout_everybody(self) -> int:
        """End the sessions and remember tokens of all users of this kind, and return the number of ended sessions."""
        return Devices(self).end_everybody()

    def delete_user_data(self, user: Any) -> bool:
        """Delete the user data of a user of this kind. See :func:`flask_cloakroom.delete_user_data`."""
        return delete_data(self, user)

    def export_user_data(self, user: Any) -> str:
        """Return the user data of a user of this kind, as JSON. See :func:`flask_cloakroom.export_user_data`."""
        return export_data(self, user)
