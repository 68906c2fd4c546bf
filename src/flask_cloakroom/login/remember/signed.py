"""Remember tokens without a store: signed with SECRET_KEY, and valid until they expire."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

from flask import Flask
from itsdangerous import BadData, URLSafeSerializer

from ...core.clock import is_within
from ...core.entries.ownership import UNDESCRIBED, NewLogin, Ownership
from ...secret import Secret, SecretBytes
from .secret_keys import signing_keys, verifying_keys
from .tokens import LONGEST_TOKEN, Remembered, Used

#: The version of the format, which is the first item of a token's contents. A later format gets another number.
VERSION: Final = 1


class SignedTokens:
    """Tokens whose contents are signed with SECRET_KEY, so that they need no store.

    A single token cannot be revoked. A copy of a token is valid until the token expires, or until the user's
    ``session_auth_hash()`` or SECRET_KEY changes.
    """

    def __init__(self, app: Flask, *, kind: str = "", clock: Callable[[], float] = time.time) -> None:
        """Make the tokens of an application.

        ``kind``: the name of the UserKind, or "" for the application's own users. ``clock`` returns seconds since the
        epoch.
        """
        self._app = app
        self._kind = kind
        self._clock = clock

    def issue(self, user_id: str, auth_hash: str, lifetime: int, new_login: NewLogin = UNDESCRIBED) -> str:
        """Return a new token, signed with SECRET_KEY."""
        contents = [VERSION, user_id, int(self._clock()), lifetime, auth_hash]
        signed = self._serializer(signing_keys(self._app)).dumps(contents)
        token = Secret(signed if isinstance(signed, str) else signed.decode("ascii"))
        del signed  # an error report would show this plain text
        if len(token) > LONGEST_TOKEN:
            raise ValueError(f"a user's id of {len(user_id)} characters does not fit into a cookie. Use shorter ids")
        return token

    def resolve(self, token: str) -> Remembered | None:
        """Return the contents of a token if its signature is right and it has not expired, otherwise None."""
        keys = verifying_keys(self._app)
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
        """Return the result of the use of a token. The token stays valid; a new token replaces a Flask-Login cookie."""
        if remembered.auth_hash is not None:
            return Used()
        return Used(self.issue(remembered.user_id, auth_hash, remembered.lifetime), remembered.lifetime)

    def accept(self, user_id: str, foreign: str, lifetime: int) -> Remembered:
        """Return the contents of a token for a foreign credential. Without a store, the credential stays valid."""
        return Remembered(user_id, None, 0, lifetime, foreign)

    def refuse(self, foreign: str) -> None:
        """Do nothing: without a store, a credential cannot be refused."""

    def is_alive(self, remembered: Remembered) -> bool:
        """Return True: a signed token cannot be revoked."""
        return True

    def renew(self, remembered: Remembered, auth_hash: str) -> str:
        """Return a new token with a new digest of ``session_auth_hash()``, for the rest of the lifetime.

        Earlier tokens are refused, because their digest is not the digest of the user any more.
        """
        return self.issue(remembered.user_id, auth_hash, max(1, remembered.lifetime - remembered.age))

    def extend(self, remembered: Remembered) -> str:
        """Return a new token that is valid for the whole lifetime from now."""
        return self.issue(remembered.user_id, remembered.auth_hash or "", remembered.lifetime)

    def revoke(self, token: str) -> str:
        """Return "" and do nothing: a signed token cannot be revoked."""
        return ""

    def revoke_login(self, owner: Ownership) -> None:
        """Do nothing: a signed token cannot be revoked."""

    def _serializer(self, keys: list[SecretBytes]) -> URLSafeSerializer:
        # The salt separates these tokens from other signatures by SECRET_KEY, and from applications with the same key
        # (CVE-2020-17526).
        namespace = self._app.config.get("SESSION_NAMESPACE") or self._app.name
        of_kind = f"-of-kind:{self._kind}" if self._kind else ""
        salt = f"flask_cloakroom.login.remember.tokens{of_kind}:{namespace}"
        signer = {"key_derivation": "hmac", "digest_method": sha256}
        return URLSafeSerializer([*keys], salt=salt, serializer=json, signer_kwargs=signer)
