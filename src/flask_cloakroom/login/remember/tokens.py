"""``RememberTokens``: the protocol of remember tokens, with the contents of a token and the result of its use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from ...core.entries.family import Family
from ...core.entries.ownership import NewLogin, Ownership

#: The most characters of a token. A cookie has 4096 bytes with its name (RFC 6265bis, 5.6).
LONGEST_TOKEN: Final = 3900


@dataclass(frozen=True, slots=True)
class Remembered:
    """The contents of a valid token."""

    user_id: str
    #: The digest of the user's ``session_auth_hash()`` when the token was issued; "" if the user had none, None if this
    #: is unknown.
    auth_hash: str | None
    #: The age and the whole lifetime of the token, in seconds.
    age: int
    lifetime: int
    token: str
    #: The handle of the login in the list of the user's sessions; "" without such a list.
    handle: str = ""
    #: Whether a parallel request has just used the token. Then it only leads to the login of that request.
    used: bool = False
    #: The token family in the store, for stored tokens.
    family: Family | None = None

    def __repr__(self) -> str:
        return f"<Remembered used={self.used}>"


@dataclass(frozen=True, slots=True)
class Used:
    """The result of the use of a token. It is no tuple, because error reporters show the items of a tuple."""

    #: The next token and its lifetime in seconds; None if the browser keeps its token.
    token: str | None = None
    lifetime: int = 0
    #: The ticket of the session that all parallel uses of the token share; None if each gets its own session.
    ticket: str | None = None
    #: Whether this request was the first one that used the token.
    first: bool = True

    def __repr__(self) -> str:
        return f"<Used first={self.first}>"


class RememberTokens(Protocol):
    """Issues, checks and revokes remember tokens. One object may serve one request or the whole application."""

    def issue(self, user_id: str, auth_hash: str, lifetime: int, new_login: NewLogin = ...) -> str:
        """Return a new token: ``[A-Za-z0-9_.-]``, at most LONGEST_TOKEN characters.

        ``auth_hash``: the digest of the user's ``session_auth_hash()``, "" without one. ``lifetime`` is in seconds.
        ``new_login``: the description of the login for the list of the user's sessions. Raises SettingError if the
        application lacks a setting for remember tokens, and ValueError for an id that does not fit into a token.
        """
        ...

    def resolve(self, token: str) -> Remembered | None:
        """Return the contents of a token; None if it is forged, expired, revoked or of another application."""
        ...

    def use(self, remembered: Remembered, auth_hash: str) -> Used | None:
        """Use a token for a login, and return the result; None if the token was revoked meanwhile.

        ``auth_hash``: the digest of the user as loaded in this request.
        """
        ...

    def is_alive(self, remembered: Remembered) -> bool:
        """Return whether a used token has not been revoked since. Called when the login is stored."""
        ...

    def renew(self, remembered: Remembered, auth_hash: str) -> str | None:
        """Return a token with another digest in place of this one; None if this one was revoked."""
        ...

    def extend(self, remembered: Remembered) -> str | None:
        """Let the token live for its whole lifetime from now, and return it or a new one; None if it was revoked."""
        ...

    def revoke(self, token: str) -> str:
        """Revoke a token and its successors, and return the handle of their login, "" if there is none."""
        ...

    def revoke_login(self, owner: Ownership) -> None:
        """Revoke the tokens of a login, which the browser may not have sent."""
        ...


#: Methods of an application's own remember tokens, by the names that they may still have from an earlier version.
_EARLIER_NAMES: Final = {"is_alive": "stands", "refuse": "spend"}


class _PresentNames:
    """Remember tokens of an application, with the present names of methods that have earlier names there."""

    def __init__(self, tokens: Any) -> None:
        self._tokens = tokens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokens, _EARLIER_NAMES.get(name, name))


def with_present_names(tokens: Any) -> RememberTokens:
    """Return the remember tokens of an application, whose methods may be named as in an earlier version."""
    present: Any = tokens if hasattr(tokens, "is_alive") else _PresentNames(tokens)
    return cast(RememberTokens, present)
