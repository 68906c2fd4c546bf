"""``LoginManager``: an application's own realm, wired to Flask, and what views do with its logins."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, cast, overload

from flask import Blueprint, Flask, Response

from ..context import this_app, this_request
from ..hooks import HAS_HEADER_LOGIN, LOGIN_SECRETS
from .access import refusal
from .access.decorators import checked_age, guarded, refuse_stale, refuse_strangers
from .access.login_by_default import require_login
from .access.permissions import without_permission
from .compat.deprecated import DeprecatedNames
from .devices.active_sessions import ActiveSession, Activity
from .devices.login_watch import LoginWatch
from .lifecycle import confirm, is_fresh, is_remembered, log_in, log_out, update_auth_hash
from .request import impersonation
from .request.csrf_hooks import is_shown_by_header, login_secrets
from .request.current import user_context
from .request.loading import user_of
from .request.response import finish
from .request.state import LoginSource, LoginState, state_of_realm
from .setup.realm import EXTENSION_KEY, realm_of
from .setup.settings import settings_of
from .user_session.administration import delete_of, export_of

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
        app.extensions |= {EXTENSION_KEY: self, LOGIN_SECRETS: login_secrets, HAS_HEADER_LOGIN: is_shown_by_header}
        app.login_manager = self  # type: ignore[attr-defined]
        if add_context_processor:
            app.context_processor(user_context)

    def finish_response(self, response: Response) -> Response:
        """Finish the response of a request that asked for its user. One that did not is left as it is."""
        request = this_request()
        request.__dict__[self.finished_name] = True
        state: LoginState | None = request.__dict__.get(self.state_name)
        if state is not None:
            finish(state, response)
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
        return log_in(state_of_realm(self), user, remember=remember, duration=duration, force=force, fresh=fresh)

    def logout_user(self) -> bool:
        """Log the user out: :func:`flask_cloakroom.logout_user`. Users of other kinds stay logged in."""
        return log_out(state_of_realm(self))

    def confirm_login(self) -> None:
        """Mark the login as fresh: :func:`flask_cloakroom.confirm_login`."""
        confirm(state_of_realm(self))

    def update_session_auth_hash(self, user: Any = None) -> None:
        """Let this login outlive a new password: :func:`flask_cloakroom.update_session_auth_hash`."""
        update_auth_hash(state_of_realm(self), user)

    def login_fresh(self, max_age: timedelta | float | None = None) -> bool:
        """Tell whether the user has shown who they are in this session: :func:`flask_cloakroom.login_fresh`."""
        return is_fresh(state_of_realm(self), checked_age(max_age))

    def login_remembered(self) -> bool:
        """Tell whether the login will outlive the session: :func:`flask_cloakroom.login_remembered`."""
        return is_remembered(state_of_realm(self))

    def login_source(self) -> LoginSource | None:
        """Tell by what the request's user was found: :func:`flask_cloakroom.login_source`."""
        return self._loaded().source

    def impersonate(self, user: Any) -> None:
        """Let the current user see the site as another of this kind: :func:`flask_cloakroom.impersonate`."""
        impersonation.start(self._loaded(), user)

    def stop_impersonating(self) -> bool:
        """Be the impersonator again: :func:`flask_cloakroom.stop_impersonating`."""
        return impersonation.stop(self._loaded())

    def impersonator(self) -> Any:
        """Return the user who is really logged in, or None: :func:`flask_cloakroom.impersonator`."""
        return self._loaded().impersonator

    def login_watch(self) -> LoginWatch:
        """Return what tells later whether the login is still good: :func:`flask_cloakroom.login_watch`."""
        return LoginWatch(state_of_realm(self))

    def _loaded(self) -> LoginState:
        state = state_of_realm(self)
        user_of(state)
        return state

    # -- decorators -----------------------------------------------------------------------------------------

    def login_required(self, view: F) -> F:
        """Call the view only if the user is authenticated: :func:`flask_cloakroom.login_required`."""
        return guarded(view, refuse_strangers, self._state)

    @overload
    def fresh_login_required(self, view: F) -> F: ...

    @overload
    def fresh_login_required(self, *, max_age: timedelta | float) -> Callable[[F], F]: ...

    def fresh_login_required(
        self, view: F | None = None, *, max_age: timedelta | float | None = None
    ) -> F | Callable[[F], F]:
        """Call the view only if the user is freshly authenticated: :func:`flask_cloakroom.fresh_login_required`."""
        refuse = refuse_stale(checked_age(max_age))
        return (lambda view: guarded(view, refuse, self._state)) if view is None else guarded(view, refuse, self._state)

    def permission_required(self, predicate: Callable[..., Any]) -> Callable[[F], F]:
        """Call the view only if ``predicate(user)`` is true: :func:`flask_cloakroom.permission_required`."""
        refuse = without_permission(predicate)
        return lambda view: guarded(view, refuse, self._state)

    def require_login(self, target: Flask | Blueprint) -> None:
        """Let nobody into this application's or blueprint's views but users of this manager's: see the function."""
        require_login(target, self)

    def _state(self) -> LoginState:
        return state_of_realm(self)

    # -- the sessions of a user -------------------------------------------------------------------------------

    def active_sessions(self, user: Any = None) -> list[ActiveSession]:
        """Return the sessions in which a user is logged in: :func:`flask_cloakroom.active_sessions`."""
        return Activity(self).sessions(user)

    def revoke_session(self, handle: str, *, operator: bool = False) -> bool:
        """End one session of a user of this kind: :func:`flask_cloakroom.revoke_session`."""
        return Activity(self).revoke(handle, operator=operator)

    def logout_everywhere(self, user: Any = None, *, keep_current: bool = False) -> int:
        """End all sessions of a user of this kind: :func:`flask_cloakroom.logout_everywhere`."""
        return Activity(self).end_all(user, keep_current=keep_current)

    def logout_everybody(self) -> int:
        """End the sessions of all users of this kind, and what remembers them; return how many sessions ended."""
        return Activity(self).end_everybody()

    def delete_user_data(self, user: Any) -> bool:
        """Delete all that is in ``user_session`` of a user of this kind: :func:`flask_cloakroom.delete_user_data`."""
        return delete_of(self, user)

    def export_user_data(self, user: Any) -> str:
        """Return all that is in ``user_session`` of a user of this kind: :func:`flask_cloakroom.export_user_data`."""
        return export_of(self, user)


def current_manager() -> LoginManager:
    """Return the present application's manager. Raises RuntimeError if it has none."""
    # Only managers are ever set up: :class:`Realm` is what the modules below know of them.
    return cast(LoginManager, realm_of(this_app()))
