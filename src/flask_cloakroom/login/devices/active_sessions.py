"""A user's sessions, on all their devices: to see them, to end one or all."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import has_request_context

from ... import signals
from ...context import this_app, this_request
from ...core.entries.envelope import Header
from ...core.entries.ownership import Ownership
from ...core.sessions.repository import Repository
from ...core.sessions.session_registry import SessionRegistry
from ...errors import CloakroomError
from ...sessions.interface import ServerSessionInterface
from ..in_session.device_note import moment_in, read_note, text_in
from ..in_session.session_login import SessionLogin
from ..lifecycle import log_out
from ..request.loading import user_of
from ..request.state import state_of
from ..setup.config import USER_ID
from ..setup.realm import Realm
from ..setup.users import is_set
from .user_agents import names_in

log = logging.getLogger("flask_cloakroom.login")


@dataclass(frozen=True, slots=True)
class ActiveSession:
    """One of a user's sessions, as a page may show it. Nothing in it opens the session."""

    #: For :func:`.actions.revoke_session`. It stays the same when the session's id changes.
    handle: str
    #: When the login was made, in UTC; of one that was not made by this package, when its session began.
    created: datetime
    #: The last activity, in UTC, as exact as SESSION_REFRESH_AFTER.
    last_seen: datetime
    #: Where the login came from, as Flask had it; to be shown, and never a reason for anything.
    address: str | None
    #: The User-Agent header of the login; whatever the browser chose to say.
    user_agent: str | None
    #: The browser and the system in words ("Firefox 140", "Windows"). Without the extra ``agents``, and for what it
    #: does not know, the browser is the header as it is, and the system None.
    browser: str | None
    system: str | None
    #: Whether it is the session of this request.
    current: bool
    #: Whether the login was remembered: with ``remember=True``, or by the cookie of an earlier one.
    remembered: bool
    #: False if the session is over, and the browser would be logged in again by its remember token.
    live: bool = True


class Activity:
    """The sessions of one realm's users. With the state of a request, one of them may be the current one."""

    def __init__(self, realm: Realm) -> None:
        """For the present application, and the present request if there is one.

        Raises CloakroomError if the realm's sessions are not on the server.
        """
        app = this_app()
        interface = realm.interface_for(app)
        if not isinstance(interface, ServerSessionInterface):
            raise CloakroomError("a list of sessions needs sessions on the server: Session(app) of flask_cloakroom")
        self._repository: Repository = interface.repository
        self._realm = realm
        self._app = app
        self._state = state_of(app, this_request(), realm) if has_request_context() else None

    def sessions(self, user: Any = None) -> list[ActiveSession]:
        """Return the sessions of ``user``, else of the current user: :func:`.actions.active_sessions`."""
        found = self._owners().logins(self._name_of(user))
        current = self._current_handle()
        return [_described(header, owner, owner.handle == current, live) for header, owner, live in found]

    def revoke(self, handle: str, *, operator: bool = False) -> bool:
        """End the session with this handle: :func:`.actions.revoke_session`."""
        name, _, its_handle = handle.partition(".")
        owners = self._owners()
        if not operator and name != self._name_of(None):
            log.info("a session was not revoked, because it is not the user's own")
            return False
        self._check_index(name)
        if self._state and its_handle and its_handle == self._current_handle() and self._is_current(name):
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
        """End all sessions of ``user``, else of the current user: :func:`.actions.logout_everywhere`."""
        owners, user_id = self._owners(), self._id_of(user)
        name = self._repository.tickets.owner_name(str(user_id))
        is_mine = self._is_current(name)
        self._check_index(name)
        ended = 0
        if self._state and is_mine and not keep_current:
            log_out(self._state)
            ended += 1
        ended += owners.end_all(name, except_for=self._current_handle() if is_mine and keep_current else None)
        log.info("a user was logged out everywhere: %d sessions ended", ended)
        signals.user_logged_out_everywhere.send(self._app, user_id=str(user_id), ended=ended)
        return ended

    def end_everybody(self) -> int:
        """End the sessions of all users of the realm, and what remembers them; return how many sessions ended."""
        return self._repository.owners.end_everybody()

    def _owners(self) -> SessionRegistry:
        self._repository.index.require()
        return self._repository.owners

    def _check_index(self, name: str) -> None:
        """Warn if the session of this request is the owner's and the owner index has lost it."""
        login = self._login()
        record, owner = (None, None) if login is None else (login.record, login.owner)
        if record is None or owner is None or owner.name != name or not self._repository.owners.has_lost_claim(record):
            return
        log.warning(
            "session %s is not in the owner index, so the index may have lost other sessions of the same user, which "
            "then stay logged in. Change what session_auth_hash() returns for the user, or run `flask sessions end "
            "--everybody`; and let the store evict nothing",
            record.sid,
        )

    def _id_of(self, user: Any) -> Any:
        if user is None:
            user = None if self._state is None else user_of(self._state)
            if user is None or not is_set(user, "is_authenticated"):
                raise RuntimeError("nobody is logged in: give the user whose sessions are meant")
        return self._realm.id_of(user)

    def _name_of(self, user: Any) -> str:
        return self._repository.tickets.owner_name(str(self._id_of(user)))

    def _login(self) -> SessionLogin | None:
        """Return the session's login, by which the request's user may be logged in."""
        return None if self._state is None or self._state.ignores_session else self._state.login

    def _is_current(self, name: str) -> bool:
        """Tell whether the owner of that name is logged in by the session of this request."""
        login = self._login()
        mine = None if login is None else login.session.get(USER_ID)
        return mine is not None and self._repository.tickets.owner_name(str(mine)) == name

    def _current_handle(self) -> str | None:
        login = self._login()
        owner = None if login is None else login.owner
        return None if owner is None else owner.handle


def _described(header: Header, owner: Ownership, current: bool, live: bool) -> ActiveSession:
    note = read_note(owner.note)
    agent = text_in(note.get("agent"))
    browser, system = names_in(agent)
    return ActiveSession(
        handle=f"{owner.name}.{owner.handle}",
        created=datetime.fromtimestamp(moment_in(note.get("at")) or header.created, UTC),
        last_seen=datetime.fromtimestamp(header.seen, UTC),
        address=text_in(note.get("address")),
        user_agent=agent,
        browser=browser,
        system=system,
        current=current,
        remembered=note.get("remembered") is True,
        live=live,
    )
