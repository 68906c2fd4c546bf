"""Is this login still good? For what goes on when the request is over: an event stream, a websocket."""

from __future__ import annotations

import logging
from typing import Any

from ...core.sessions.watch import SessionWatch
from ...sessions import ServerSession
from ..in_session.session_login import auth_hash_of
from ..request import impersonation
from ..request.loading import problem_with, user_of
from ..request.state import LoginState
from ..setup.callbacks import call
from ..setup.config import AUTH_HASH, FORCED, USER_ID
from ..setup.users import is_set

log = logging.getLogger("flask_cloakroom.login")


class LoginWatch:
    """Watches one login. Lives as long as whoever holds it, in any thread, and keeps no ticket."""

    def __init__(self, state: LoginState) -> None:
        """Watch the login of a request. Raises as :func:`.actions.login_watch` does."""
        user, realm = user_of(state), state.realm
        if realm.user_callback is None:
            raise RuntimeError("to watch a login needs a user_loader, by which the user is looked up again")
        if not is_set(user, "is_authenticated"):
            raise RuntimeError("nobody is logged in, so there is no login to watch")
        self._app, self._realm = state.app, realm
        self._impersonated: Any = None
        self._trail: SessionWatch | None = None
        self._is_over = False
        if state.source in ("session", "remember"):
            session = state.session
            self._user_id: Any = session[USER_ID]
            self._auth_hash: object = session.get(AUTH_HASH)
            self._forced = session.get(FORCED) is True
            if state.impersonator is not None:
                self._impersonated = realm.id_of(user)
            self._follow(state)
        else:
            self._user_id, self._auth_hash, self._forced = realm.id_of(user), auth_hash_of(user), False

    def _follow(self, state: LoginState) -> None:
        session = state.session
        if not isinstance(session, ServerSession):
            return
        session.save_now()
        record, owner = session.record, session.owner
        if record is None or owner is None:
            self._is_over = True  # another request has ended it while this one came here
            return
        only_renewals = state.impersonator is not None
        self._trail = SessionWatch(session.repository.registry, record.key, owner, only_renewals=only_renewals)

    def is_good(self) -> bool:
        """Tell whether the login still holds: one store command, and the user is loaded anew.

        False after a logout, a revocation, the expiry of the session or another login in it; if the user is not there
        any more or not active, ``session_auth_hash()`` is another one, or an impersonation ended. Once False, always
        False. It does not count as activity, so a session that is used by nothing else expires.

        Raises StoreError if the store is down, and what the user_loader raises: then nothing is known, so stop, or
        ask again before anything else is sent.
        """
        if self._is_over:
            return False
        problem = None
        if self._trail is not None and not self._trail.is_live():
            problem = "its session has ended"
        else:
            with self._app.app_context():
                problem = self._problem_with_user()
        if problem is not None:
            self._is_over = True
            named = "no session" if self._trail is None else f"session {self._trail.sid}"
            log.info("%s: a watched login has ended, because %s", named, problem)
        return not self._is_over

    def _problem_with_user(self) -> str | None:
        load = self._realm.user_callback
        if load is None:
            return "there is no user_loader any more"
        user = call(load, self._user_id)
        problem = problem_with(user, self._auth_hash, forced=self._forced)
        if problem is None and self._impersonated is not None:
            problem = impersonation.problem_with(self._realm, user, call(load, self._impersonated))
        return problem
