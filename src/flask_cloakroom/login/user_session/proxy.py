"""``user_session``: the data of the request's user, or of a visitor who is not logged in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import cast

from werkzeug.local import LocalProxy

from ...context import this_app
from ...core.values.own_keys import USER_KEY
from ...errors import CloakroomError
from ...first_use import Reentered
from ...sessions import ServerSession
from ...sessions.merge_at_login import will_merge
from ..request.current_user import user_of
from ..request.state import login_state
from ..setup.realm import Realm, realm_of
from ..setup.users import is_set
from .mappings import RefusedSession, StoredSession, UserSession, VisitorSession


def current_user_session(realm: Realm) -> UserSession:
    """Return the user session of the current request for a realm. Raises the same errors as :data:`user_session`."""
    state = login_state(realm)
    user, session = user_of(state), state.session
    if not isinstance(session, ServerSession):
        raise CloakroomError(
            f"user_session needs sessions on the server, and this application has {type(session).__name__}. Use "
            "Session(app) or Cloakroom(app) of flask_cloakroom"
        )
    session.repository.user_data.check_secrets()
    if is_set(user, "is_authenticated"):
        return _stored(session, str(realm.id_of(user)))
    if state.ignores_session:
        return cast(RefusedSession, session.companion("", lambda: RefusedSession(session)))
    return VisitorSession(session)


def _stored(session: ServerSession, user_id: str) -> StoredSession:
    name = session.repository.tickets.owner_name(user_id)
    found = cast(StoredSession, session.companion(name, lambda: StoredSession(session, user_id, name)))
    if _has_login_to_save(session, found) and not session.closed:
        with suppress(Reentered):
            found.first_use.run_alone(partial(_save_login, session, found))
    return found


def _save_login(session: ServerSession, found: StoredSession) -> None:
    """Save the login and merge its visitor data, unless another thread of the request has done so."""
    if _has_login_to_save(session, found):
        # The merge runs after the commit of the login. Without a save now, the view would read unmerged data.
        session.save_now(provisional=True)
        if session.is_merge_pending:
            session.merge_before_commit()  # the store has failed at the merge. If it fails again, the page is a 503
        found.reload()


def _has_login_to_save(session: ServerSession, found: StoredSession) -> bool:
    """Return whether the session contains visitor data to merge, for a login in this or an earlier request."""
    if session.has_touched(USER_KEY) and session.get(USER_KEY) is not None:
        return will_merge(session)
    return not found.is_opened and session.is_merge_pending


def user_session_proxy(find_realm: Callable[[], Realm]) -> UserSession:
    """Return a proxy for the user session of a realm."""
    return cast(UserSession, LocalProxy(lambda: current_user_session(find_realm())))


#: The data of the request's user: a dict with str as keys. It is the same on every device and outlives every session.
#: The data of a visitor is in the visitor's session, and is merged into the user's data at the login. See
#: :class:`UserSession`.
#:
#: Raises RuntimeError without a LoginManager or without a loader, CloakroomError if the sessions are not on the server,
#: and SettingError if SESSION_ENCRYPTION is on and SECRET_KEY is not set.
user_session: UserSession = user_session_proxy(lambda: realm_of(this_app()))
