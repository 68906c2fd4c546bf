"""``require_login``: all views of an application or a blueprint need a login, except those marked as public."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote, urlsplit

from flask import Blueprint, Flask, Request
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import HTTPException

from ...context import this_app, this_request
from ..request.state import login_state
from ..setup.realm import Realm, realms_of
from .decorators import needs_no_login, refuse_anonymous
from .public import is_public, wrapped_functions

#: The key in ``app.extensions`` of the application's :class:`_Requirements`.
_KEY: Final = "flask_cloakroom.login.access.login_by_default"


def require_login(target: Flask | Blueprint, manager: Realm | None = None) -> None:
    """Require a login for all views of an application or blueprint, except those marked as :func:`public`.

    Views that are added later, and blueprints inside ``target``, need a login too. If a blueprint and the application
    require logins of different user kinds, a view of the blueprint needs only a login of the blueprint's kind. Static
    files, login views and OPTIONS requests need no login. With LOGIN_DISABLED no request needs a login.

    ``manager``: the manager or user kind whose login is required; by default the application's own manager.

    Raises AssertionError, as Flask does, if the blueprint is registered already or the application has already answered
    a request.
    """
    if isinstance(target, Blueprint):
        target.record(lambda setup: _requirements_of(setup.app).add(_blueprint_name(setup), manager))  # type: ignore[arg-type]
    else:
        _requirements_of(target).add(None, manager)


def _requirements_of(app: Flask) -> _Requirements:
    found: _Requirements | None = app.extensions.get(_KEY)
    if found is None:
        found = _Requirements()
        # One function for all blueprints, because it must choose the requirement of the innermost blueprint.
        app.before_request(found.refuse)
        app.extensions[_KEY] = found
    return found


def _blueprint_name(setup: BlueprintSetupState) -> str:
    """Return a blueprint's name as in ``request.blueprints``, which contains the names of its outer blueprints."""
    return f"{setup.name_prefix}.{setup.name}".lstrip(".")


class _Requirements:
    """The logins that an application's views need. The object lives as long as the application."""

    def __init__(self) -> None:
        #: For each blueprint, or None for the application: the realms whose logins its views need. The realm None is
        #: that of the application's own users.
        self._managers: dict[str | None, list[Realm | None]] = {}
        #: The endpoints of login views that are given as paths or URLs.
        self.endpoints: dict[Any, str | None] = {}

    def add(self, blueprint: str | None, manager: Realm | None) -> None:
        required = self._managers.setdefault(blueprint, [])
        if manager not in required:
            required.append(manager)

    def refuse(self) -> Any:
        """Return the response to a request without the required login, or None to run the view. For before_request."""
        request, app = this_request(), this_app()
        if request.endpoint is None:
            return None  # no view: Flask answers with a 404 or 405
        names = (*request.blueprints, None)
        required = next((self._managers[name] for name in names if name in self._managers), [])
        if not required or _is_public_page(app, request, app.view_functions.get(request.endpoint)):
            return None
        for manager in required:
            state = login_state(manager)
            refused = None if needs_no_login(state) else refuse_anonymous(state)
            if refused is not None:
                return refused
        return None


def _is_public_page(app: Flask, request: Request, view: Any) -> bool:
    if is_public(view, request.method) or any(_is_static(step) for step in wrapped_functions(view)):
        return True
    views = [pair for realm in realms_of(app) for pair in realm.login_views]
    return any(_endpoint_of(app, request, view, blueprint) == request.endpoint for blueprint, view in views)


def _is_static(view: Any) -> bool:
    """Return whether a view is Flask's own function for static files, and not a function that overrides it."""
    if getattr(view, "__func__", None) in (Flask.send_static_file, Blueprint.send_static_file):
        return True
    # Flask registers a lambda for the application's static folder.
    return getattr(view, "__module__", None) == "flask.app" and getattr(view, "__name__", None) == "<lambda>"


def _endpoint_of(app: Flask, request: Request, login_view: str, blueprint: str | None) -> str | None:
    """Return the endpoint of a login view (an endpoint, a path or a URL). Return None if it is on another site."""
    if login_view.startswith("."):  # relative to a blueprint, as in url_for()
        return f"{blueprint or request.blueprint or ''}{login_view}".removeprefix(".")
    if not login_view.startswith(("https://", "http://", "/")):
        return login_view
    server_name = app.config["SERVER_NAME"]
    known: dict[Any, str | None] = app.extensions[_KEY].endpoints
    key = (login_view, request.root_path, server_name)
    if key not in known:
        known[key] = _endpoint_at(app, *key)
    return known[key]


def _endpoint_at(app: Flask, url: str, root: str, server_name: str | None) -> str | None:
    """Return the endpoint of a path or URL, or None if this application has no view for it.

    The request's Host header is not used: an attacker can write the host of a login view of another site into it.
    """
    parts = urlsplit(url)
    if parts.netloc and parts.netloc != server_name:
        return None
    path = unquote(parts.path or "/").removeprefix(root)
    try:
        endpoint: str = app.url_map.bind(server_name or "localhost").match(path, method="GET")[0]
    except HTTPException:  # no view, a redirect, or a view without GET
        return None
    return endpoint
