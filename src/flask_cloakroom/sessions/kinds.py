"""The sessions of another kind of user: where the application's are, and apart from them."""

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
    """Sessions of another kind beside an application's own: in its store, with a cookie and a namespace of theirs."""

    def __init__(self, main: ServerSessionInterface, kind: str) -> None:
        self.app = main.app
        self.main = main
        self.kind = kind
        self.settings = settings_of_kind(main.settings, kind)
        self._starting = threading.Lock()

    def _make_repository(self) -> Repository:
        store = self.main.repository.store  # first, because that makes the settings final
        self.settings = settings_of_kind(self.main.settings, self.kind)
        return self.settings.make_repository(store)


class KindCookieInterface(SecureCookieSessionInterface):
    """Flask's own cookie session under another name, signed so that neither passes for the other."""

    def __init__(self, main: SecureCookieSessionInterface, app: Flask, kind: str) -> None:
        self.main = main
        self.kind = kind
        self.serializer = main.serializer
        namespace = app.config.get("SESSION_NAMESPACE") or app.name
        self.salt = f"flask_cloakroom.kind:{kind}:{namespace}"

    def get_cookie_name(self, app: Flask) -> str:
        """Return the name of the application's session cookie with that of the kind behind it."""
        return cookie_name_of(self.main.get_cookie_name(app), self.kind)


def cookie_name_of(main: str, kind: str) -> str:
    """Return the name of a kind's session cookie, given that of the application's."""
    return f"{main}_{kind}"


def settings_of_kind(main: SessionSettings, kind: str) -> SessionSettings:
    """Return the application's settings with the kind's own cookie and namespace."""
    cookie = replace(main.cookie, name=cookie_name_of(main.cookie.name, kind))
    return replace(main, cookie=cookie, tickets=main.tickets.of_kind(kind))


def interface_beside(main: Any, app: Flask, kind: str) -> KindInterface | KindCookieInterface:
    """Return what opens and saves sessions of that kind. Raises CloakroomError for sessions of somebody else's."""
    if isinstance(main, ServerSessionInterface):
        return KindInterface(main, kind)
    if isinstance(main, SecureCookieSessionInterface):
        return KindCookieInterface(main, app, kind)
    raise CloakroomError(
        f"another kind of user needs sessions that can be side by side: Session(app) of flask_cloakroom, or Flask's "
        f"own. This application has {type(main).__name__}"
    )
