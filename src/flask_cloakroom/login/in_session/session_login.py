"""What a login is in the session: written at its begin, compared at each load, removed at its end."""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections import UserDict
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from flask import Request, current_app
from flask import session as main_session
from flask.sessions import SessionMixin

from ...core.entries.ownership import NOTHING_BEGUN, Begun, Ownership
from ...core.entries.record import Record
from ...core.values.own_keys import is_user_id
from ...errors import SessionLimitError
from ...secret import HiddenContents, Secret
from ...sessions import ServerSession
from ...sessions.work import KEYS_OF_ONE_ID
from ..setup.config import AUTH_HASH, BROWSER, FORCED, FRESH, FRESH_AT, IMPERSONATED, SECRET, USER_ID
from .browser import browser_id
from .device_note import begun_by

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


class Description(HiddenContents, UserDict[str, Any]):
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


@dataclass(slots=True)
class KeptLogin:
    """What a session keeps of its login for the next requests. Nothing in it was checked."""

    user_id: Any
    impersonated: Any
    auth_hash: Any
    forced: bool
    browser: Any

    def __repr__(self) -> str:
        return "<KeptLogin>"


class SessionLogin:
    """The login in one session: its keys there, and the session around them. Lives as long as the request."""

    __slots__ = ("session",)

    def __init__(self, session: SessionMixin) -> None:
        self.session = session

    # -- asked ----------------------------------------------------------------------------------------------

    def kept(self) -> KeptLogin | None:
        """Return what the session keeps of a login; None if nobody is logged in."""
        get = self.session.get
        user_id = get(USER_ID)
        if user_id is None:
            return None
        return KeptLogin(user_id, get(IMPERSONATED), get(AUTH_HASH), get(FORCED) is True, get(BROWSER))

    @property
    def exists(self) -> bool:
        """Whether the session keeps anything of a login."""
        return any(key in self.session for key in _KEYS)

    @property
    def record(self) -> Record | None:
        """The stored session as this request read it; None if it is not on the server, or not stored yet."""
        return None

    @property
    def owner(self) -> Ownership | None:
        """What the stored session says of its owner."""
        return None

    @property
    def is_superseded(self) -> bool:
        """Whether the request is older than a login or logout that its browser has made meanwhile."""
        return False

    @property
    def may_change_browser(self) -> bool:
        """Whether SESSION_PROTECTION = "strong" spares the session, should its browser call itself something else.

        Flask's permanent session outlives the browser window, and with it an update of the browser. On the server
        sessions are permanent unless told otherwise, and strong means strong.
        """
        return self.session.permanent

    @property
    def log_name(self) -> str:
        """How the log names the session. Opens nothing."""
        return "session in cookie"

    def begun(self, request: Request, *, remembered: bool, handle: str = "") -> Begun:
        """Return what the list of the user's sessions says of a login that this request makes: :func:`begun_by`."""
        agent = request.headers.get("User-Agent")
        return begun_by(self.session, request.remote_addr, agent, remembered=remembered, handle=handle)

    # -- begun, changed and ended ---------------------------------------------------------------------------

    def begin(self, described: Description, begun: Begun = NOTHING_BEGUN) -> bool:
        """Write a login into the session, in the place of any other, under a new id. All else in the session stays.

        ``begun`` is what the list of sessions says of it. Where a limit may refuse the login, it is saved at once, so
        that this can say so: False, and the session is as before. Raises what saving raises.
        """
        for key in _KEYS:
            if key not in described:
                self.session.pop(key, None)
        self.session.update(described)
        self._renew_id()
        _void_tokens()
        return True

    def join(self, described: Description, begun: Begun, ticket: str, *, first: bool) -> bool:
        """Begin a login in the session of this ticket, or go on with it there: :meth:`ServerSession.join`.

        False: that session has ended, is another user's, or is one too many; then nobody is logged in. A session that
        is not on the server is no other request's, so there the login just begins.
        """
        return self.begin(described, begun)

    def rotate(self) -> None:
        """Void the CSRF tokens of a confirmed or changed login, and give its session a new id, if it has one."""
        self.session[SECRET] = str(_new_secret())
        self._renew_id()
        _void_tokens()

    def end(self) -> None:
        """End the login: on the server with the whole session, in Flask's cookie its own keys.

        Raises SessionUnavailable (503) if the store is down: then it has not ended.
        """
        self._remove()
        _void_tokens()

    def end_others(self, user_id: Any, handle: str, ticket: str) -> None:
        """End the sessions that a login has had before, where the store can tell which those are.

        Not that of ``ticket``, in which the login goes on: a parallel request may have made it already.
        Raises SessionUnavailable (503) if the store is down.
        """

    def give_up(self) -> None:
        """Let nothing of this request be saved, and its answer be a 503."""

    def _renew_id(self) -> None:
        """Give the session a new id, where it has one."""

    def _remove(self) -> None:
        for key in _KEYS:
            self.session.pop(key, None)


class CookieLogin(SessionLogin):
    """The login in a session that is not on the server: Flask's own, in its cookie, or an extension's."""

    __slots__ = ()


class ServerLogin(SessionLogin):
    """The login in a session on the server, which has an id, an owner and an end."""

    __slots__ = ()
    session: ServerSession

    @property
    def record(self) -> Record | None:
        """See :attr:`SessionLogin.record`."""
        return self.session.record

    @property
    def owner(self) -> Ownership | None:
        """See :attr:`SessionLogin.owner`."""
        return self.session.owner

    @property
    def is_superseded(self) -> bool:
        """See :attr:`SessionLogin.is_superseded`."""
        return self.session.superseded

    @property
    def may_change_browser(self) -> bool:
        """Never: see :attr:`SessionLogin.may_change_browser`."""
        return False

    @property
    def log_name(self) -> str:
        """See :attr:`SessionLogin.log_name`."""
        return f"session {self.session.sid or 'new'}"

    def begin(self, described: Description, begun: Begun = NOTHING_BEGUN) -> bool:
        """See :meth:`SessionLogin.begin`."""
        limit = self.session.repository.owners.limit
        may_refuse = limit is not None and limit.policy == "refuse"
        before = self._written() if may_refuse else {}
        super().begin(described, begun)
        self.session.describe(begun)
        try:
            if may_refuse:
                self.session.save_now()
        except SessionLimitError as error:
            return self._refused(before, error)
        return True

    def join(self, described: Description, begun: Begun, ticket: str, *, first: bool) -> bool:
        """See :meth:`SessionLogin.join`."""
        before = self._written()
        self.session.describe(begun)
        try:
            joined = self.session.join(ticket, described, first=first)
        except SessionLimitError as error:
            return self._refused(before, error)
        if not joined:
            # What is in this session now must not be saved as another one's beginning.
            self._restore(before)
            log.info("%s: a remembered login was not made, because it has ended already", self.log_name)
        return joined and self.session.get(USER_ID) == described[USER_ID]

    def end_others(self, user_id: Any, handle: str, ticket: str) -> None:
        """See :meth:`SessionLogin.end_others`."""
        repository = self.session.repository
        if repository.owners.is_kept:
            with self.session.outage():
                tickets = repository.tickets
                spare = tickets.fingerprint(ticket)
                repository.owners.end_sessions(tickets.owner_name(str(user_id)), handle, spare=spare)

    def give_up(self) -> None:
        """See :meth:`SessionLogin.give_up`."""
        self.session.give_up()

    def _renew_id(self) -> None:
        self.session.rotate()

    def _remove(self) -> None:
        self.session.destroy()

    def _written(self) -> dict[str, Any]:
        """Return the keys of the session's login; nothing if :func:`description` cannot have made them."""
        found = {key: self.session[key] for key in _KEYS if key in self.session}
        return found if all(isinstance(value, bool) or is_user_id(value) for value in found.values()) else {}

    def _refused(self, before: dict[str, Any], error: SessionLimitError) -> bool:
        log.info("%s: a login was refused: %s", self.log_name, error)
        self._restore(before)
        return False

    def _restore(self, before: dict[str, Any]) -> None:
        for key in _KEYS:
            self.session.pop(key, None)
        self.session.update(before)


def login_in(session: SessionMixin) -> SessionLogin:
    """Return the login in a session, of the class that fits the session."""
    return ServerLogin(session) if isinstance(session, ServerSession) else CookieLogin(session)


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
