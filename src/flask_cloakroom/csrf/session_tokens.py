"""The CSRF tokens of a session: made for pages, and checked when a request sends one back.

A token is made with the CSRF secret of the application's session and with the secret of each login in the browser, of
every user kind. So each change of a login makes older tokens invalid. An attacker can put a session of their own into a
visitor's browser and knows tokens of that session. These tokens are invalid after the visitor has logged in.

The CSRF secret is in the session under the name of the form field. A digest of the user's id follows the secret in the
value. So another user in the same session gets a new secret, even if the application itself writes the user's id there.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

from flask import g, has_request_context, session
from markupsafe import Markup, escape

from ..context import this_app, this_request
from ..core.values.own_keys import USER_KEY
from ..hooks import LOGIN_SECRETS
from ..secret import Secret, SecretBytes
from .errors import CSRFError
from .settings import CSRFSettings, secret_key_bytes, settings_of
from .state import state_of
from .token_format import NO_TOKEN, check_token, make_token, new_secret

NOT_IN_SESSION: Final = "The CSRF session token is missing."

_SEPARATOR: Final = "."
#: The number of hexadecimal digits of the digest of the user's id. The digest only tells users apart. It needs no more
#: digits, because the CSRF secret before it in the session cannot be guessed.
_USER_DIGEST_DIGITS: Final = 16


def generate_csrf(secret_key: str | bytes | None = None, token_key: str | None = None) -> str:
    """Return a CSRF token of the session. All calls in a request return the same token. In templates: ``csrf_token()``.

    ``secret_key``: an additional secret key for the token; None means WTF_CSRF_SECRET_KEY. ``token_key``: the name
    under which the session has the CSRF secret and ``g`` has the token; None means WTF_CSRF_FIELD_NAME.
    """
    settings = settings_of(this_app())
    logins = _login_secrets(resume=True)  # first, because a login that begins here changes the CSRF secret
    field = token_key or settings.field
    secret = _secret_in_session(field)
    if secret is None:
        secret = _new_secret_in_session(field)
    key = _signing_key([secret, *logins], settings, secret_key)
    now = int(time.time())
    token = Secret(g.get(field) or "")
    if not token or not _is_valid(token, key, now):
        # This is the first call, or this request has logged a user in since the first call.
        token = make_token(key, now)
        setattr(g, field, str(token))
    if token_key is None and has_request_context():
        state_of(this_request()).token = token
    return str(token)


def validate_csrf(
    data: str | None,
    secret_key: str | bytes | None = None,
    time_limit: float | None = None,
    token_key: str | None = None,
) -> None:
    """Raise :class:`CSRFError` unless ``data`` is a token of this session.

    ``time_limit``: the greatest age of the token in seconds; None means WTF_CSRF_TIME_LIMIT. The other arguments are
    those of :func:`generate_csrf`.
    """
    data = Secret(data) if isinstance(data, str) else None
    _validate(data, secret_key, time_limit, token_key, resume=True)


def _validate(
    data: Secret | None,
    secret_key: str | bytes | None = None,
    time_limit: float | None = None,
    token_key: str | None = None,
    *,
    resume: bool,
) -> None:
    settings = settings_of(this_app())
    if not data:
        raise CSRFError(NO_TOKEN)
    logins = _login_secrets(resume)
    secret = _secret_in_session(token_key or settings.field)
    if secret is None:
        raise CSRFError(NOT_IN_SESSION)
    limit = settings.time_limit if time_limit is None else time_limit
    check_token(data, _signing_key([secret, *logins], settings, secret_key), int(time.time()), limit)


def csrf_meta_tag(
    name: str | None = None, secret_key: str | bytes | None = None, token_key: str | None = None
) -> Markup:
    """Return ``<meta name="csrf-token" content="…">``, from which scripts read the token.

    ``name``: the name in the tag; None means WTF_CSRF_META_NAME. The other arguments are those of
    :func:`generate_csrf`.
    """
    name = settings_of(this_app()).meta_name if name is None else name
    return Markup('<meta name="{}" content="{}">').format(escape(name), generate_csrf(secret_key, token_key))


def delete_secret() -> None:
    """Make all CSRF tokens of the session invalid. The next token is made with a new secret."""
    session.pop(settings_of(this_app()).field, None)


def is_token_of_session(token: Secret) -> bool:
    """Return True if a token is valid. Unlike :func:`validate_csrf`, this logs nobody in by a remember token."""
    try:
        _validate(token, resume=False)
    except CSRFError:
        return False
    return True


def _secret_in_session(field: str) -> Secret | None:
    """Return the session's CSRF secret, or None if the session has no CSRF secret for the current user."""
    found = session.get(field)
    if not isinstance(found, str) or _SEPARATOR not in found:
        return None
    secret = Secret(found)
    del found  # an error report would show this plain copy
    return secret if secret.rpartition(_SEPARATOR)[2] == _user_digest() else None


def _new_secret_in_session(field: str) -> Secret:
    """Store a new CSRF secret in the session, and return it. If another thread was faster, return its secret."""
    secret = Secret(new_secret() + _SEPARATOR + _user_digest())
    session.setdefault(field, str(secret))
    found = _secret_in_session(field)
    if found is None:  # the session has the secret of another user
        session[field] = str(secret)
    return found or secret


def _user_digest() -> str:
    """Return a digest of the logged-in user's id, or "" for an anonymous visitor."""
    user_id = session.get(USER_KEY)
    if user_id is None:
        return ""
    return sha256(str(user_id).encode("utf-8", "surrogatepass")).hexdigest()[:_USER_DIGEST_DIGITS]


def _login_secrets(resume: bool) -> list[Secret]:
    """Return the secret of each login in the browser: see :data:`.hooks.LOGIN_SECRETS`."""
    find: Callable[[bool], list[Secret]] | None = this_app().extensions.get(LOGIN_SECRETS)
    return [] if find is None else find(resume)


def _signing_key(secrets: list[Secret], settings: CSRFSettings, secret_key: Any) -> SecretBytes:
    """Return the secret key of a token's HMAC, made from the secrets of the session and of its logins."""
    extra_key = settings.secret_key if secret_key is None else secret_key_bytes(secret_key)
    # No secret contains a line end, so two different lists never give the same text.
    text = SecretBytes("\n".join(secrets).encode("utf-8", "surrogatepass"))
    return SecretBytes(hmac.digest(extra_key, text, "sha256")) if extra_key else text


def _is_valid(token: str, key: bytes, now: int) -> bool:
    try:
        check_token(token, key, now, None)
    except CSRFError:
        return False
    return True
