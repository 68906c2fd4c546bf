"""``current_user``: who makes this request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flask import Flask, has_request_context
from werkzeug.local import LocalProxy

from ...context import this_app, this_request
from ..setup.users import FLAGS, as_flag
from .loading import load
from .state import LoginState, state_of

if TYPE_CHECKING:
    from ..manager import LoginManager

#: Where an application keeps its manager.
EXTENSION_KEY: Final = "flask_cloakroom.login"
#: And where those of its other kinds of user, by name.
KINDS_KEY: Final = "flask_cloakroom.login.kinds"


def manager_of(app: Flask) -> LoginManager:
    """Return the application's manager. Raises RuntimeError if it has none."""
    manager: LoginManager | None = app.extensions.get(EXTENSION_KEY)
    if manager is None:
        raise RuntimeError(f"the application {app.name!r} has no LoginManager: call login_manager.init_app(app) first")
    return manager


def managers_of(app: Flask) -> list[LoginManager]:
    """Return the application's managers: its own, if it has one, and those of its other kinds of user."""
    main: LoginManager | None = app.extensions.get(EXTENSION_KEY)
    kinds: dict[str, LoginManager] = app.extensions.get(KINDS_KEY, {})
    return [*kinds.values()] if main is None else [main, *kinds.values()]


def current_manager() -> LoginManager:
    """Return the present application's manager. Raises RuntimeError."""
    return manager_of(this_app())


def this_login() -> LoginState:
    """Return what the present request knows of its login. Raises RuntimeError if there is no manager."""
    return state_of(this_request(), current_manager())


def user_of(state: LoginState) -> Any:
    """Return the user of a request, loaded at the first call; an anonymous one if nobody is logged in."""
    if not state.loaded:
        if state.loading:
            return state.manager.anonymous_user()
        load(state)
    return state.user


def get_user() -> Any:
    """Return the request's user, loaded at the first call; an anonymous one if nobody is logged in.

    None outside of a request.
    """
    if not has_request_context():
        return None
    return user_of(this_login())


class UserProxy(LocalProxy[Any]):
    """Stands for the request's user, and has their flags in both forms whatever class they are of."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._get_current_object(), name)
        return as_flag(value, name) if name in FLAGS else value


#: The user who makes the present request, or an anonymous one. Loaded when it is first used, and in every template.
current_user: Any = UserProxy(get_user)


def user_context() -> dict[str, Any]:
    """Return what templates get: the proxy, and not the user, so that a page which asks nothing loads nothing."""
    return {"current_user": current_user}
