"""``RememberTokens``: the protocol of remember tokens, with the contents of a token and the result of its use."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from ...core.entries.family import Family
from ...core.entries.ownership import NewLogin, Ownership
from ...sessions.outage import SessionUnavailable

log = logging.getLogger("flask_cloakroom.login")

#: The greatest number of characters of a token. A cookie may have 4096 bytes with its name (RFC 6265bis, 5.6).
LONGEST_TOKEN: Final = 3900


@dataclass(frozen=True, slots=True)
class Remembered:
    """The contents of a valid token."""

    user_id: str
    #: The digest of the user's ``session_auth_hash()`` when the token was issued: "" if the user had no such method,
    #: None if the digest is unknown.
    auth_hash: str | None
    #: The age and the whole lifetime of the token, in seconds.
    age: int
    lifetime: int
    token: str
    #: The handle of the login in the list of the user's sessions, or "" without such a list.
    handle: str = ""
    #: Whether a parallel request has just used the token. Then this request can only join the login of that request.
    used: bool = False
    #: The token family in the store, or None for a signed token.
    family: Family | None = None
    #: Whether the token was used long ago, and the browser has shown nothing of the result. Its use is a repeat.
    unshown: bool = False

    def __repr__(self) -> str:
        return f"<Remembered used={self.used}>"


@dataclass(frozen=True, slots=True)
class Used:
    """The result of the use of a token. The class is no tuple, because error reporters show the items of a tuple."""

    #: The next token and its lifetime in seconds. The token is None if the browser's token stays valid.
    token: str | None = None
    lifetime: int = 0
    #: The ticket of the session that all parallel uses of the token share, or None if each use gets its own session.
    ticket: str | None = None
    #: Whether this request was the first one that used the token. Also True for the first request of a repeat.
    first: bool = True
    #: After a repeat, the tickets of the sessions that earlier uses led to and that no browser has shown, newest first.
    earlier: tuple[str, ...] = ()
    #: The packed value for the session of ``ticket`` under the key ``own_keys.UNSHOWN_KEY``, or None for no such value.
    unshown: bytes | None = None

    def __repr__(self) -> str:
        return f"<Used first={self.first}>"


class RememberTokens(Protocol):
    """Issues, checks and revokes remember tokens. An object may serve one request only, or the whole application."""

    def issue(self, user_id: str, auth_hash: str, lifetime: int, new_login: NewLogin = ...) -> str:
        """Return a new token with at most LONGEST_TOKEN characters of ``[A-Za-z0-9_.-]``.

        ``auth_hash``: the digest of the user's ``session_auth_hash()``, or "" if the user has no such method.
        ``lifetime`` is in seconds. ``new_login``: the description of the login for the list of the user's sessions.
        Raises SettingError if the application lacks a setting for remember tokens, and ValueError for a user id that
        does not fit into a token.
        """
        ...

    def resolve(self, token: str) -> Remembered | None:
        """Return the contents of a token, or None if it is forged, expired, revoked or of another application."""
        ...

    def use(self, remembered: Remembered, auth_hash: str) -> Used | None:
        """Use a token for a login. Return the result, or None if the token was revoked after :meth:`resolve`.

        ``auth_hash``: the digest of ``session_auth_hash()`` of the user that this request has loaded.
        """
        ...

    def is_alive(self, remembered: Remembered) -> bool:
        """Return False if a token was revoked after its use. Called after the login is written."""
        ...

    def renew(self, remembered: Remembered, auth_hash: str) -> str | None:
        """Return a new token with another digest, which replaces this token, or None if this token was revoked."""
        ...

    def extend(self, remembered: Remembered) -> str | None:
        """Let the token expire a whole lifetime from now. Return it or a new token, or None if it was revoked."""
        ...

    def revoke(self, token: str) -> str:
        """Revoke a token and the tokens that replaced it. Return the handle of their login, or "" without a handle."""
        ...

    def revoke_login(self, owner: Ownership) -> None:
        """Revoke the tokens of a login, which the browser may not have sent."""
        ...


class RetriesRevocation(Protocol):
    """Remember tokens whose revocation need not fail the request. A class of :class:`RememberTokens` may lack this."""

    def revoke_or_retry(self, token: str) -> str:
        """Revoke a token as ``revoke()`` does. If the store is down, return "" and try again later."""
        ...

    def revoke_login_or_retry(self, owner: Ownership) -> None:
        """Revoke the tokens of a login as ``revoke_login()`` does. If the store is down, try again later."""
        ...


def retrying(tokens: RememberTokens) -> RetriesRevocation:
    """Return tokens whose revocation never raises a 503, for tokens that no browser needs any more.

    If the store is down, tokens with the methods of :class:`RetriesRevocation` are revoked later. For other tokens a
    warning says that they stay valid.
    """
    present: Any = tokens if hasattr(tokens, "revoke_or_retry") else _Unretried(tokens)
    return cast(RetriesRevocation, present)


class _Unretried:
    def __init__(self, tokens: RememberTokens) -> None:
        self._tokens = tokens

    def revoke_or_retry(self, token: str) -> str:
        with _warning_if_down():
            return self._tokens.revoke(token)
        return ""

    def revoke_login_or_retry(self, owner: Ownership) -> None:
        with _warning_if_down():
            self._tokens.revoke_login(owner)


@contextmanager
def _warning_if_down() -> Iterator[None]:
    try:
        yield
    except SessionUnavailable:
        log.warning("a remember token was not revoked, because its store is down. The token stays valid")


#: The methods of :class:`RememberTokens` that an earlier version of this package had under another name, and that name.
_EARLIER_NAMES: Final = {"is_alive": "stands", "refuse": "spend"}


class _PresentNames:
    """Remember tokens whose class has the earlier method names. Here the methods also have today's names."""

    def __init__(self, tokens: Any) -> None:
        self._tokens = tokens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokens, _EARLIER_NAMES.get(name, name))


def with_present_names(tokens: Any) -> RememberTokens:
    """Return ``tokens`` with today's method names, even if their class has the earlier method names."""
    present: Any = tokens if hasattr(tokens, "is_alive") else _PresentNames(tokens)
    return cast(RememberTokens, present)
