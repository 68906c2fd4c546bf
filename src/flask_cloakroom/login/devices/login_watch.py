"""``LoginWatch``: tells after the request if its login is still valid, for an event stream or a websocket."""

from __future__ import annotations

import logging
from typing import Any

from ...core.sessions.watch import SessionWatch
from ...core.values.own_keys import USER_KEY
from ...sessions import ServerSession
from ..in_session.session_login import AUTH_HASH, FORCED, auth_hash_of, login_problem
from ..request import impersonation
from ..request.current_user import user_of
from ..request.state import LoginState
from ..setup.callbacks import call
from ..setup.users import is_set

log = logging.getLogger("flask_cloakroom.login")


class LoginWatch:
    """Tells whether one login is still valid. Usable in any thread, also after the request. It contains no ticket."""

    def __init__(self, state: LoginState) -> None:
        """Watch the login of a request. Raises the same errors as :func:`.actions.login_watch`."""
        user, realm = user_of(state), state.realm
        if realm.user_callback is None:
            raise RuntimeError("login_watch() needs a user_loader. Register it with @login_manager.user_loader")
        if not is_set(user, "is_authenticated"):
            raise RuntimeError("nobody is logged in. Call login_watch() in a view behind login_required")
        self._app, self._realm = state.app, realm
        self._impersonated: Any = None
        self._session_watch: SessionWatch | None = None
        self._is_over = False
        if state.source in ("session", "remember"):
            session = state.session
            self._user_id: Any = session[USER_KEY]
            self._auth_hash: object = session.get(AUTH_HASH)
            self._forced = session.get(FORCED) is True
            if state.impersonator is not None:
                self._impersonated = realm.id_of(user)
            self._watch_session(state)
        else:
            self._user_id, self._auth_hash, self._forced = realm.id_of(user), auth_hash_of(user), False

    def _watch_session(self, state: LoginState) -> None:
        session = state.session
        if not isinstance(session, ServerSession):
            return
        session.save_now()
        record, owner = session.record, session.owner
        if record is None or owner is None:
            self._is_over = True  # a parallel request has ended the session
            return
        only_renewals = state.impersonator is not None
        self._session_watch = SessionWatch(session.repository.registry, record.key, owner, only_renewals=only_renewals)

    def is_good(self) -> bool:
        """Return whether the login is still valid. This costs one store command and one call of the user_loader.

        Return False after a logout, a revocation, the end of the session, another login in the session, or the end of
        an impersonation. Also return False if the user does not exist any more or is not active, or if
        ``session_auth_hash()`` has changed. After the first False, every call returns False. A call does not count as
        activity, so a session without other requests expires.

        Raises StoreError if the store is down, and the errors of the user_loader. After an error, send no data before a
        later call returns True.
        """
        if self._is_over:
            return False
        problem = None
        if self._session_watch is not None and not self._session_watch.is_live():
            problem = "its session has ended"
        else:
            with self._app.app_context():
                problem = self._problem_with_user()
        if problem is not None:
            self._is_over = True
            named = "no session" if self._session_watch is None else f"session {self._session_watch.sid}"
            log.info("%s: a watched login has ended, because %s", named, problem)
        return not self._is_over

    def _problem_with_user(self) -> str | None:
        load = self._realm.user_callback
        if load is None:
            return "there is no user_loader any more"
        user = call(load, self._user_id)
        problem = login_problem(user, self._auth_hash, forced=self._forced)
        if problem is None and self._impersonated is not None:
            problem = impersonation.impersonation_problem(self._realm, user, call(load, self._impersonated))
        return problem
