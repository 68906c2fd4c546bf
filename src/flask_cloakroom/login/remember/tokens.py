"""Tokens that log a visitor in again after their session is over: what they say, and what makes and checks them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from ...core.entries.family import Family
from ...core.entries.ownership import NewLogin, Ownership

#: Characters: a cookie has 4096 bytes (RFC 6265bis, 5.6), with its name.
LONGEST_TOKEN: Final = 3900


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a good token says."""

    user_id: str
    #: Digest of the user's ``session_auth_hash()`` when it was issued; "" if there was none, None if nobody knows.
    auth_hash: str | None
    #: For how many seconds it has lived, and for how many it may.
    age: int
    lifetime: int
    token: str
    #: Names the login in the list of its user's sessions; "" where there is none.
    handle: str = ""
    #: Whether it has been used a moment ago, and is good only to go on with the login that was made of it.
    used: bool = False
    #: What is stored of it, if anything is.
    family: Family | None = None

    def __repr__(self) -> str:
        return f"<Remembered used={self.used}>"


@dataclass(frozen=True, slots=True)
class Used:
    """What the use of a token leads to. No tuple, because error reporters look into those."""

    #: The token that takes its place, and for how many seconds; None: it stays.
    token: str | None = None
    lifetime: int = 0
    #: The ticket of the session in which all who used the token end up; None: each gets one of its own.
    ticket: str | None = None
    #: Whether this request was the first who used it.
    first: bool = True

    def __repr__(self) -> str:
        return f"<Used first={self.first}>"


class RememberTokens(Protocol):
    """Makes, checks and ends remember tokens. A request asks one object; it may live as long as the application."""

    def issue(self, user_id: str, auth_hash: str, lifetime: int, begun: NewLogin = ...) -> str:
        """Return a new token: ``[A-Za-z0-9_.-]``, at most LONGEST_TOKEN characters. ``lifetime`` is in seconds.

        ``begun`` is what the list of the user's sessions says of the login. Raises SettingError if the application is
        not set up for it, ValueError for an id that doesn't fit.
        """
        ...

    def resolve(self, token: str) -> Remembered | None:
        """Return what a token says; None if it was forged, is not of this application, has expired or was revoked."""
        ...

    def use(self, remembered: Remembered, auth_hash: str) -> Used | None:
        """Use a token to log in the user, who has this digest; None if it was revoked meanwhile."""
        ...

    def stands(self, remembered: Remembered) -> bool:
        """Tell whether a token that was used has not been revoked since. Asked once the login is there."""
        ...

    def renew(self, remembered: Remembered, auth_hash: str) -> str | None:
        """Return the token that takes the place of this one now that the user has another digest; None if it ended."""
        ...

    def extend(self, remembered: Remembered) -> str | None:
        """Let the login be remembered for its whole lifetime from now; return the token, None if it was revoked."""
        ...

    def revoke(self, token: str) -> str:
        """End a token and all that were made of it. Return the handle of their login, "" if there is none."""
        ...

    def revoke_login(self, owner: Ownership) -> None:
        """End what remembers this login, which the browser may not have shown."""
        ...
