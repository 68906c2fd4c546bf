"""Responses to users who may not see a page: the handler's response, a redirect to a login view, a 401 or a 403."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from flask import Flask, Request, abort, flash, redirect, request, session

from ... import signals
from ...context import this_app, this_request
from ...core.values.own_keys import FLASHES
from ...redirects import safe_path
from ..request.state import LoginState
from ..setup.callbacks import call
from ..setup.realm import Realm
from .login_url import expand_login_view, login_url, make_next_param

log = logging.getLogger("flask_cloakroom.login")


def unauthorized(realm: Realm) -> Any:
    """Return the response to an anonymous user: the handler's response, or a redirect to the login view.

    Raises a 401 if the realm has neither.
    """
    app = this_app()
    _log_refusal(realm, "nobody is logged in")
    signals.user_unauthorized.send(app)
    if realm.unauthorized_callback is not None:
        return _response_of(realm.unauthorized_callback)
    views = realm.blueprint_login_views
    found = (views[name] for name in (*request.blueprints, None) if name in views)
    return _redirect_to(app, realm, next(found, realm.login_view), realm.login_message, realm.login_message_category)


def needs_refresh(realm: Realm) -> Any:
    """Return the response to a login that is not fresh: the handler's response, or a redirect to the refresh view.

    Raises a 401 if the realm has neither.
    """
    app = this_app()
    _log_refusal(realm, "the login is not fresh")
    signals.user_needs_refresh.send(app)
    if realm.needs_refresh_callback is not None:
        return _response_of(realm.needs_refresh_callback)
    return _redirect_to(
        app, realm, realm.refresh_view, realm.needs_refresh_message, realm.needs_refresh_message_category
    )


def forbidden(realm: Realm, reason: str) -> Any:
    """Return the handler's response to a logged-in user without permission. ``reason`` is for the log.

    Raises a 403 if the realm has no handler.
    """
    _log_refusal(realm, reason)
    if realm.forbidden_callback is not None:
        return _response_of(realm.forbidden_callback)
    abort(403)
    return None


def _log_refusal(realm: Realm, reason: str) -> None:
    state: LoginState | None = this_request().__dict__.get(realm.state_name)
    # The log names the session only if it was opened already: opening it would cost a store command.
    by_session = state is not None and state.is_loaded and not state.ignores_session
    named = state.login.log_name if state is not None and by_session else "no session"
    log.info("%s: %s was refused: %s", named, request.endpoint, reason)


def _redirect_to(app: Flask, realm: Realm, view: str | None, message: Any, category: str) -> Any:
    if not view:
        abort(401)
    if message:
        _flash_once(message if realm.localize_callback is None else realm.localize_callback(message), category)
    if not _answers_get(request):
        # After the login the browser sends a GET, and this URL answers a GET with 405. So the visitor returns to the
        # page with the form.
        return redirect(login_url(view, next_url=_previous_page(request)))
    next_url = make_next_param(expand_login_view(view), request.url)
    if next_url.startswith("/") and safe_path(next_url, "") is None:
        return redirect(login_url(view))  # login views refuse such a path as unsafe
    if realm.settings_for(app).next_in_session:
        session["next"] = next_url
        return redirect(login_url(view))
    return redirect(login_url(view, next_url=request.url))


def _response_of(handler: Callable[[], Any]) -> Any:
    """Return a handler's response. Raises TypeError for None, with which Flask would run the refused view."""
    answer = call(handler)
    if answer is None:
        raise TypeError(f"{getattr(handler, '__name__', 'the handler')}() returned None. It must return a response")
    return answer


def _flash_once(message: Any, category: str) -> None:
    """Flash a message, unless it waits in the session already. A page that polls all night would fill the session."""
    flashes = session.get(FLASHES)
    new = [str(category), str(message)]
    waiting = flashes if isinstance(flashes, list) else []
    if not any(isinstance(one, tuple | list) and [str(part) for part in one] == new for one in waiting):
        flash(message, category=category)


def _answers_get(request: Request) -> bool:
    """Return whether the URL of a request answers GET, so that a redirect can lead to it."""
    rule = request.url_rule
    return rule is None or rule.methods is None or "GET" in rule.methods


def _previous_page(request: Request) -> str | None:
    """Return the path of the page of this site that sent the request, from its Referer header, or None if unknown."""
    return safe_path(request.referrer, request.host) if request.referrer else None
