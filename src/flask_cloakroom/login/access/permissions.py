"""Permissions: a function of the user decides. What roles there are is the application's business."""

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
    """Call the view only if the user is authenticated and ``predicate(user)``, which may be async, is true.

    Further parameters of ``predicate`` are given the parts of the URL that have their names. Else
    :meth:`LoginManager.unauthorized` or :meth:`LoginManager.forbidden` answers. Write it below ``@app.route``.

    Raises TypeError if ``predicate`` is no function; at the request, if it returns a function or a coroutine, or has a
    parameter without a default that the URL has no part for.
    """
    refuse = refuse_without_permission(predicate)
    return lambda view: guard(view, refuse)


def refuse_without_permission(predicate: Callable[..., Any]) -> Callable[[LoginState], Any]:
    """Return what refuses those whom ``predicate`` does not let in."""
    if not callable(predicate):
        raise TypeError(f"permission_required() takes a function of the user, not {type(predicate).__name__}")
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
    except ValueError:  # it is not written in Python
        return []
    # What functools.partial() gives is the application's to say, and not the visitor's.
    given = getattr(predicate, "keywords", {}) if isinstance(predicate, partial) else {}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [parameter.name for parameter in parameters[1:] if parameter.kind in named and parameter.name not in given]
