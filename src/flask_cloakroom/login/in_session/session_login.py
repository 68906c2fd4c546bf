"""What a login is in the session: written at its begin, compared at each load, removed at its end."""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections import UserDict
from hashlib import sha256
from typing import Any, Final

from flask import current_app
from flask import session as main_session
from flask.sessions import SessionMixin

from ...core.entries.ownership import NOTHING_BEGUN, Begun, Ownership
from ...core.entries.record import Record
from ...core.values.own_keys import is_user_id
from ...errors import SessionLimitError
from ...secret import Closed, Secret
from ...sessions import ServerSession
from ...sessions.work import KEYS_OF_ONE_ID
from ..setup.config import AUTH_HASH, BROWSER, FORCED, FRESH, FRESH_AT, IMPERSONATED, SECRET, USER_ID
from .browser import browser_id

log = logging.getLogger("flask_cloakroom.login")

_KEYS: Final = (USER_ID, FRESH, FRESH_AT, BROWSER, AUTH_HASH, FORCED, IMPERSONATED, SECRET)

#: Random bytes in a login's secret: 128 bits, as OWASP ASVS 5.0, 7.2.3, asks for. Flask's own session shows its
#: contents to the browser that has it, so the secret must not be guessable from anything else there.
_SECRET_BYTES: Final = 16


def auth_hash_of(user: Any) -> str:
    """Return a digest of what ``user.session_auth_hash()`` returns (str or bytes); "" if there is none, or it is None.

    Only the digest is kept, because Flask's own session shows its contents to the visitor. Raises TypeError for
    anything else.
    """
    given = getattr(user, "session_auth_hash", None)
    if callable(given):
        given = given()
    if given is None:
        return ""
    if isinstance(given, str):
        given = given.encode("utf-8", "surrogatepass")
    if not isinstance(given, bytes):
        raise TypeError(f"session_auth_hash() must return str or bytes, not {type(given).__name__}")
    return sha256(b"flask_cloakroom.session_auth_hash:" + given).hexdigest()


def has_auth_hash(kept: object, user: Any) -> bool:
    """Tell whether a kept digest is that of the user as they are now.

    A login from before the application had ``session_auth_hash()`` keeps none, and then nobody knows what it was.
    """
    given = kept if isinstance(kept, str) else ""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), auth_hash_of(user).encode())


class Description(Closed, UserDict[str, Any]):
    """The keys of a login in its session, and their values. The repr shows none of them."""

    def __repr__(self) -> str:
        return "<Description>"


def description(user: Any, user_id: Any, *, fresh: bool, forced: bool, user_agent: str | None) -> Description:
    """Return what the session keeps of a login, key by key."""
    described = Description(
        {USER_ID: user_id, FRESH: bool(fresh), BROWSER: browser_id(user_agent), SECRET: str(_new_secret())}
    )
    digest = auth_hash_of(user)
    if digest:
        described[AUTH_HASH] = digest
    if fresh:
        described[FRESH_AT] = int(time.time())
    if forced:
        described[FORCED] = True
    return described


def begin(session: SessionMixin, described: Description, begun: Begun = NOTHING_BEGUN) -> bool:
    """Write a login into the session, in the place of any other, under a new id. All else in the session stays.

    ``begun`` is what the list of sessions says of it. Where a limit may refuse the login, it is saved at once, so that
    this can say so: False, and the session is as before. Raises what saving raises.
    """
    before = _login_in(session)
    for key in _KEYS:
        if key not in described:
            session.pop(key, None)
    session.update(described)
    kept = server_session(session)
    if kept is not None:
        kept.rotate()
    _void_tokens()
    if kept is None:
        return True
    kept.describe(begun)
    limit = kept.repository.owners.limit
    if limit is not None and limit.policy == "refuse":
        try:
            kept.save_now()
        except SessionLimitError as error:
            return _refused(kept, before, error)
    return True


def join(session: ServerSession, described: Description, begun: Begun, ticket: str, *, first: bool) -> bool:
    """Begin a login in the session of this ticket, or go on with it there: :meth:`ServerSession.join`.

    False: that session has ended, is another user's, or is one too many; then nobody is logged in.
    """
    before = _login_in(session)
    session.describe(begun)
    try:
        joined = session.join(ticket, described, first=first)
    except SessionLimitError as error:
        return _refused(session, before, error)
    if not joined:
        # What is in this session now must not be saved as another one's beginning.
        _restore(session, before)
        log.info("%s: a remembered login was not made, because it has ended already", public_id(session))
    return joined and session.get(USER_ID) == described[USER_ID]


def _refused(session: ServerSession, before: dict[str, Any], error: SessionLimitError) -> bool:
    log.info("%s: a login was refused: %s", public_id(session), error)
    _restore(session, before)
    return False


def _restore(session: ServerSession, before: dict[str, Any]) -> None:
    for key in _KEYS:
        session.pop(key, None)
    session.update(before)


def _login_in(session: SessionMixin) -> dict[str, Any]:
    """Return the login that a session holds, key by key; nothing if :func:`description` cannot have made it."""
    found = {key: session[key] for key in _KEYS if key in session}
    return found if all(isinstance(value, bool) or is_user_id(value) for value in found.values()) else {}


def end_others(session: ServerSession, user_id: Any, handle: str, ticket: str) -> None:
    """End the sessions that a login has had before, where the store can tell which those are.

    Not that of ``ticket``, in which the login goes on: a parallel request may have made it already.
    Raises SessionUnavailable (503) if the store is down.
    """
    repository = session.repository
    if repository.owners.is_kept:
        with session.outage():
            tickets = repository.tickets
            spare = tickets.fingerprint(ticket)
            repository.owners.end_sessions(tickets.owner_name(str(user_id)), handle, spare=spare)


def give_up(session: SessionMixin) -> None:
    """Let nothing of this request be saved, and its answer be a 503."""
    kept = server_session(session)
    if kept is not None:
        kept.give_up()


def owner_of(session: SessionMixin) -> Ownership | None:
    """Return what the stored session says of its owner."""
    record = record_of(session)
    return None if record is None else Ownership.parse(record.header.owner)


def record_of(session: SessionMixin) -> Record | None:
    """Return the stored session as this request read it; None if it is not on the server, or not stored yet."""
    kept = server_session(session)
    if kept is None:
        return None
    return kept.record


def change(session: SessionMixin) -> None:
    """Void the CSRF tokens of a login that was confirmed or changed; give its session a new id, where it has one."""
    session[SECRET] = str(_new_secret())
    kept = server_session(session)
    if kept is not None:
        kept.rotate()
    _void_tokens()


def secret_of(session: SessionMixin) -> Secret | None:
    """Return the secret of the session's login: "" if other code wrote the login, None if nobody is logged in."""
    if session.get(USER_ID) is None:
        return None
    return Secret(secret) if isinstance(secret := session.get(SECRET), str) else Secret()


def _new_secret() -> Secret:
    return Secret(secrets.token_urlsafe(_SECRET_BYTES))


def _void_tokens() -> None:
    """Drop the CSRF secret of the application's own session.

    A token is made with the secret of each login as well. That alone would let a token from before a login of another
    kind of user be good again after the logout.
    """
    for key in current_app.extensions.get(KEYS_OF_ONE_ID, ()):
        if key in main_session:
            del main_session[key]


def end(session: SessionMixin) -> None:
    """End the login: on the server with the whole session, in Flask's cookie its own keys.

    Raises SessionUnavailable (503) if the store is down: then it has not ended.
    """
    kept = server_session(session)
    if kept is not None:
        kept.destroy()
    else:
        for key in _KEYS:
            session.pop(key, None)
    _void_tokens()


def has_login(session: SessionMixin) -> bool:
    """Tell whether the session keeps anything of a login."""
    return any(key in session for key in _KEYS)


def server_session(session: SessionMixin) -> ServerSession | None:
    """Return the session if it is one of ours."""
    return session if isinstance(session, ServerSession) else None


def public_id(session: SessionMixin) -> str:
    """Return how the log names the session; it opens nothing."""
    kept = server_session(session)
    return "session in cookie" if kept is None else f"session {kept.sid or 'new'}"
