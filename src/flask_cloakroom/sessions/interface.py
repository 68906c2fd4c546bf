"""Flask's session interface: open the session of a request, and save it with the response."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from flask import Flask, Request, Response
from flask.sessions import SessionInterface, SessionMixin

from ..caching import add_vary
from ..cookies import Finder
from ..core.sessions.repository import Repository
from ..errors import SettingError
from ..first_use import StoreUse
from ..redis_connections import UsesRedis
from ..stores import Store
from .outcome import finish
from .session import ServerSession
from .settings import SessionSettings


class ServerSessionInterface(SessionInterface):
    """The session interface of one application. The first request that uses its session opens the store.

    The settings are read and checked at start, and again at the first use of the store. Settings that the application
    changes between these two times are valid. Later changes have no effect.
    """

    def __init__(self, app: Flask) -> None:
        """Read and check the settings of ``app``. Raises :class:`~flask_cloakroom.errors.SettingError`."""
        self.app = app
        self.settings = SessionSettings.read(app)
        self._first_use = StoreUse()

    @cached_property
    def repository(self) -> Repository:
        """The session repository, made at its first use. It works outside of requests too, as in commands.

        Raises Reentered if the first use itself calls this, for example by a log handler that reads the session.
        """
        self._first_use.run_alone(self._set_repository)
        return self.__dict__["repository"]  # type: ignore[no-any-return]

    def _set_repository(self) -> None:
        if "repository" not in self.__dict__:
            self.__dict__["repository"] = self._make_repository()

    def _make_repository(self) -> Repository:
        self.settings = SessionSettings.read(self.app)
        repository = self.settings.make_repository()
        if isinstance(repository.store, UsesRedis):
            repository.store.connector.warn_in_production(self.app)
        return repository

    @cached_property
    def find_tickets(self) -> Finder:
        """A function that returns the possible tickets in the Cookie header of a WSGI request."""
        pattern = self.repository.tickets.pattern  # before settings.cookie: the first use of repository reads settings
        return self.settings.cookie.finder(pattern)

    @property
    def store(self) -> Store:
        """The store of the sessions. Its ``str()`` describes the store and contains no secret."""
        return self.repository.store

    def open_session(self, app: Flask, request: Request) -> ServerSession:
        """Return the session of ``request``. The session reads the store at its first use."""
        return ServerSession(self, request.environ)

    def is_null_session(self, obj: object) -> bool:
        """Return False, because a session on the server works without a SECRET_KEY, which Flask's own session needs."""
        return False

    def regenerate(self, session: ServerSession) -> None:
        """Give the session a new ticket with this response. Flask-Session has this name for ``session.rotate()``."""
        session.rotate()

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Save the sessions of the request with their companions, and set the cookies of ``response``.

        If the store fails, ``response`` becomes a 503. Raises SessionValueError, SessionTooLargeError,
        SessionLimitError. See :func:`.outcome.finish`.
        """
        if not isinstance(session, ServerSession):
            return
        if not (session.shown_flashes or session.kind_works or session.failed):
            # Closed before the look at the changes: a thread that writes later is told so by a warning.
            session.closed = True
            companions = session.companions
            if session.has_changes or (companions and any(one.has_changes for one in companions.values())):
                finish(app, [session], response)
            elif session.is_opened:
                add_vary(response, "Cookie")  # most requests end here
            return
        works = session.works_of_request()
        used = [work for work in works if work.is_used]
        for work in works:
            work.closed = work.closed or not work.is_used
        if used:
            finish(app, used, response)


def interface_of(app: Flask) -> ServerSessionInterface:
    """Return the session interface of ``app``. Raises SettingError if its sessions are not on the server."""
    interface: Any = app.session_interface
    if not isinstance(interface, ServerSessionInterface):
        problem = "this application does not use Session(app) of flask_cloakroom. Call Session(app) or Cloakroom(app)."
        raise SettingError("session_interface", problem)
    return interface
