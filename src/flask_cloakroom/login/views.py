"""Decorators for views that are for those who are logged in."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from .actions import login_fresh
from .config import EXEMPT_METHODS
from .current import current_manager, get_user
from .flags import is_set
from .state import state_of, this_app, this_request

F = TypeVar("F", bound=Callable[..., Any])


def login_required(view: F) -> F:
    """Call the view only if the user is authenticated; else :meth:`LoginManager.unauthorized` answers.

    Write it below ``@app.route``. The view may be async. OPTIONS requests pass, because a CORS preflight request
    comes without cookies; with LOGIN_DISABLED all do.
    """
    return _guarded(view, fresh=False)


def fresh_login_required(view: F) -> F:
    """Call the view only if the user is authenticated, and freshly: for what a thief of a cookie must not do.

    Else :meth:`LoginManager.unauthorized` or :meth:`LoginManager.needs_refresh` answers.
    """
    return _guarded(view, fresh=True)


def _guarded(view: F, *, fresh: bool) -> F:
    is_async = inspect.iscoroutinefunction(view)

    @wraps(view)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        if not _is_exempt():
            if not is_set(get_user(), "is_authenticated"):
                return current_manager().unauthorized()
            if fresh and not login_fresh():
                return current_manager().needs_refresh()
        return (this_app().ensure_sync(view) if is_async else view)(*args, **kwargs)

    return decorated  # type: ignore[return-value]


def _is_exempt() -> bool:
    request = this_request()
    return request.method in EXEMPT_METHODS or state_of(request).settings.disabled
