"""Log in, confirm, query and log out. Each function takes the LoginState of one request and one realm."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from werkzeug.exceptions import Forbidden
from werkzeug.local import LocalProxy

from .. import signals
from ..cookies import MAX_AGE_LIMIT
from ..core.clock import is_within
from ..core.entries.ownership import new_handle
from ..core.values.own_keys import USER_KEY
from ..secret import Secret
from ..sessions.outage import SessionUnavailable
from .in_session.device_note import describe_login, was_remembered
from .in_session.session_login import (
    AUTH_HASH,
    BROWSER,
    FRESH,
    FRESH_AT,
    IMPERSONATED,
    auth_hash_of,
    browser_id,
    login_values,
)
from .request import impersonation
from .request.current_user import user_of
from .request.remember_cookies import (
    renew_token,
    resolve,
    revoke_remember_tokens,
    revoke_replaced,
    sent_tokens,
    sent_tokens_of,
)
from .request.state import LoginState
from .setup.settings import LoginSettings
from .setup.users import is_set

log = logging.getLogger("flask_cloakroom.login")

P = ParamSpec("P")
R = TypeVar("R")


def _fails_with_request(function: Callable[Concatenate[LoginState, P], R]) -> Callable[Concatenate[LoginState, P], R]:
    """Return a function that makes the whole request fail where ``function`` raises SessionUnavailable.

    Otherwise a view that catches the error could say that the user is logged out.
    """

    @wraps(function)
    def run(state: LoginState, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(state, *args, **kwargs)
        except SessionUnavailable:
            state.fail()
            raise

    return run


@_fails_with_request
def log_in(
    state: LoginState, user: Any, *, remember: bool, duration: timedelta | None, force: bool, fresh: bool
) -> bool:
    """Log ``user`` in, and return whether the login was made: see :func:`.actions.login_user`."""
    if isinstance(user, LocalProxy):
        user = user._get_current_object()
    if not force and not is_set(user, "is_active"):
        log.info("a login was refused: the user is not active")
        return False
    user_id = state.realm.id_of(user)
    request, login = state.request, state.login
    user_agent = request.headers.get("User-Agent")
    values = login_values(user, user_id, fresh=fresh, forced=force, user_agent=user_agent)
    previous = login.owner
    token: Secret | None = None
    lifetime, replaced = 0, sent_tokens(state)
    if remember:
        lifetime, handle = _lifetime_of(duration, state.settings), new_handle()
        new_login = describe_login(login.session, request, remembered=True, handle=handle)
        token = Secret(state.tokens.issue(str(user_id), values.get(AUTH_HASH, ""), lifetime, new_login))
        state.issued_tokens.append(token)
    else:
        found = [(sent, resolve(state, sent)) for sent in replaced]
        own = {sent: remembered for sent, remembered in found if remembered and remembered.user_id == str(user_id)}
        handle = next((remembered.handle for remembered in own.values()), "")
        # Also an old token: somebody else may have the token that replaced it, and that token must end too.
        replaced = [sent for sent in replaced if sent not in own]
        # The browser may have lost the remember token of the previous login. That token is revoked below by its handle,
        # so this login needs another handle.
        lost = previous is not None and not handle and was_remembered(previous.note)
        handle_now = new_handle() if lost else handle
        new_login = describe_login(login.session, request, remembered=bool(handle), handle=handle_now)
    impersonated = impersonator = None
    if login.session.get(IMPERSONATED) is not None:
        impersonated, impersonator = user_of(state), state.impersonator
    if not login.begin(values, new_login):
        state.revoke_unsent()
        return False
    # The replaced tokens stay valid until the session is saved. If that save fails, the browser needs them.
    previous = None if previous is not None and previous.handle == handle else previous
    state.call_after_save(partial(revoke_replaced, state, replaced, previous))
    state.call_after_save(state.note_saved_login)
    if token is not None:
        state.set_remember_cookie(token, lifetime)
        state.used_token = None
    elif replaced:
        state.set_remember_cookie("")
    state.set_user(user, private=True, source="session")
    state.logged_in_user = user
    if impersonator is not None:
        impersonation.send_ended(state, impersonated, impersonator)
    signals.user_logged_in.send(state.app, user=user)
    return True


def _lifetime_of(duration: timedelta | None, settings: LoginSettings) -> int:
    """Return the lifetime of a remember token in seconds. Raises TypeError or ValueError for a wrong duration."""
    if duration is None:
        return settings.remember_for
    if not isinstance(duration, timedelta):
        raise TypeError(f"duration must be a datetime.timedelta, instead got: {duration}")
    seconds = -int(-duration.total_seconds() // 1)
    if seconds < 1:
        raise ValueError(f"duration must be at least a second, not {duration}")
    return min(seconds, MAX_AGE_LIMIT)


@_fails_with_request
def log_out(state: LoginState) -> bool:
    """Log the user out, and return True: see :func:`.actions.logout_user`."""
    user = _user_to_log_out(state)
    impersonator, login = state.impersonator, state.login
    revoke_remember_tokens(state, login.owner)
    if login.exists:
        log.debug("%s: logged out", login.log_name)
        login.end()
    state.clear_site_data = True
    try:
        if impersonator is not None:
            impersonation.send_ended(state, user, impersonator)
        signals.user_logged_out.send(state.app, user=user if impersonator is None else impersonator)
    finally:
        state.set_user(state.realm.anonymous_user(), private=False)
    return True


def _user_to_log_out(state: LoginState) -> Any:
    """Return the user for the signal. If a loader fails, the logout continues with an anonymous user."""
    try:
        return user_of(state)
    except SessionUnavailable:
        raise  # the store is down, so the session cannot be ended either
    except Exception:
        log.exception("the user could not be loaded at the logout. The signal names an anonymous user")
        return state.realm.anonymous_user()


@_fails_with_request
def confirm(state: LoginState) -> None:
    """Mark the login as fresh: see :func:`.actions.confirm_login`."""
    user_of(state)
    if state.impersonator is not None:
        # The password may be the support member's or the user's. The password of one person must not make the login of
        # the other person fresh.
        log.info("%s: a confirmation was refused, because the session impersonates a user", state.login.log_name)
        raise Forbidden
    # With a credential in the request, the session may belong to another user.
    if state.ignores_session or state.session.get(USER_KEY) is None:
        log.warning("confirm_login() did nothing, because nobody is logged in by this session. Call login_user() first")
        return
    state.session[FRESH] = True
    state.session[FRESH_AT] = int(time.time())
    state.session[BROWSER] = browser_id(state.request.headers.get("User-Agent"))
    state.login.rotate()
    signals.user_login_confirmed.send(state.app)


@_fails_with_request
def update_auth_hash(state: LoginState, user: Any = None) -> None:
    """Let this login stay valid with a new ``session_auth_hash()``: see :func:`.actions.update_session_auth_hash`."""
    user = user_of(state) if user is None else user
    user_id = state.session.get(USER_KEY)
    if user_id is None or state.ignores_session or state.realm.id_of(user) != user_id:
        raise ValueError(
            "update_session_auth_hash() got a user who is not logged in by this session. Call it with the user who is "
            "logged in by this session"
        )
    digest = auth_hash_of(user)
    state.session[AUTH_HASH] = digest
    state.login.rotate()
    state.call_after_save(partial(renew_token, state, user_id, digest))


def is_fresh(state: LoginState, max_age: float | None = None) -> bool:
    """Return whether the login is fresh: see :func:`.actions.login_fresh`. ``max_age`` is in seconds."""
    user_of(state)
    if state.ignores_session or state.impersonator is not None:
        return False
    if state.session.get(USER_KEY) is None or state.session.get(FRESH) is not True:
        return False
    if max_age is None:
        return True
    since = state.session.get(FRESH_AT)
    return isinstance(since, int) and is_within(int(time.time()) - since, max_age)


@_fails_with_request
def is_remembered(state: LoginState) -> bool:
    """Return whether a remember token will log the user in again: see :func:`.actions.login_remembered`."""
    user_of(state)
    if state.ignores_session or state.impersonator is not None:
        return False
    user_id = state.session.get(USER_KEY)
    if state.remember_cookie is not None or user_id is None:
        return bool(state.remember_cookie)
    owner = state.login.owner
    if owner is not None:
        return was_remembered(owner.note)  # the remember token and the session end together
    return next(sent_tokens_of(state, user_id), None) is not None
