"""The login in a session: its keys are written when it begins, compared at each load, and removed when it ends."""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections import UserDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from flask import current_app
from flask import session as main_session
from flask.sessions import SessionMixin

from ...core.entries.ownership import UNDESCRIBED, NewLogin, Ownership
from ...core.sessions.remember_families import UNSHOWN_SAMPLE
from ...core.values import codec
from ...core.values.own_keys import UNSHOWN_KEY, USER_KEY, is_user_id
from ...core.values.rebase import Changes
from ...errors import SessionLimitError, SessionTooLargeError, SessionValueError
from ...secret import HiddenContents, Secret, SecretBytes
from ...sessions import ServerSession
from ...sessions.concurrent_login import SharedLogin, join
from ...sessions.work import DELETED_AT_ROTATION
from ..remember.tokens import Used
from ..setup.users import is_set

log = logging.getLogger("flask_cloakroom.login")

#: The session key of a bool: whether the login is fresh. Most session keys of a login have Flask-Login's names.
FRESH: Final = "_fresh"
#: The session key of the time when the login became fresh, in seconds since the epoch.
FRESH_AT: Final = "_fresh_at"
#: The session key of a digest of the User-Agent header of the browser that logged in.
BROWSER: Final = "_id"
#: The session key of a digest of ``session_auth_hash()``.
AUTH_HASH: Final = "_auth_hash"
#: The session key of True, if the login was forced for a user who is not active.
FORCED: Final = "_forced"
#: The session key of the id of the impersonated user.
IMPERSONATED: Final = "_impersonated"
#: The session key of the login's secret, a random text. CSRF tokens depend on this text. It is replaced when the login
#: begins, is confirmed, or begins or ends an impersonation.
SECRET: Final = "_login_secret"  # noqa: S105  a session key, and no secret

_KEYS: Final = (USER_KEY, FRESH, FRESH_AT, BROWSER, AUTH_HASH, FORCED, IMPERSONATED, SECRET)
#: All session keys that a login may have. "next" is written with USE_SESSION_FOR_NEXT. Only Flask-Login writes
#: "_remember" and "_remember_seconds".
SESSION_KEYS = {*_KEYS, "_remember", "_remember_seconds", "next"}

#: Length in bytes of a login's secret. It gives 128 bits; OWASP ASVS 5.0, 7.2.3, asks for at least 128 bits. A visitor
#: can read the contents of Flask's own session, so the secret must not be calculable from the other contents.
_SECRET_BYTES: Final = 16


def auth_hash_of(user: Any) -> str:
    """Return a digest of ``user.session_auth_hash()``, in hexadecimal, or "" if the method is missing or returns None.

    Only the digest is stored, because Flask's own session shows its contents to the visitor. Raises TypeError if the
    value is neither str nor bytes.
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


def browser_id(user_agent: str | None) -> str:
    """Return a digest of a User-Agent header, in hexadecimal, for SESSION_PROTECTION.

    The digest does not depend on the IP address: the address changes while people travel, and anybody can write another
    address into a proxy's header.
    """
    return sha256((user_agent or "").encode("utf-8", "surrogatepass")).hexdigest()


def is_same_digest(stored: object, digest: str) -> bool:
    """Return whether ``stored``, a digest from the session, equals ``digest``.

    The time of the comparison does not depend on the difference, so an attacker learns nothing from the time. A value
    that is no text counts as "", the digest of a user without ``session_auth_hash()``.
    """
    given = stored if isinstance(stored, str) else ""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), digest.encode())


def login_problem(user: Any, auth_hash: object, *, forced: bool = False, unknown_hash: bool = False) -> str | None:
    """Return why an earlier login is not valid any more, as the end of a sentence, or None if the login is valid.

    ``auth_hash``: the digest that was stored at the login. ``unknown_hash``: no digest was stored. ``forced``: the
    login is valid even if the user is not active.
    """
    if user is None:
        return "the user does not exist any more"
    if not forced and not is_set(user, "is_active"):
        return "the user is not active"
    if not unknown_hash and not is_same_digest(auth_hash, auth_hash_of(user)):
        return "session_auth_hash() has changed"
    return None


class LoginValues(HiddenContents, UserDict[str, Any]):
    """The session keys of a new login and their values. The repr shows neither keys nor values."""

    def __repr__(self) -> str:
        return "<LoginValues>"


def login_values(user: Any, user_id: Any, *, fresh: bool, forced: bool, user_agent: str | None) -> LoginValues:
    """Return the session keys of a new login with their values."""
    values = LoginValues(
        {USER_KEY: user_id, FRESH: bool(fresh), BROWSER: browser_id(user_agent), SECRET: str(_new_secret())}
    )
    digest = auth_hash_of(user)
    if digest:
        values[AUTH_HASH] = digest
    if fresh:
        values[FRESH_AT] = int(time.time())
    if forced:
        values[FORCED] = True
    return values


@dataclass(slots=True)
class StoredLogin:
    """The values of a login that an earlier request stored in the session. The values are not checked."""

    user_id: Any
    impersonated: Any
    auth_hash: Any
    forced: bool
    browser: Any

    def __repr__(self) -> str:
        return "<StoredLogin>"


class SessionLogin:
    """The login in one session. The object lives as long as the request.

    A session on the server has a public id and an owner, and can be ended. For a session in Flask's cookie, or of
    another extension, this class only changes the session keys of the login.
    """

    __slots__ = ("server_session", "session")

    def __init__(self, session: SessionMixin) -> None:
        self.session = session
        #: The session if it is on the server, otherwise None.
        self.server_session = session if isinstance(session, ServerSession) else None

    def stored(self) -> StoredLogin | None:
        """Return the login that is stored in the session, or None if nobody is logged in."""
        get = self.session.get
        user_id = get(USER_KEY)
        if user_id is None:
            return None
        return StoredLogin(user_id, get(IMPERSONATED), get(AUTH_HASH), get(FORCED) is True, get(BROWSER))

    @property
    def exists(self) -> bool:
        """Whether the session has any session key of a login."""
        return not self.session.keys().isdisjoint(_KEYS)

    @property
    def owner(self) -> Ownership | None:
        """The owner and handle of the session's entry, or None if the session has no owner or is not on the server."""
        return None if self.server_session is None else self.server_session.owner

    @property
    def log_name(self) -> str:
        """The name of the session in the log. It gives no access to the session."""
        return "session in cookie" if self.server_session is None else f"session {self.server_session.sid or 'new'}"

    # -- changes ----------------------------------------------------------------------------------------------

    def begin(self, values: LoginValues, new_login: NewLogin = UNDESCRIBED) -> bool:
        """Write a login into the session, in place of an earlier login, and return True.

        The session gets a new ticket; its other contents stay. ``new_login`` is the description for the list of the
        user's sessions. If SESSION_LIMIT_POLICY is "refuse", this call saves the session before it returns. Then it
        returns False if the user has too many sessions, and the session stays as it was.

        Raises SessionUnavailable (503) and the other errors of a save.
        """
        server = self.server_session
        before: dict[str, Any] | None = None
        if server is not None:
            limit = server.repository.owners.limit
            server.new_login = new_login
            if limit is not None and limit.policy == "refuse":
                before = self._current_values()
        self._write(values)
        self._renew_id()
        if server is None or before is None:
            return True
        try:
            server.save_now(provisional=True)
        except SessionLimitError as error:
            return self._undo(before, error)
        return True

    def fits(self, values: LoginValues, new_login: NewLogin) -> bool:
        """Return whether a login by remember token fits into the session as it is stored now. Write nothing.

        Return False and log a warning if the session would be too large. Raises SessionValueError if a change of this
        request cannot be stored, so that the token is not used for a session that cannot be saved.
        """
        server = self.server_session
        if server is None:
            return True
        server.changes()
        try:
            server.repository.check_size(server.record, _packed(values, UNSHOWN_SAMPLE), rotates=True, login=new_login)
        except SessionTooLargeError as error:
            return self._refuse_size(error)
        return True

    def join(self, values: LoginValues, new_login: NewLogin, used: Used) -> bool:
        """Begin a login in the session of ``used.ticket``, or join the login there: see :func:`.concurrent_login.join`.

        Return True if the user is logged in. Return False if the session of the ticket has ended or belongs to another
        user, if it would be too large, or if the user has too many sessions. Then the session stays as it was. A
        session that is not on the server has no ticket, so its login begins as in :meth:`begin`.
        """
        server = self.server_session
        if server is None or used.ticket is None:
            return self.begin(values, new_login)
        owner = server.repository.tickets.owner_name(str(values[USER_KEY]))
        login = SharedLogin(used.ticket, _packed(values, used.unshown), new_login, owner, used.first, used.earlier)
        try:
            joined = join(server, login)
        except SessionLimitError as error:
            log.info("%s: a login was refused: %s", self.log_name, error)
            return False
        except SessionTooLargeError as error:
            return self._refuse_size(error)
        if not joined:
            log.info("%s: the user of a remember token was not logged in, because that login has ended", self.log_name)
        return joined and self.session.get(USER_KEY) == values[USER_KEY]

    def _refuse_size(self, error: SessionTooLargeError) -> bool:
        log.warning("%s: the user of a remember token was not logged in: %s", self.log_name, error)
        return False

    def rotate(self) -> None:
        """Give the session of a confirmed or changed login a new ticket, and make its CSRF tokens invalid."""
        self.session[SECRET] = str(_new_secret())
        self._renew_id()

    def end(self) -> None:
        """End the login. A session on the server ends; from Flask's cookie only the login's session keys are removed.

        Raises SessionUnavailable (503) if the store is down; then the login has not ended.
        """
        if self.server_session is None:
            self._write({})
        else:
            self.server_session.destroy()
        _drop_csrf_secret()

    def abort(self) -> None:
        """If the session is on the server, save none of this request's changes, and answer the request with a 503."""
        if self.server_session is not None:
            self.server_session.fail()

    def _renew_id(self) -> None:
        _drop_csrf_secret()
        if self.server_session is not None:
            self.server_session.rotate()

    def _current_values(self) -> dict[str, Any]:
        """Return the login's session keys and values, or an empty dict if other code wrote one of the values."""
        found = {key: self.session[key] for key in _KEYS if key in self.session}
        return found if all(isinstance(value, bool) or is_user_id(value) for value in found.values()) else {}

    def _undo(self, before: dict[str, Any], error: SessionLimitError) -> bool:
        log.info("%s: a login was refused: %s", self.log_name, error)
        self._write(before)
        return False

    def _write(self, values: Mapping[str, Any]) -> None:
        """Write these session keys of a login, and remove its other keys, also keys whose values cannot be decoded."""
        for key in _KEYS:
            if key not in values:
                with suppress(KeyError):
                    del self.session[key]
        self.session.update(values)


def _packed(values: LoginValues, unshown: bytes | None) -> Changes:
    """Return the changes of a session by a login: its keys with their packed values, and None for other login keys.

    ``unshown``: the packed value of UNSHOWN_KEY, or None for no such value. Raises SessionValueError.
    """
    changes: dict[str, bytes | None] = {**dict.fromkeys(_KEYS), UNSHOWN_KEY: unshown}
    for key in values:
        try:
            changes[key] = SecretBytes(codec.pack(values[key]))
        except codec.UnsupportedTypeError as error:
            raise SessionValueError(f"session[{key!r}]", error.type_name, error.hint) from None
    return changes


def secret_of(session: SessionMixin) -> Secret | None:
    """Return the secret of the session's login, or "" if other code wrote the login, or None if nobody is logged in."""
    if session.get(USER_KEY) is None:
        return None
    return Secret(secret) if isinstance(secret := session.get(SECRET), str) else Secret()


def _new_secret() -> Secret:
    return Secret(secrets.token_urlsafe(_SECRET_BYTES))


def _drop_csrf_secret() -> None:
    """Remove the CSRF secret from the application's own session, so that earlier CSRF tokens are invalid for ever.

    A CSRF token is also made with the secret of each login. If the CSRF secret stayed the same, a token from before a
    login of another user kind would be valid again after the logout.
    """
    for key in current_app.extensions.get(DELETED_AT_ROTATION, ()):
        if key in main_session:
            del main_session[key]
