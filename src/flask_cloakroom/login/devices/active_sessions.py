"""The list of a user's sessions on all devices, and the end of one or all of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import has_request_context

from ... import signals
from ...context import this_app
from ...core.entries.envelope import Header
from ...core.entries.ownership import Ownership
from ...core.sessions.repository import Repository
from ...core.sessions.session_registry import SessionRegistry
from ...core.values.own_keys import USER_KEY
from ...errors import CloakroomError
from ...sessions.interface import ServerSessionInterface
from ..in_session.device_note import as_text, as_time, read_note
from ..in_session.session_login import SessionLogin
from ..lifecycle import log_out
from ..request.current_user import user_of
from ..request.state import login_state
from ..setup.realm import Realm
from ..setup.users import is_set
from .user_agents import browser_and_system

log = logging.getLogger("flask_cloakroom.login")


@dataclass(frozen=True, slots=True)
class ActiveSession:
    """One session of a user, for a page that lists the user's sessions. No value of it gives access to the session."""

    #: The argument of :func:`.actions.revoke_session`. A rotation does not change it.
    handle: str
    #: The time of the login, in UTC. For a login that this package did not make: the time when its session began.
    created: datetime
    #: The time of the last activity, in UTC. The real time may be later, by up to SESSION_REFRESH_AFTER.
    last_seen: datetime
    #: The address of the login (``request.remote_addr``). Only show it, because a proxy's header can be forged.
    address: str | None
    #: The User-Agent header of the login. Browsers may send any text.
    user_agent: str | None
    #: Browser and system in words, such as "Firefox 140" and "Windows". An unknown browser is the whole header, and an
    #: unknown system is None. Without the extra ``agents`` both are unknown.
    browser: str | None
    system: str | None
    #: Whether this is the session of the current request.
    current: bool
    #: Whether the login has a remember token.
    remembered: bool
    #: False if the session has ended and only a remember token is still valid, which will log the browser in again.
    live: bool = True


class Devices:
    """The sessions of one realm's users. In a request, one of them may be the current session."""

    def __init__(self, realm: Realm) -> None:
        """Take the current application, and the current request if there is one.

        Raises CloakroomError if the realm's sessions are not on the server.
        """
        app = this_app()
        interface = realm.interface_for(app)
        if not isinstance(interface, ServerSessionInterface):
            raise CloakroomError("a list of sessions needs sessions on the server. Use Session(app) of flask_cloakroom")
        self._repository: Repository = interface.repository
        self._realm = realm
        self._app = app
        self._state = login_state(realm) if has_request_context() else None

    def sessions(self, user: Any = None) -> list[ActiveSession]:
        """Return the sessions of ``user``, by default the current user: see :func:`.actions.active_sessions`."""
        found = self._registry().logins(self._owner_name(user))
        current = self._current_handle()
        return [_active_session(header, owner, owner.handle == current, live) for header, owner, live in found]

    def revoke(self, handle: str, *, operator: bool = False) -> bool:
        """End the session with this handle: see :func:`.actions.revoke_session`."""
        name, _, its_handle = handle.partition(".")
        owners = self._registry()
        if not operator and name != self._owner_name(None):
            log.info("a session was not revoked, because it belongs to another user")
            return False
        self._warn_if_index_lost(name)
        if self._state and its_handle and its_handle == self._current_handle() and self._is_logged_in(name):
            log_out(self._state)
            owners.end(name, its_handle)
            self._report_revoked(handle, operator)
            return True
        if not its_handle or not owners.end(name, its_handle):
            return False
        self._report_revoked(handle, operator)
        return True

    def _report_revoked(self, handle: str, operator: bool) -> None:
        log.info("a login was revoked%s", " by an operator" if operator else "")
        signals.session_revoked.send(self._app, handle=handle, operator=operator)

    def end_all(self, user: Any = None, *, keep_current: bool = False) -> int:
        """End all sessions of ``user``, by default the current user: see :func:`.actions.logout_everywhere`."""
        owners, user_id = self._registry(), self._id_of(user)
        name = self._repository.tickets.owner_name(str(user_id))
        is_mine = self._is_logged_in(name)
        self._warn_if_index_lost(name)
        ended = 0
        if self._state and is_mine and not keep_current:
            log_out(self._state)
            ended += 1
        ended += owners.end_all(name, except_for=self._current_handle() if is_mine and keep_current else None)
        log.info("a user was logged out everywhere: %d sessions ended", ended)
        signals.user_logged_out_everywhere.send(self._app, user_id=str(user_id), ended=ended)
        return ended

    def end_everybody(self) -> int:
        """End the sessions and remember tokens of all users of the realm, and return the number of ended sessions."""
        return self._repository.owners.end_everybody()

    def _registry(self) -> SessionRegistry:
        self._repository.index.require()
        return self._repository.owners

    def _warn_if_index_lost(self, name: str) -> None:
        """Log a warning if this request's session belongs to the owner ``name``, and the owner index has lost it."""
        login = self._login()
        session = None if login is None else login.server_session
        record, owner = (None, None) if session is None else (session.record, session.owner)
        if record is None or owner is None or owner.name != name or not self._repository.owners.has_lost_claim(record):
            return
        log.warning(
            "session %s is not in the owner index. The index may have lost other sessions of the user, which stay "
            "logged in. Change the user's session_auth_hash(), or run `flask sessions end --everybody`. Then configure "
            "the store to evict nothing",
            record.sid,
        )

    def _id_of(self, user: Any) -> Any:
        if user is None:
            user = None if self._state is None else user_of(self._state)
            if user is None or not is_set(user, "is_authenticated"):
                raise RuntimeError("nobody is logged in. Give the user whose sessions you mean")
        return self._realm.id_of(user)

    def _owner_name(self, user: Any) -> str:
        return self._repository.tickets.owner_name(str(self._id_of(user)))

    def _login(self) -> SessionLogin | None:
        """Return the login in the request's session, or None without a request, or with a credential in the request."""
        return None if self._state is None or self._state.ignores_session else self._state.login

    def _is_logged_in(self, name: str) -> bool:
        """Return whether the owner with this name is logged in by the session of the request."""
        login = self._login()
        mine = None if login is None else login.session.get(USER_KEY)
        return mine is not None and self._repository.tickets.owner_name(str(mine)) == name

    def _current_handle(self) -> str | None:
        login = self._login()
        owner = None if login is None else login.owner
        return None if owner is None else owner.handle


def _active_session(header: Header, owner: Ownership, current: bool, live: bool) -> ActiveSession:
    note = read_note(owner.note)
    agent = as_text(note.get("agent"))
    browser, system = browser_and_system(agent)
    return ActiveSession(
        handle=f"{owner.name}.{owner.handle}",
        created=datetime.fromtimestamp(as_time(note.get("at")) or header.created, UTC),
        last_seen=datetime.fromtimestamp(header.seen, UTC),
        address=as_text(note.get("address")),
        user_agent=agent,
        browser=browser,
        system=system,
        current=current,
        remembered=note.get("remembered") is True,
        live=live,
    )
