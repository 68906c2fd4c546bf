"""The seam to Flask: ``app.session_interface`` opens a session without work, and saves what it became."""

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
from .flashes import settle
from .outage import SessionUnavailable, make_unavailable
from .session import ServerSession
from .settings import SessionSettings


class ServerSessionInterface(SessionInterface):
    """Lives as long as the application. The store is opened at the first request that touches a session.

    The configuration is checked when this is made and read again at the first request, so that what was
    set in between counts; after that it is fixed.
    """

    session_class = ServerSession

    def __init__(self, app: Flask) -> None:
        """Raises :class:`~flask_cloakroom.errors.SettingError`."""
        self.app = app
        self.settings = SessionSettings.read(app)
        self._starting = threading.Lock()

    @cached_property
    def repository(self) -> Repository:
        """The sessions without Flask; for commands and workers too. Made at the first use."""
        with self._starting:
            if "repository" in self.__dict__:  # another thread's first request was a moment faster
                return self.__dict__["repository"]  # type: ignore[no-any-return]
            self.__dict__["repository"] = repository = self._make_repository()
            return repository

    def _make_repository(self) -> Repository:
        self.settings = SessionSettings.read(self.app)
        repository = self.settings.make_repository()
        if isinstance(repository.store, UsesRedis):
            repository.store.connector.warn_in_production(self.app)
        return repository

    @cached_property
    def find_tickets(self) -> Finder:
        """Lists what could be tickets in the Cookie header of a WSGI request."""
        pattern = self.repository.tickets.pattern  # first, because that makes the settings final
        return self.settings.cookie.finder(pattern)

    @property
    def store(self) -> Store:
        """Where the sessions are kept; ``str()`` of it says so in words."""
        return self.repository.store

    def open_session(self, app: Flask, request: Request) -> ServerSession:
        """Return a session that has done nothing yet."""
        return ServerSession(self, request.environ)

    def is_null_session(self, obj: object) -> bool:
        """Never: there is no secret key to be missing."""
        return False

    def regenerate(self, session: ServerSession) -> None:
        """Give the session a new id: Flask-Session's name for :meth:`ServerSession.rotate`."""
        session.rotate()

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Save what the request did and tell the browser what it must know."""
        if not isinstance(session, ServerSession):
            return
        is_used = session.is_opened or session.pending
        if not is_used and not session.companions:
            session.closed = True
            return
        taken = session.taken
        if taken is not None:
            settle(session)
        session.closed = True
        try:
            for companion in () if session.failed else (session.companions or {}).values():
                companion.save()
            if is_used:
                session.save()
        except SessionUnavailable:
            pass  # the session remembers that it failed
        except CloakroomError:
            session.abandon()
            # There will be another response, which this is called for again.
            session.taken, session.closed = taken, False
            raise
        if session.failed:
            make_unavailable(app, response)
        elif session.is_opened:
            if session.cookie is None:
                add_vary(response, "Cookie")
            else:
                self._tell(session, session.cookie, response)

    def _tell(self, session: ServerSession, ticket: str, response: Response) -> None:
        cookie = self.settings.cookie
        record = session.record
        if not ticket or record is None:
            cookie.delete(response)
        else:
            max_age = self.repository.remaining(record.header) if record.header.permanent else None
            cookie.set(response, ticket, max_age)


def interface_of(app: Flask) -> ServerSessionInterface:
    """Return the application's interface; raise SettingError if its sessions are somebody else's."""
    interface: Any = app.session_interface
    if not isinstance(interface, ServerSessionInterface):
        raise SettingError("session_interface", "this application does not use Session(app) of flask_cloakroom")
    return interface
