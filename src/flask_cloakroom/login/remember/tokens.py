"""Tokens that log a visitor in again after their session is over: what they say, and how they are made and checked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Protocol

from itsdangerous import BadData, URLSafeSerializer

from ...core.clock import is_within
from ...core.entries.family import Family
from ...core.entries.ownership import NOTHING_BEGUN, Begun, Ownership
from ...secret import Secret, SecretBytes
from .secret_keys import reading_keys, signing_keys

if TYPE_CHECKING:
    from flask import Flask

#: The first thing in a token's contents, so that another kind, should there be one, is told from this.
VERSION: Final = 1
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

    def issue(self, user_id: str, auth_hash: str, lifetime: int, begun: Begun = ...) -> str:
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


class SignedTokens:
    """Tokens that carry everything themselves, signed with SECRET_KEY: they need no store.

    Nor can one be revoked alone: a copy is good until it expires, ``session_auth_hash()`` changes, or the key does.
    """

    #: The name of the :class:`.kinds.UserKind` that has them; "" for the application's own users.
    kind = ""

    def __init__(self, app: Flask, *, clock: Callable[[], float] = time.time) -> None:
        """``clock`` returns seconds since the epoch."""
        self._app = app
        self._clock = clock

    def issue(self, user_id: str, auth_hash: str, lifetime: int, begun: Begun = NOTHING_BEGUN) -> str:
        """Sign one with the present key."""
        contents = [VERSION, user_id, int(self._clock()), lifetime, auth_hash]
        signed = self._serializer(signing_keys(self._app)).dumps(contents)
        token = Secret(signed if isinstance(signed, str) else signed.decode("ascii"))
        del signed  # a plain copy, which an error report would show
        if len(token) > LONGEST_TOKEN:
            raise ValueError(f"a user's id of {len(user_id)} characters does not fit into a cookie")
        return token

    def resolve(self, token: str) -> Remembered | None:
        """Check the signature by the present key and its fallbacks, then the time."""
        keys = reading_keys(self._app)
        if not keys:
            return None
        try:
            contents: Any = self._serializer(keys).loads(token)
        except BadData:
            return None
        match contents:
            case [version, str(user_id), int(issued), int(lifetime), str(auth_hash)] if version == VERSION:
                age = int(self._clock()) - issued
                if is_within(age, lifetime - 1):
                    return Remembered(user_id, auth_hash, age, lifetime, token)
        return None

    def use(self, remembered: Remembered, auth_hash: str) -> Used:
        """Use it as often as one likes. A foreign one is replaced."""
        if remembered.auth_hash is not None:
            return Used()
        return Used(self.issue(remembered.user_id, auth_hash, remembered.lifetime), remembered.lifetime)

    def accept(self, user_id: str, foreign: str, lifetime: int) -> Remembered:
        """Accept it as often as it comes: without a store nobody knows whether it came before."""
        return Remembered(user_id, None, 0, lifetime, foreign)

    def spend(self, foreign: str) -> None:
        """Do nothing, for that reason."""

    def stands(self, remembered: Remembered) -> bool:
        """Yes: nobody can revoke it."""
        return True

    def renew(self, remembered: Remembered, auth_hash: str) -> str:
        """Issue another one; those of before end with the digest that they carry."""
        return self.issue(remembered.user_id, auth_hash, max(1, remembered.lifetime - remembered.age))

    def extend(self, remembered: Remembered) -> str:
        """Issue another one."""
        return self.issue(remembered.user_id, remembered.auth_hash or "", remembered.lifetime)

    def revoke(self, token: str) -> str:
        """Do nothing: a signature cannot be taken back."""
        return ""

    def revoke_login(self, owner: Ownership) -> None:
        """Do nothing: what was not shown is not known either."""

    def _serializer(self, keys: list[SecretBytes]) -> URLSafeSerializer:
        # The salt keeps apart what else is signed with this key, and applications that share it (CVE-2020-17526).
        namespace = self._app.config.get("SESSION_NAMESPACE") or self._app.name
        of_kind = f"-of-kind:{self.kind}" if self.kind else ""
        salt = f"flask_cloakroom.login.remember.tokens{of_kind}:{namespace}"
        signer = {"key_derivation": "hmac", "digest_method": sha256}
        return URLSafeSerializer([*keys], salt=salt, serializer=json, signer_kwargs=signer)
