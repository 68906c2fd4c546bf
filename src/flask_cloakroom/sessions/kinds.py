"""The sessions of a user kind. A browser can have such a session and a session of the application's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Flask
from flask.sessions import SecureCookieSessionInterface

from ..core.sessions.repository import Repository
from ..errors import CloakroomError
from ..first_use import StoreUse
from .interface import ServerSessionInterface
from .settings import SessionSettings


class KindInterface(ServerSessionInterface):
    """Sessions of a user kind on the server: in the application's store, with a cookie and a namespace of their own."""

    def __init__(self, main: ServerSessionInterface, kind: str) -> None:
        self.app = main.app
        self.main = main
        self.kind = kind
        self.settings = settings_of_kind(main.settings, kind)
        self._first_use = StoreUse()

    def _make_repository(self) -> Repository:
        store = self.main.repository.store  # before main.settings: the first use of main.repository reads them again
        self.settings = settings_of_kind(self.main.settings, self.kind)
        return self.settings.make_repository(store)


class KindCookieInterface(SecureCookieSessionInterface):
    """Sessions of a user kind in a cookie, as Flask's own sessions, with another cookie name and another signature."""

    def __init__(self, main: SecureCookieSessionInterface, app: Flask, kind: str) -> None:
        self.main = main
        self.kind = kind
        self.serializer = main.serializer
        namespace = app.config.get("SESSION_NAMESPACE") or app.name
        # With one salt for all kinds, a customer could send the value of the customers' cookie in the staff's cookie.
        self.salt = f"flask_cloakroom.kind:{kind}:{namespace}"

    def get_cookie_name(self, app: Flask) -> str:
        """Return the name of the application's session cookie, with the kind's name at the end."""
        return cookie_name_of(self.main.get_cookie_name(app), self.kind)


def cookie_name_of(main: str, kind: str) -> str:
    """Return the name of a kind's session cookie. ``main`` is the name of the application's session cookie."""
    return f"{main}_{kind}"


def settings_of_kind(main: SessionSettings, kind: str) -> SessionSettings:
    """Return the settings ``main`` of the application with the cookie name and namespace of a user kind."""
    cookie = replace(main.cookie, name=cookie_name_of(main.cookie.name, kind))
    return replace(main, cookie=cookie, tickets=main.tickets.of_kind(kind))


def interface_for_kind(main: Any, app: Flask, kind: str) -> KindInterface | KindCookieInterface:
    """Return the session interface of a user kind, given the application's interface ``main``.

    Raises CloakroomError if ``main`` is neither an interface of this package nor Flask's own session interface.
    """
    if isinstance(main, ServerSessionInterface):
        return KindInterface(main, kind)
    if isinstance(main, SecureCookieSessionInterface):
        return KindCookieInterface(main, app, kind)
    raise CloakroomError(
        f"A user kind cannot have sessions in an application whose session interface is {type(main).__name__}. "
        "Use Session(app) of flask_cloakroom, or Flask's own sessions."
    )
