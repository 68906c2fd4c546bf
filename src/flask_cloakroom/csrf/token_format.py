"""A token: shows that a page was made for a session, and tells nobody the secret that it was made with.

Nonce, time and their HMAC with the session's secret. The nonce makes each token another one in all of its characters,
so that the size of a compressed page says nothing about any of them (BREACH); and who finds an old token cannot make
a younger one of it.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from typing import Final

from ..core.clock import is_within
from ..secret import Secret, SecretBytes
from .errors import CSRFError

#: Bytes. 128 random bits never come twice; 6 bytes of seconds last for millions of years; SHA-256 has 32. Together
#: they are a multiple of 3, which base64 writes without padding and in one way only.
_NONCE: Final = 16
_TIME: Final = 6
_SIGNED: Final = _NONCE + _TIME
#: Bytes of a session's secret: 256 bits, as many as a ticket has.
SECRET_BYTES: Final = 32

_FORM: Final = re.compile(r"[A-Za-z0-9_\-]{72}", re.ASCII).fullmatch
_PURPOSE: Final = b"flask_cloakroom.csrf:"

MISSING: Final = "The CSRF token is missing."
INVALID: Final = "The CSRF token is invalid."
EXPIRED: Final = "The CSRF token has expired."
MISMATCH: Final = "The CSRF tokens do not match."


def new_secret() -> str:
    """Return a secret for a session."""
    return secrets.token_urlsafe(SECRET_BYTES)


def make_token(secret: bytes, now: int) -> Secret:
    """Return a token; ``now`` is in seconds since the epoch."""
    signed = secrets.token_bytes(_NONCE) + now.to_bytes(_TIME, "big")
    return Secret(base64.urlsafe_b64encode(signed + _mac(secret, signed)).decode("ascii"))


def check_form(token: str) -> None:
    """Raise :class:`CSRFError` for what cannot be a token, whatever the secret."""
    if not _FORM(token):
        raise CSRFError(INVALID)


def check_token(token: str, secret: bytes, now: int, limit: float | None) -> None:
    """Raise :class:`CSRFError` unless the token was made with ``secret``, not longer than ``limit`` seconds ago."""
    check_form(token)
    raw = SecretBytes(base64.urlsafe_b64decode(token))
    signed = SecretBytes(raw[:_SIGNED])
    if not hmac.compare_digest(raw[_SIGNED:], _mac(secret, signed)):
        raise CSRFError(MISMATCH)
    if limit is not None and not is_within(now - int.from_bytes(signed[_NONCE:], "big"), limit):
        raise CSRFError(EXPIRED)


def _mac(secret: bytes, signed: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE + signed, "sha256")
