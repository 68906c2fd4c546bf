"""A user's sessions, on all their devices: to see them, to end one or all."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import session

from ..errors import CloakroomError
from ..sessions.owners import OwnedSession, OwnerIndex, Ownership
from ..sessions.repository import Repository
from . import kept
from .actions import logout_user
from .agents import names_in
from .config import USER_ID
from .current import current_manager, get_user
from .flags import is_set
from .notes import read_note, text_in
from .state import this_app

log = logging.getLogger("flask_cloakroom.login")


@dataclass(frozen=True, slots=True)
class ActiveSession:
    """One of a user's sessions, as a page may show it. Nothing in it opens the session."""

    #: For :func:`revoke_session`. It stays the same when the session's id changes.
    handle: str
    #: When the session began, in UTC.
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


def active_sessions(user: Any = None) -> list[ActiveSession]:
    """Return the sessions in which ``user`` (else the current user) is logged in, those used last first.

    Raises RuntimeError if nobody is logged in and no user is given, CloakroomError if the sessions are not on the
    server or their store cannot tell whose they are, StoreError.
    """
    owners, name = _owners(), _name_of(user)
    current = _current_handle()
    return [_described(found, found.owner.handle == current) for found in owners.sessions(name)]


def _described(found: OwnedSession, current: bool) -> ActiveSession:
    note = read_note(found.owner.note)
    agent = text_in(note.get("agent"))
    browser, system = names_in(agent)
    return ActiveSession(
        handle=f"{found.owner.name}.{found.owner.handle}",
        created=datetime.fromtimestamp(found.header.created, UTC),
        last_seen=datetime.fromtimestamp(found.header.seen, UTC),
        address=text_in(note.get("address")),
        user_agent=agent,
        browser=browser,
        system=system,
        current=current,
        remembered=note.get("remembered") is True,
    )


def revoke_session(handle: str, *, operator: bool = False) -> bool:
    """End the session that :func:`active_sessions` gave this handle. Its next request is nobody's.

    Only one of the current user's; with ``operator=True`` anybody's, which the view has to allow. False: there is no
    such session, or it is not theirs, which is answered alike. The current one may be ended too; then this is
    :func:`logout_user`. Raises RuntimeError if nobody is logged in, CloakroomError and StoreError as above.
    """
    name, _, its_handle = handle.partition(".")
    owners = _owners()
    if not operator and name != _name_of(None):
        log.warning("a session was not revoked, because it is not the user's own")
        return False
    mine = session.get(USER_ID)
    if its_handle and its_handle == _current_handle() and mine is not None and name == _name_of_id(mine):
        return logout_user()
    return owners.end(name, its_handle)


def logout_everywhere(user: Any = None, *, keep_current: bool = False) -> int:
    """End all sessions of ``user``, else of the current user; return how many ended.

    ``keep_current``: but for that of this request. Else, if it is one of them, this is :func:`logout_user` as well. A
    remembered login of another browser is not ended by this, unless the manager's tokens can be revoked together
    (they have ``revoke_all(user_id)``); a changed ``session_auth_hash()`` ends those.

    Raises RuntimeError if nobody is logged in and no user is given, CloakroomError and StoreError as above.
    """
    owners, name = _owners(), _name_of(user)
    mine = session.get(USER_ID)
    is_mine = mine is not None and _name_of_id(mine) == name
    spare = _current_handle() if is_mine else None
    tokens = current_manager().tokens_for(this_app())
    revoke_all = getattr(tokens, "revoke_all", None)
    if revoke_all is not None:
        revoke_all(str(_id_of(user)))
    ended = owners.end_all(name, spare=spare)
    if is_mine and not keep_current:
        logout_user()
        ended += 1
    return ended


def logout_everybody() -> int:
    """For operators: end the sessions of all who are logged in, in one walk over the store; return how many.

    It takes about as long as reading and writing every session does. Logins that are made meanwhile stay. Raises
    CloakroomError if the store cannot be walked over, StoreError.
    """
    return _repository().owners.end_everybody()


def _repository() -> Repository:
    found = kept.server_session()
    if found is None:
        raise CloakroomError("a list of sessions needs sessions on the server: Session(app) of flask_cloakroom")
    return found._interface.repository


def _owners() -> OwnerIndex:
    owners = _repository().owners
    owners.require()
    return owners


def _id_of(user: Any) -> Any:
    if user is None:
        user = get_user()
        if not is_set(user, "is_authenticated"):
            raise RuntimeError("nobody is logged in: give the user whose sessions are meant")
    return current_manager().id_of(user)


def _name_of(user: Any) -> str:
    return _name_of_id(_id_of(user))


def _name_of_id(user_id: Any) -> str:
    return _repository().tickets.owner_name(str(user_id))


def _current_handle() -> str | None:
    found = kept.server_session()
    if found is None:
        return None
    found._opened()
    owner = None if found._record is None else Ownership.parse(found._record.header.owner)
    return None if owner is None else owner.handle
