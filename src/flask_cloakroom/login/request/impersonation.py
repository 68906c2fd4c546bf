"""Impersonation: a support member sees the site as another user.

The session still belongs to the support member: it has the support member's user id, auth hash and claim in the owner
index. So the end of the support member's login ends the impersonation. The other user's id is in the session too, and
each request loads the other user again.
"""

from __future__ import annotations

import logging
from typing import Any

from werkzeug.exceptions import Forbidden
from werkzeug.local import LocalProxy

from ... import signals
from ...core.values.own_keys import USER_KEY
from ...first_use import tell
from ..in_session.session_login import IMPERSONATED
from ..setup.callbacks import is_allowed
from ..setup.realm import Realm
from ..setup.users import is_set
from .state import LoginState

log = logging.getLogger("flask_cloakroom.login")


def impersonation_problem(realm: Realm, impersonator: Any, user: Any) -> str | None:
    """Return why ``impersonator`` must not impersonate ``user``, as the end of a sentence, or None if allowed."""
    if user is None:
        return "the impersonated user does not exist any more"
    if not is_set(user, "is_active"):
        return "the impersonated user is not active"
    allowed = realm.impersonation_callback
    if allowed is None or not is_allowed(allowed, impersonator, user):
        return "impersonating this user is not allowed"
    return None


def start(state: LoginState, user: Any) -> None:
    """Begin an impersonation: see :func:`.actions.impersonate`. The state must have its user."""
    realm, impersonator = state.realm, state.user
    if isinstance(user, LocalProxy):
        user = user._get_current_object()
    if realm.impersonation_callback is None or realm.user_callback is None:
        raise RuntimeError(
            "no function says who may impersonate whom. Decorate a function (impersonator, user) -> bool with "
            "@login_manager.impersonation_allowed, beside the user_loader; docs/access.md shows it"
        )
    if state.impersonator is not None:
        raise RuntimeError("this session impersonates a user already. Call stop_impersonating() first")
    by_session = not state.ignores_session and state.session.get(USER_KEY) is not None
    if not by_session or not is_set(impersonator, "is_authenticated"):
        raise RuntimeError("nobody is logged in by this session. Log the support member in first")
    user_id = realm.id_of(user)
    if str(user_id) == str(state.session[USER_KEY]):
        raise ValueError("users cannot impersonate themselves. Give another user")
    problem = impersonation_problem(realm, impersonator, user)
    if problem is not None:
        log.info("%s: an impersonation was refused: %s", state.login.log_name, problem)
        raise Forbidden
    state.session[IMPERSONATED] = user_id
    state.login.rotate()
    log.info("%s: an impersonation begins", state.login.log_name)
    state.set_user(user, private=True, source=state.source, impersonator=impersonator)
    signals.impersonation_started.send(state.app, user=user, impersonator=impersonator)


def stop(state: LoginState) -> bool:
    """End the impersonation: see :func:`.actions.stop_impersonating`. The state must have its user."""
    user, impersonator = state.user, state.impersonator
    if impersonator is None:
        return False
    state.session.pop(IMPERSONATED, None)
    state.login.rotate()
    log.info("%s: an impersonation ends", state.login.log_name)
    state.set_user(impersonator, private=True, source=state.source)
    send_ended(state, user, impersonator)
    return True


def send_ended(state: LoginState, user: Any, impersonator: Any) -> None:
    """Send the signal that an impersonation ended."""
    tell(signals.impersonation_ended.send, state.app, user=user, impersonator=impersonator)
