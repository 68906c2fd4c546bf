"""The sessions of another kind of user: where the application's are, and apart from them."""

from __future__ import annotations

import threading
from typing import Any

from flask import Flask
from flask.sessions import SecureCookieSessionInterface

from ..core.sessions.repository import Repository
from ..errors import CloakroomError
from .interface import ServerSessionInterface


class KindInterface(ServerSessionInterface):
    """Sessions of another kind beside an application's own: in its store, with a cookie and a namespace of theirs."""

    def __init__(self, main: ServerSessionInterface, kind: str) -> None:
        self.app = main.app
        self.main = main
        self.kind = kind
        self.settings = main.settings.of_kind(kind)
        self._starting = threading.Lock()

    def _make_repository(self) -> Repository:
        store = self.main.repository.store  # first, because that makes the settings final
        self.settings = self.main.settings.of_kind(self.kind)
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
        return f"{self.main.get_cookie_name(app)}_{self.kind}"


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
