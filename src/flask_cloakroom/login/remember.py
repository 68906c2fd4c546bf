"""Tokens that log a visitor in again after their session is over: what they say, and how they are made and checked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Protocol

from itsdangerous import BadData, URLSafeSerializer

from .signing import as_key, reading_keys, signing_keys

if TYPE_CHECKING:
    from flask import Flask

#: The first thing in a token's contents, so that another kind, should there be one, is told from this.
VERSION: Final = 1
#: Seconds that a token may come from the future: how far the clocks of two servers may be apart.
CLOCK_SKEW: Final = 60
#: Characters: a cookie has 4096 bytes (RFC 6265bis, 5.6), with its name.
LONGEST_TOKEN: Final = 3900


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a good token says."""

    user_id: str
    #: Digest of the user's ``session_auth_hash()`` when it was issued; "" if there was none.
    auth_hash: str
    #: Seconds since the epoch.
    issued: int
    #: Seconds.
    lifetime: int
    #: A token that has to take the place of the one that was shown, or None.
    replacement: str | None = None


class RememberTokens(Protocol):
    """Makes, checks and ends remember tokens. A request asks one object; it may live as long as the application."""

    def issue(self, user_id: str, auth_hash: str, lifetime: int) -> str:
        """Return a new token: ``[A-Za-z0-9_.-]``, at most LONGEST_TOKEN characters. ``lifetime`` is in seconds.

        Raises SettingError if the application is not set up for it, ValueError for an id that doesn't fit.
        """
        ...

    def resolve(self, token: str) -> Remembered | None:
        """Return what a token says; None if it was forged, is not of this application, has expired or was revoked."""
        ...

    def revoke(self, token: str) -> None:
        """End a token, and what was made of it. Nothing happens if it was none."""
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

    def issue(self, user_id: str, auth_hash: str, lifetime: int) -> str:
        """Sign one with the present key."""
        contents = [VERSION, user_id, int(self._clock()), lifetime, auth_hash]
        token = self._serializer(signing_keys(self._app)).dumps(contents)
        if len(token) > LONGEST_TOKEN:
            raise ValueError(f"a user's id of {len(user_id)} characters does not fit into a cookie")
        return token if isinstance(token, str) else token.decode("ascii")

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
                age = self._clock() - issued
                if -CLOCK_SKEW <= age < lifetime:
                    return Remembered(user_id, auth_hash, issued, lifetime)
        return None

    def revoke(self, token: str) -> None:
        """Do nothing: a signature cannot be taken back."""

    def _serializer(self, keys: list[str | bytes]) -> URLSafeSerializer:
        # The salt keeps apart what else is signed with this key, and applications that share it (CVE-2020-17526).
        namespace = self._app.config.get("SESSION_NAMESPACE") or self._app.name
        of_kind = f"-of-kind:{self.kind}" if self.kind else ""
        salt = f"flask_cloakroom.login.remember{of_kind}:{namespace}"
        signer = {"key_derivation": "hmac", "digest_method": sha256}
        return URLSafeSerializer([as_key(key) for key in keys], salt=salt, serializer=json, signer_kwargs=signer)
