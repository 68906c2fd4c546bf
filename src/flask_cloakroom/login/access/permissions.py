"""``permission_required``: a function of the application decides whether the user may see a view."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from ..request.state import LoginState
from ..setup.callbacks import is_allowed
from .decorators import guard, refuse_anonymous

F = TypeVar("F", bound=Callable[..., Any])


def permission_required(predicate: Callable[..., Any]) -> Callable[[F], F]:
    """Call the view only if the user is authenticated and ``predicate(user)`` is true. ``predicate`` may be async.

    Other parameters of ``predicate`` get the URL variables of the same names. If the view is not called, the response
    is :meth:`LoginManager.unauthorized` for an anonymous user, and :meth:`LoginManager.forbidden` for a logged-in user.
    Write the decorator below ``@app.route``.

    Raises TypeError if ``predicate`` is no function. A request raises TypeError if ``predicate`` returns a function or
    coroutine, or has a required parameter for which the URL has no variable.
    """
    refuse = refuse_without_permission(predicate)
    return lambda view: guard(view, refuse)


def refuse_without_permission(predicate: Callable[..., Any]) -> Callable[[LoginState], Any]:
    """Return a function of a login state that returns a response if ``predicate`` refuses the user, otherwise None."""
    if not callable(predicate):
        raise TypeError(f"permission_required() takes a function (user) -> bool, not {type(predicate).__name__}")
    parts = _parts_of(predicate)

    def refuse(state: LoginState) -> Any:
        refused = refuse_anonymous(state)
        if refused is not None:
            return refused
        given = state.request.view_args or {}
        named = {name: given[name] for name in parts if name in given}
        return None if is_allowed(predicate, state.user, **named) else state.realm.forbidden()

    return refuse


def _parts_of(predicate: Callable[..., Any]) -> list[str]:
    try:
        parameters = list(inspect.signature(predicate).parameters.values())
    except ValueError:  # a builtin function without a signature
        return []
    # The application has set the arguments of functools.partial(). A URL variable must not replace such an argument.
    given = getattr(predicate, "keywords", {}) if isinstance(predicate, partial) else {}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [parameter.name for parameter in parameters[1:] if parameter.kind in named and parameter.name not in given]
