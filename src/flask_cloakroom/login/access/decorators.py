"""Decorators for views that need a login: ``login_required`` and ``fresh_login_required``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, TypeVar, overload

from ...context import this_app
from ..lifecycle import is_fresh
from ..request.current_user import user_of
from ..request.state import LoginState, login_state
from ..setup.realm import Realm
from ..setup.users import is_set

F = TypeVar("F", bound=Callable[..., Any])

#: Requests with these HTTP methods need no login: a browser sends a CORS preflight request without cookies.
EXEMPT_METHODS = {"OPTIONS"}


def login_required(view: F) -> F:
    """Call the view only if the user is authenticated; otherwise return :meth:`LoginManager.unauthorized`.

    Write the decorator below ``@app.route``. The view may be async. OPTIONS requests need no login, because browsers
    send CORS preflight requests without cookies. With LOGIN_DISABLED no request needs a login.
    """
    return guard(view, refuse_anonymous)


@overload
def fresh_login_required(view: F) -> F: ...


@overload
def fresh_login_required(*, max_age: timedelta | float) -> Callable[[F], F]: ...


def fresh_login_required(view: F | None = None, *, max_age: timedelta | float | None = None) -> F | Callable[[F], F]:
    """Call the view only if the login is fresh. Use it for views that a thief of a cookie must not reach.

    A login is fresh if it was made with a password in this session, and not by a remember token. ``max_age``: a
    timedelta or a number of seconds; a login with a password longer ago does not count as fresh. If the view is not
    called, the response is :meth:`LoginManager.unauthorized` for an anonymous user, and
    :meth:`LoginManager.needs_refresh` for a logged-in user. Raises ValueError for a ``max_age`` of zero or less.
    """
    refuse = refuse_not_fresh(checked_age(max_age))
    return (lambda view: guard(view, refuse)) if view is None else guard(view, refuse)


def refuse_not_fresh(seconds: float | None) -> Callable[[LoginState], Any]:
    """Return a function that takes a login state. It returns None if the login is fresh, otherwise the response.

    ``seconds``: the greatest time since the login became fresh. None allows any time.
    """

    def refuse(state: LoginState) -> Any:
        refused = refuse_anonymous(state)
        if refused is not None or is_fresh(state, seconds):
            return refused
        if state.impersonator is not None:  # a refresh view cannot make this login fresh
            return state.realm.forbidden("the session impersonates a user")
        return state.realm.needs_refresh()

    return refuse


def checked_age(max_age: timedelta | float | None) -> float | None:
    """Return ``max_age`` in seconds, or None if it is None. Raises ValueError if it is zero or less."""
    if max_age is None:
        return None
    seconds = max_age.total_seconds() if isinstance(max_age, timedelta) else max_age
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise ValueError(f"max_age must be a timedelta or a number of seconds above 0, not {max_age!r}")
    return seconds


def refuse_anonymous(state: LoginState) -> Any:
    """Return the response to an anonymous user, or None if the user is logged in.

    Raises the 401 of an authenticator that refused the request's credential.
    """
    if is_set(user_of(state), "is_authenticated"):
        return None
    if state.refusal is not None:
        raise state.refusal
    return state.realm.unauthorized()


def needs_no_login(state: LoginState) -> bool:
    """Return whether the request needs no login: its method is OPTIONS, or LOGIN_DISABLED is on."""
    return state.request.method in EXEMPT_METHODS or state.settings.disabled


def guard(view: F, refuse: Callable[[LoginState], Any], realm: Realm | None = None) -> F:
    """Return a view that runs ``view`` only if ``refuse`` returns None; otherwise it returns the value of ``refuse``.

    ``realm``: the realm whose login is checked, or None for the application's own users.
    """
    is_async = inspect.iscoroutinefunction(view)

    @wraps(view)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        state = login_state(realm)
        refused = None if needs_no_login(state) else refuse(state)
        if refused is not None:
            return refused
        return (this_app().ensure_sync(view) if is_async else view)(*args, **kwargs)

    return decorated  # type: ignore[return-value]
