"""The objects behind Flask's proxies. No other module relies on how Flask stores them.

Flask's next version merges the request context into the application context. It warns if ``flask.globals.request_ctx``
is imported. So ``request_ctx`` is looked up among the module's own names, where only the present version has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flask import Flask, Request, current_app, globals, has_request_context, request, session
from flask.sessions import SessionMixin

# Each is the proxy's own function: a function around it would be called several times in every request.
#: Returns the application itself, not the proxy. Raises RuntimeError outside of an application context.
this_app: Final[Callable[[], Flask]] = current_app._get_current_object  # type: ignore[attr-defined]
#: Returns the request itself, not the proxy. Raises RuntimeError outside of a request.
this_request: Final[Callable[[], Request]] = request._get_current_object  # type: ignore[attr-defined]
#: Returns the request's session itself, not the proxy. Raises RuntimeError outside of a request.
this_session: Final[Callable[[], SessionMixin]] = session._get_current_object  # type: ignore[attr-defined]


def current_scope() -> Any:
    """Return the current request, or without one the current application context, or None without both."""
    if has_request_context():
        return this_request()
    context: Any = globals.app_ctx
    return context._get_current_object() if context else None


def clear_flash_cache() -> None:
    """Clear Flask's copy of this request's flash messages, so that the next page reads them from the session again."""
    context: Any = vars(globals).get("request_ctx", globals.app_ctx)._get_current_object()
    for name in ("flashes", "_flashes"):  # in the present version of Flask, and in the next one
        if hasattr(context, name):
            setattr(context, name, None)
