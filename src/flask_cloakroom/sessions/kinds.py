"""The sessions of a user kind, beside the application's own sessions."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from flask import Flask
from flask.sessions import SecureCookieSessionInterface

from ..core.sessions.repository import Repository
from ..errors import CloakroomError
from .interface import ServerSessionInterface
from .settings import SessionSettings


class KindInterface(ServerSessionInterface):
    """Sessions of a user kind on the server: in the application's store, with a cookie and a namespace of their own."""

    def __init__(self, main: ServerSessionInterface, kind: str) -> None:
        self.app = main.app
        self.main = main
        self.kind = kind
        self.settings = settings_of_kind(main.settings, kind)
        self._lock = threading.Lock()

    def _make_repository(self) -> Repository:
        store = self.main.repository.store  # before main.settings, because this makes the settings final
        self.settings = settings_of_kind(self.main.settings, self.kind)
        return self.settings.make_repository(store)


class KindCookieInterface(SecureCookieSessionInterface):
    """Sessions of a user kind in a cookie, as Flask's own, with another cookie name and another signature."""

    def __init__(self, main: SecureCookieSessionInterface, app: Flask, kind: str) -> None:
        self.main = main
        self.kind = kind
        self.serializer = main.serializer
        namespace = app.config.get("SESSION_NAMESPACE") or app.name
        # With one salt for all, a visitor could send the value of one kind's cookie as another kind's.
        self.salt = f"flask_cloakroom.kind:{kind}:{namespace}"

    def get_cookie_name(self, app: Flask) -> str:
        """Return the name of the application's session cookie, with the kind's name at the end."""
        return cookie_name_of(self.main.get_cookie_name(app), self.kind)


def cookie_name_of(main: str, kind: str) -> str:
    """Return the name of a kind's session cookie. ``main`` is the name of the application's session cookie."""
    return f"{main}_{kind}"


def settings_of_kind(main: SessionSettings, kind: str) -> SessionSettings:
    """Return the application's settings with the kind's own cookie and namespace."""
    cookie = replace(main.cookie, name=cookie_name_of(main.cookie.name, kind))
    return replace(main, cookie=cookie, tickets=main.tickets.of_kind(kind))


def interface_for_kind(main: Any, app: Flask, kind: str) -> KindInterface | KindCookieInterface:
    """Return the session interface of a user kind, given the application's interface ``main``.

    Raises CloakroomError if ``main`` is neither this package's nor Flask's own.
    """
    if isinstance(main, ServerSessionInterface):
        return KindInterface(main, kind)
    if isinstance(main, SecureCookieSessionInterface):
        return KindCookieInterface(main, app, kind)
    raise CloakroomError(
        f"A user kind cannot have sessions side by side with those of {type(main).__name__}. Use Session(app) of "
        "flask_cloakroom, or Flask's own sessions."
    )
