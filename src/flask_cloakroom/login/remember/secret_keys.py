"""SECRET_KEY and SECRET_KEY_FALLBACKS: which keys are strong enough, and the cookies that Flask-Login signs."""

from __future__ import annotations

import hmac
import logging
from hashlib import sha512
from typing import TYPE_CHECKING, Final

from flask import current_app

from ...errors import SettingError
from ...secret import Secret, SecretBytes

if TYPE_CHECKING:
    from flask import Flask

log = logging.getLogger("flask_cloakroom.login")

#: The smallest length of a secret key, in bytes. Only debug mode and tests allow a shorter key, because an attacker can
#: try all shorter keys.
SHORTEST_KEY: Final = 8
#: The smallest length of a secret key without a warning, in bytes. OWASP ASVS 5.0, 11.2.3, asks for at least 128 bits.
SHORT_KEY: Final = 16

#: Secret keys that documentation, tutorials and templates show (CVE-2023-27524). With such a key, anybody can log in as
#: any user.
WELL_KNOWN_KEYS: Final = frozenset(
    {
        "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
        '_5#y2l"f4q8z\n\xec]/',
        "change_me_to_a_complex_random_secret",
        "\x02\x01thisismyscretkey\x01\x02\\e\\y\\y\\h",
        "temporary_key",
        "thisisnotasecret",
        "test_non_dev_secret",
        "changemechangeme",
        "change-me-please",
        "development key",
        "hard to guess string",
        "you-will-never-guess",
        "super-secret-key",
        "super secret key",
        "supersecretkey",
        "mysecretkey",
        "my-secret-key",
        "my_secret_key",
        "my secret key",
        "your-secret-key",
        "your_secret_key",
        "your secret key",
        "your-secret-key-here",
        "your_secret_key_here",
        "secret-key",
        "secret_key",
        "secretkey",
        "secret-key-goes-here",
        "password",
        "changeme",
        "change-me",
        "change_me",
        "0123456789abcdef",
        "1234567890",
        "12345678",
    }
)


def as_key(key: str | bytes) -> SecretBytes:
    """Return a secret key as bytes. A str is encoded as Flask-Login does: Latin-1 if possible, otherwise UTF-8."""
    if isinstance(key, bytes):
        return SecretBytes(key)
    try:
        return SecretBytes(key.encode("latin1"))
    except UnicodeEncodeError:
        return SecretBytes(key.encode("utf-8"))


def secret_key(key: str | bytes | None = None) -> SecretBytes:
    """Return ``key``, by default the application's SECRET_KEY, as bytes. Raises RuntimeError if there is no key."""
    if key is None:
        return secret_key(current_app.secret_key or "")
    if not key:
        raise RuntimeError("there is no secret key for a signature. Set SECRET_KEY, or pass the argument key")
    return as_key(key)


def _keys_of(app: Flask) -> list[SecretBytes]:
    """Return SECRET_KEY_FALLBACKS and then SECRET_KEY."""
    return [as_key(key) for key in (*(app.config.get("SECRET_KEY_FALLBACKS") or ()), app.secret_key) if key]


def verifying_keys(app: Flask) -> list[SecretBytes]:
    """Return the secret keys that may verify a signature: SECRET_KEY_FALLBACKS and then SECRET_KEY, without weak keys.

    Only the last key may make a signature. A fallback is an old key that may be known to others (CVE-2025-47278).
    """
    return [key for key in _keys_of(app) if key_problem(app, key) is None]


def signing_keys(app: Flask) -> list[SecretBytes]:
    """Return the keys of :func:`verifying_keys` for a new signature. Raises SettingError if SECRET_KEY may not sign."""
    if not app.secret_key:
        raise SettingError(
            "SECRET_KEY",
            "must be set for remember tokens, which are signed with it. "
            "To make a key, run: python -c 'import secrets; print(secrets.token_hex())'",
        )
    key = as_key(app.secret_key)
    problem = key_problem(app, key)
    if problem is not None:
        raise SettingError("SECRET_KEY", problem)
    if len(key) < SHORT_KEY:
        log.warning("SECRET_KEY is shorter than %d bytes, so an attacker may guess it. Set a longer key", SHORT_KEY)
    return verifying_keys(app)


def key_problem(app: Flask, key: str | bytes) -> str | None:
    """Return why a secret key must not be used, as the end of a sentence, or None if the key may be used.

    In debug mode and in tests every key may be used.
    """
    if app.debug or app.testing:
        return None
    advice = "To make a better key, run: python -c 'import secrets; print(secrets.token_hex())'"
    raw = as_key(key)
    if len(raw) < SHORTEST_KEY:
        return f"is shorter than {SHORTEST_KEY} bytes, so an attacker can guess it. {advice}"
    if raw.decode("latin1").lower() in WELL_KNOWN_KEYS:
        return f"is a published example, so anybody can log in as any user. {advice}"
    return None


def encode_cookie(payload: str, key: str | bytes | None = None) -> str:
    """Return ``payload`` with a signature by ``key``, by default the application's SECRET_KEY, as Flask-Login does.

    The signature contains neither a time nor a purpose. The function is for an application's own use; this package
    makes no remember cookie with it. Raises RuntimeError if there is no key.
    """
    return f"{payload}|{_digest(payload, secret_key(key)).decode()}"


def decode_cookie(cookie: str, key: str | bytes | None = None) -> str | None:
    """Return the payload of a cookie from :func:`encode_cookie`, or None if the signature is not by ``key``.

    Without ``key``, the signature may be by SECRET_KEY or a key of SECRET_KEY_FALLBACKS.
    """
    cookie = Secret(cookie)
    if "|" not in cookie:
        return None
    payload = cookie.rpartition("|")[0]
    keys = _keys_of(current_app) if key is None else [as_key(key)]
    # Bytes, because compare_digest() raises TypeError for a str that is not ASCII.
    given = SecretBytes(cookie.rpartition("|")[2].encode("utf-8", "replace"))
    good = [hmac.compare_digest(_digest(payload, one), given) for one in keys if one]
    return payload if any(good) else None


def _digest(payload: str, key: bytes) -> SecretBytes:
    text = payload.encode("utf-8", "surrogatepass")
    return SecretBytes(hmac.new(key, text, sha512).hexdigest().encode())
