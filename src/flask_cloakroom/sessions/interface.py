"""Flask's session interface: open the session of a request, and save it with the response."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import Any

from flask import Flask, Request, Response
from flask.sessions import SessionInterface, SessionMixin

from ..caching import add_vary
from ..cookies import Finder
from ..core.sessions.repository import Repository
from ..errors import CloakroomError, SettingError
from ..redis_connections import UsesRedis
from ..stores import Store
from .flashes import confirm_shown
from .outage import SessionUnavailable, make_unavailable
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
        self._lock = threading.Lock()

    @cached_property
    def repository(self) -> Repository:
        """The session repository, made at its first use. It works outside of requests too, as in commands."""
        with self._lock:
            if "repository" not in self.__dict__:  # another thread may have made it before this thread got the lock
                self.__dict__["repository"] = self._make_repository()
            return self.__dict__["repository"]  # type: ignore[no-any-return]

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
        """Save the session and its companions, and set the cookie of ``response``.

        If the store fails, ``response`` becomes a 503. Raises SessionValueError, SessionTooLargeError,
        SessionLimitError.
        """
        if not isinstance(session, ServerSession):
            return
        is_used = session.is_opened or session.save_requested
        if not is_used and not session.companions:
            session.closed = True
            return
        shown_flashes = session.shown_flashes
        if shown_flashes is not None:
            confirm_shown(session)
        session.closed = True
        try:
            for companion in () if session.failed else (session.companions or {}).values():
                companion.save()
            if is_used:
                session.save()
        except SessionUnavailable:
            pass  # session.failed is True now
        except CloakroomError:
            session.rollback()
            # Flask makes an error response and calls this method for it again.
            session.shown_flashes, session.closed = shown_flashes, False
            raise
        if session.failed:
            make_unavailable(app, response)
        elif session.is_opened:
            if session.response_ticket is None:
                add_vary(response, "Cookie")
            else:
                self._set_cookie(session, session.response_ticket, response)

    def _set_cookie(self, session: ServerSession, ticket: str, response: Response) -> None:
        cookie = self.settings.cookie
        record = session.record
        if not ticket or record is None:
            cookie.delete(response)
        else:
            lifetimes, now = self.repository.lifetimes, self.repository.clock()
            cookie.set(response, ticket, lifetimes.remaining(record.header, now) if record.header.permanent else None)


def interface_of(app: Flask) -> ServerSessionInterface:
    """Return the session interface of ``app``. Raises SettingError if its sessions are not on the server."""
    interface: Any = app.session_interface
    if not isinstance(interface, ServerSessionInterface):
        problem = "this application does not use Session(app) of flask_cloakroom. Call Session(app) or Cloakroom(app)."
        raise SettingError("session_interface", problem)
    return interface
