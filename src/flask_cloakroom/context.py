"""The objects behind Flask's proxies. No other module depends on the place where Flask stores these objects.

Flask's next version has no separate request context, and warns if a program imports ``flask.globals.request_ctx``. So
this module looks for the name ``request_ctx`` in ``vars(flask.globals)``. Only the present version has the name there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flask import Flask, Request, current_app, globals, has_request_context, request, session
from flask.sessions import SessionMixin

# Each name is the proxy's own method. A function around the method would cost a second call, several times a request.
#: Returns the current application itself, not the proxy. Raises RuntimeError outside of an application context.
this_app: Final[Callable[[], Flask]] = current_app._get_current_object  # type: ignore[attr-defined]
#: Returns the current request itself, not the proxy. Raises RuntimeError outside of a request.
this_request: Final[Callable[[], Request]] = request._get_current_object  # type: ignore[attr-defined]
#: Returns the session of the current request, not the proxy. Raises RuntimeError outside of a request.
this_session: Final[Callable[[], SessionMixin]] = session._get_current_object  # type: ignore[attr-defined]


def peek_at_session() -> Any:
    """Return the session of the current request. Unlike :func:`this_session`, this does not count as a use.

    After a use, Flask's own session interface adds ``Vary: Cookie`` to the response.
    """
    context: Any = vars(globals).get("request_ctx", globals.app_ctx)._get_current_object()
    name = "_session" if "_session" in vars(context) else "session"  # Flask 3.1.2 has only the second
    return getattr(context, name)


def current_scope() -> Any:
    """Return the current request; outside of a request, the application context; outside of both, None."""
    if has_request_context():
        return this_request()
    context: Any = globals.app_ctx
    return context._get_current_object() if context else None


def clear_flash_cache() -> None:
    """Clear Flask's copy of this request's flash messages, so that the next page reads the session's messages."""
    context: Any = vars(globals).get("request_ctx", globals.app_ctx)._get_current_object()
    for name in ("flashes", "_flashes"):  # the names in Flask's present and next version
        if hasattr(context, name):
            setattr(context, name, None)
