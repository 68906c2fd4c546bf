"""Login required by default: for an application or a blueprint, but for what is marked as public."""

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

#: Where an application keeps what it requires.
_KEY: Final = "flask_cloakroom.login.access.login_by_default"


def require_login(target: Flask | Blueprint, manager: Realm | None = None) -> None:
    """Let nobody into a view of this application or blueprint who is not logged in, unless it is :func:`public`.

    Also into views that are added later, and those of blueprints in it. If a blueprint and what it is in require
    different kinds of login, the blueprint's is asked for, and not both. Public without a mark are static files, the
    login views, and OPTIONS; with LOGIN_DISABLED everything is. ``manager``: whose login; else the application's.

    Raises AssertionError, Flask's own, for a blueprint that is registered already or an application that serves.
    """
    if isinstance(target, Blueprint):
        target.record(lambda setup: _of(setup.app).add(_name_of(setup), manager))  # type: ignore[arg-type]
    else:
        _of(target).add(None, manager)


def _of(app: Flask) -> _Requirements:
    found: _Requirements | None = app.extensions.get(_KEY)
    if found is None:
        found = _Requirements()
        # One for all, so that it knows which requirement is the nearest.
        app.before_request(found.refuse)
        app.extensions[_KEY] = found
    return found


def _name_of(setup: BlueprintSetupState) -> str:
    """Return the blueprint's name as a request has it: with those of the blueprints around it."""
    return f"{setup.name_prefix}.{setup.name}".lstrip(".")


class _Requirements:
    """What an application requires. Lives as long as it does."""

    def __init__(self) -> None:
        #: By blueprint, None for the application: whose logins it needs; None for those of its manager.
        self._managers: dict[str | None, list[Realm | None]] = {}
        #: To which endpoints the login views lead that are paths or URLs.
        self.endpoints: dict[Any, str | None] = {}

    def add(self, blueprint: str | None, manager: Realm | None) -> None:
        required = self._managers.setdefault(blueprint, [])
        if manager not in required:
            required.append(manager)

    def refuse(self) -> Any:
        """Return the response for those who are not let in; None for all others. Called before each request."""
        request, app = this_request(), this_app()
        if request.endpoint is None:
            return None  # there is no such page, or not for this method, and nothing to protect: 404 or 405
        names = (*request.blueprints, None)
        required = next((self._managers[name] for name in names if name in self._managers), [])
        if not required or _is_for_everybody(app, request, app.view_functions.get(request.endpoint)):
            return None
        for manager in required:
            state = login_state(manager)
            refused = None if needs_no_login(state) else refuse_anonymous(state)
            if refused is not None:
                return refused
        return None


def _is_for_everybody(app: Flask, request: Request, view: Any) -> bool:
    if is_public(view, request.method) or any(_is_static(step) for step in wrapped_functions(view)):
        return True
    views = [pair for realm in realms_of(app) for pair in realm.login_views]
    return any(_endpoint_of(app, request, view, blueprint) == request.endpoint for blueprint, view in views)


def _is_static(view: Any) -> bool:
    """Tell whether a function is Flask's own for static files; not a class's that does it another way."""
    if getattr(view, "__func__", None) in (Flask.send_static_file, Blueprint.send_static_file):
        return True
    # For an application's folder Flask has a lambda.
    return getattr(view, "__module__", None) == "flask.app" and getattr(view, "__name__", None) == "<lambda>"


def _endpoint_of(app: Flask, request: Request, login_view: str, blueprint: str | None) -> str | None:
    """Return the endpoint of a login view, be it an endpoint, a path or a URL; None for one elsewhere."""
    if login_view.startswith("."):  # as url_for() has it: of the blueprint that it is for, or of the request's
        return f"{blueprint or request.blueprint or ''}{login_view}".removeprefix(".")
    if not login_view.startswith(("https://", "http://", "/")):
        return login_view
    own = app.config["SERVER_NAME"]
    known: dict[Any, str | None] = app.extensions[_KEY].endpoints
    key = (login_view, request.root_path, own)
    if key not in known:
        known[key] = _endpoint_at(app, *key)
    return known[key]


def _endpoint_at(app: Flask, url: str, root: str, own: str | None) -> str | None:
    """Return the endpoint at a path or URL.

    What a request says of its host decides nothing: anybody can name there the host of a login view that is elsewhere.
    """
    parts = urlsplit(url)
    if parts.netloc and parts.netloc != own:
        return None
    try:
        found = app.url_map.bind(own or "localhost").match(unquote(parts.path or "/").removeprefix(root), method="GET")
    except HTTPException:  # there is nothing, or something else
        return None
    endpoint: str = found[0]
    return endpoint
