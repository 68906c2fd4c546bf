"""The objects behind Flask's proxies. No other module knows how Flask keeps them.

Flask's coming version merges the request context into the application context, and warns where
``flask.globals.request_ctx`` is imported. It is therefore looked up in the module's own names, where only the present
version has it.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, Request, current_app, globals, has_request_context, request, session
from flask.sessions import SessionMixin


def this_app() -> Flask:
    """Return the application itself and not a proxy for it. Raises RuntimeError outside of an application context."""
    found: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    return found


def this_request() -> Request:
    """Return the request itself and not a proxy for it. Raises RuntimeError outside of a request."""
    found: Request = request._get_current_object()  # type: ignore[attr-defined]
    return found


def this_session() -> SessionMixin:
    """Return the request's session itself and not a proxy for it. Raises RuntimeError outside of a request."""
    found: SessionMixin = session._get_current_object()  # type: ignore[attr-defined]
    return found


def scope_or_none() -> Any:
    """Return what lives as long as the present unit of work: the request, else the application context, else None."""
    if has_request_context():
        return this_request()
    context: Any = globals.app_ctx
    return context._get_current_object() if context else None


def forget_flashes() -> None:
    """Forget which flash messages this request has taken from its session, so that its next page asks again."""
    context: Any = vars(globals).get("request_ctx", globals.app_ctx)._get_current_object()
    for name in ("flashes", "_flashes"):  # the present version's name, and the coming one's
        if hasattr(context, name):
            setattr(context, name, None)
