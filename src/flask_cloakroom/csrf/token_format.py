"""The format of a CSRF token: nonce, time, and their HMAC with the session's secret.

The token proves that a page was made for a session, and does not reveal the secret. The random nonce changes every
character of the HMAC, so the size of a compressed page reveals nothing about a token (the BREACH attack). The time is
signed, so an attacker with an old token cannot make a newer one.
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

#: Lengths in bytes of a token's nonce and time. The nonce gives 128 bits, which do not repeat. 6 bytes of seconds are
#: enough for millions of years. With the 32 bytes of SHA-256 the sum is a multiple of 3, so base64 needs no padding and
#: each token has only one spelling.
_NONCE: Final = 16
_TIME: Final = 6
_SIGNED: Final = _NONCE + _TIME
#: Length in bytes of a session's CSRF secret. It gives 256 bits, as many as a ticket has.
_SECRET_BYTES: Final = 32

_FORM: Final = re.compile(r"[A-Za-z0-9_\-]{72}", re.ASCII).fullmatch
_PURPOSE: Final = b"flask_cloakroom.csrf:"

NO_TOKEN: Final = "The CSRF token is missing."  # noqa: S105  a message
INVALID: Final = "The CSRF token is invalid."
EXPIRED: Final = "The CSRF token has expired."
MISMATCH: Final = "The CSRF tokens do not match."


def new_secret() -> str:
    """Return a new random CSRF secret for a session."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def make_token(secret: bytes, now: int) -> Secret:
    """Return a new token. ``now`` is in seconds since the epoch."""
    signed = secrets.token_bytes(_NONCE) + now.to_bytes(_TIME, "big")
    return Secret(base64.urlsafe_b64encode(signed + _mac(secret, signed)).decode("ascii"))


def check_token(token: str, secret: bytes, now: int, limit: float | None) -> None:
    """Raise :class:`CSRFError` unless ``token`` was made with ``secret`` in the last ``limit`` seconds.

    ``now`` is in seconds since the epoch. If ``limit`` is None, the token may have any age.
    """
    if not _FORM(token):
        raise CSRFError(INVALID)
    raw = SecretBytes(base64.urlsafe_b64decode(token))
    signed = SecretBytes(raw[:_SIGNED])
    if not hmac.compare_digest(raw[_SIGNED:], _mac(secret, signed)):
        raise CSRFError(MISMATCH)
    if limit is not None and not is_within(now - int.from_bytes(signed[_NONCE:], "big"), limit):
        raise CSRFError(EXPIRED)


def _mac(secret: bytes, signed: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE + signed, "sha256")
