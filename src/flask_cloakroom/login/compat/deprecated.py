"""Deprecated names of Flask-Login 0.6.3, and private names of Flask-Login that other packages use."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, current_app, has_app_context

from ..request.current_user import user_of
from ..request.state import login_state
from ..setup.realm import Realm

C = TypeVar("C", bound=Callable[..., Any])


def _warn(old: str, new: str) -> None:
    warnings.warn(f"{old} is deprecated: use {new}", DeprecationWarning, stacklevel=3)


def _private(name: str) -> Any:
    """Return a property that reads and sets the attribute ``name``. Its own name is Flask-Login's private name."""
    return property(lambda self: getattr(self, name), lambda self, value: setattr(self, name, value))


class DeprecatedNames(Realm):
    """The old names of :class:`.manager.LoginManager`."""

    _user_callback = _private("user_callback")
    _request_callback = _private("request_callback")
    _header_callback = _private("header_callback")

    def init_app(self, app: Flask, add_context_processor: bool = True) -> None:
        """Make this the application's manager: see :meth:`.manager.LoginManager.init_app`."""
        raise NotImplementedError

    def setup_app(self, app: Flask, add_context_processor: bool = True) -> None:
        """Call :meth:`init_app`. Deprecated."""
        _warn("setup_app()", "init_app()")
        self.init_app(app, add_context_processor)

    def header_loader(self, callback: C) -> C:
        """Register a function that returns the user for the value of the header AUTH_HEADER_NAME. Deprecated."""
        _warn("header_loader()", "request_loader(), which is given the whole request")
        self.header_callback = callback
        return callback

    @property
    def _login_disabled(self) -> bool:
        _warn("_login_disabled", 'app.config["LOGIN_DISABLED"]')
        return has_app_context() and bool(current_app.config.get("LOGIN_DISABLED", False))

    @_login_disabled.setter
    def _login_disabled(self, value: bool) -> None:
        _warn("_login_disabled", 'app.config["LOGIN_DISABLED"]')
        current_app.config["LOGIN_DISABLED"] = value

    def _load_user(self) -> None:
        state = login_state(self)
        state.is_loaded = False
        user_of(state)

    def _update_request_context_with_user(self, user: Any = None) -> None:
        """Set the user of this request without a change of the session. None sets an anonymous user."""
        somebody = user is not None
        login_state(self).set_user(user if somebody else self.anonymous_user(), private=somebody)
