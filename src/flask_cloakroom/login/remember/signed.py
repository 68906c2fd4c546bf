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

#: The first item of a token's contents, so that a later format can be told from this one.
VERSION: Final = 1


class SignedTokens:
    """Tokens whose contents are signed with SECRET_KEY, so that they need no store.

    A single token cannot be revoked. A copy is valid until it expires, or until ``session_auth_hash()`` or the key
    changes.
    """

    def __init__(self, app: Flask, *, kind: str = "", clock: Callable[[], float] = time.time) -> None:
        """Make the tokens of an application.

        ``kind``: the name of the UserKind, "" for the application's own users. ``clock`` returns seconds since the
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
        """Return the contents of a token whose signature and time are good; None for others."""
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
        """Return the result of a use. The token stays valid, but the cookie of Flask-Login is replaced."""
        if remembered.auth_hash is not None:
            return Used()
        return Used(self.issue(remembered.user_id, auth_hash, remembered.lifetime), remembered.lifetime)

    def accept(self, user_id: str, foreign: str, lifetime: int) -> Remembered:
        """Return the contents of a new token. Without a store, the credential is accepted each time."""
        return Remembered(user_id, None, 0, lifetime, foreign)

    def refuse(self, foreign: str) -> None:
        """Do nothing: without a store, a credential cannot be refused."""

    def is_alive(self, remembered: Remembered) -> bool:
        """Return True: a signed token cannot be revoked."""
        return True

    def renew(self, remembered: Remembered, auth_hash: str) -> str:
        """Return a new token with another digest. The earlier ones are refused for their digest."""
        return self.issue(remembered.user_id, auth_hash, max(1, remembered.lifetime - remembered.age))

    def extend(self, remembered: Remembered) -> str:
        """Return a new token with the whole lifetime."""
        return self.issue(remembered.user_id, remembered.auth_hash or "", remembered.lifetime)

    def revoke(self, token: str) -> str:
        """Return "": a signed token cannot be revoked."""
        return ""

    def revoke_login(self, owner: Ownership) -> None:
        """Do nothing: a signed token cannot be revoked."""

    def _serializer(self, keys: list[SecretBytes]) -> URLSafeSerializer:
        # The salt separates these tokens from other signatures by this key, and from applications with the same key
        # (CVE-2020-17526).
        namespace = self._app.config.get("SESSION_NAMESPACE") or self._app.name
        of_kind = f"-of-kind:{self._kind}" if self._kind else ""
        salt = f"flask_cloakroom.login.remember.tokens{of_kind}:{namespace}"
        signer = {"key_derivation": "hmac", "digest_method": sha256}
        return URLSafeSerializer([*keys], salt=salt, serializer=json, signer_kwargs=signer)
