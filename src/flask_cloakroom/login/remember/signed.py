"""Remember tokens without a store: signed with SECRET_KEY, and good until they expire."""

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
from .secret_keys import reading_keys, signing_keys
from .tokens import LONGEST_TOKEN, Remembered, Used

#: The first thing in a token's contents, so that another kind, should there be one, is told from this.
VERSION: Final = 1


class SignedTokens:
    """Tokens that carry everything themselves, signed with SECRET_KEY: they need no store.

    Nor can one be revoked alone: a copy is good until it expires, ``session_auth_hash()`` changes, or the key does.
    """

    def __init__(self, app: Flask, *, kind: str = "", clock: Callable[[], float] = time.time) -> None:
        """``kind`` is the name of the UserKind that has them, and ``clock`` returns seconds since the epoch."""
        self._app = app
        self._kind = kind
        self._clock = clock

    def issue(self, user_id: str, auth_hash: str, lifetime: int, begun: NewLogin = UNDESCRIBED) -> str:
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
        of_kind = f"-of-kind:{self._kind}" if self._kind else ""
        salt = f"flask_cloakroom.login.remember.tokens{of_kind}:{namespace}"
        signer = {"key_derivation": "hmac", "digest_method": sha256}
        return URLSafeSerializer([*keys], salt=salt, serializer=json, signer_kwargs=signer)
