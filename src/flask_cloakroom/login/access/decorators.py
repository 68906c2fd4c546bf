"""Decorators for views that are for those who are logged in."""

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

#: HTTP methods for which nobody has to be logged in: a CORS preflight request comes without cookies.
EXEMPT_METHODS = {"OPTIONS"}


def login_required(view: F) -> F:
    """Call the view only if the user is authenticated; else :meth:`LoginManager.unauthorized` answers.

    Write it below ``@app.route``. The view may be async. OPTIONS requests pass, because a CORS preflight request
    comes without cookies; with LOGIN_DISABLED all do.
    """
    return guard(view, refuse_anonymous)


@overload
def fresh_login_required(view: F) -> F: ...


@overload
def fresh_login_required(*, max_age: timedelta | float) -> Callable[[F], F]: ...


def fresh_login_required(view: F | None = None, *, max_age: timedelta | float | None = None) -> F | Callable[[F], F]:
    """Call the view only if the user is authenticated, and freshly: for what a thief of a cookie must not do.

    With ``max_age``, a time or seconds, only if they showed who they are no longer ago than that; the field calls
    that sudo. Else :meth:`LoginManager.unauthorized` or :meth:`LoginManager.needs_refresh` answers.

    Raises ValueError for an age that is not above zero.
    """
    refuse = refuse_not_fresh(checked_age(max_age))
    return (lambda view: guard(view, refuse)) if view is None else guard(view, refuse)


def refuse_not_fresh(seconds: float | None) -> Callable[[LoginState], Any]:
    """Return what refuses those who are not freshly logged in, within the last so many seconds if it is a number."""

    def refuse(state: LoginState) -> Any:
        refused = refuse_anonymous(state)
        if refused is not None or is_fresh(state, seconds):
            return refused
        if state.impersonator is not None:  # a refresh view could not make it fresh
            return state.realm.forbidden("it impersonates somebody")
        return state.realm.needs_refresh()

    return refuse


def checked_age(max_age: timedelta | float | None) -> float | None:
    """Return it in seconds. Raises ValueError for an age that is not above zero."""
    if max_age is None:
        return None
    seconds = max_age.total_seconds() if isinstance(max_age, timedelta) else max_age
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise ValueError(f"max_age must be a timedelta or a number of seconds above 0, not {max_age!r}")
    return seconds


def refuse_anonymous(state: LoginState) -> Any:
    """Return the response for those who are not logged in; None for those who are.

    Raises the 401 of an authenticator that refused the request's credential.
    """
    if is_set(user_of(state), "is_authenticated"):
        return None
    if state.refusal is not None:
        raise state.refusal
    return state.realm.unauthorized()


def needs_no_login(state: LoginState) -> bool:
    """Tell whether nobody has to be logged in for this request."""
    return state.request.method in EXEMPT_METHODS or state.settings.disabled


def guard(view: F, refuse: Callable[[LoginState], Any], realm: Realm | None = None) -> F:
    """Return ``view`` behind ``refuse``, which returns the response for those whom it does not let in, else None.

    ``realm``: the realm whose users it asks about; None for the application's own users.
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
