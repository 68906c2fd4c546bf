"""The tokens of a session: what pages render, and what requests bring back.

A token is made with the secret of the application's own session, and with the secret of each login that the browser
has, of whichever kind of user. So a token is void as soon as one of these logins begins, is confirmed, or ends, and
somebody who planted the session alone has no token of a user who logs in beside it.

The session's secret stands under the name of the form's field, on the server or in Flask's cookie. The text ends with a
digest of its user's id: another user of the same session needs another secret, also where the application wrote the
id itself.
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
from .settings import CSRFSettings, as_key, settings_of
from .state import state_of
from .token_format import MISSING, check_token, make_token, new_secret

NOTHING_IN_SESSION: Final = "The CSRF session token is missing."

_SEPARATOR: Final = "."
#: Hexadecimal digits: it need only tell one user from the next, and the secret beside it is what nobody can guess.
_OWNER_DIGITS: Final = 16


def generate_csrf(secret_key: str | bytes | None = None, token_key: str | None = None) -> str:
    """Return a token for the session's forms, the same at each call of one request; also as ``csrf_token()`` in pages.

    ``token_key`` is the key of the session and of ``g`` (WTF_CSRF_FIELD_NAME), ``secret_key`` an additional key that
    the token shall be bound to (WTF_CSRF_SECRET_KEY). Neither is needed.
    """
    settings = settings_of(this_app())
    logins = _login_secrets(resume=True)  # first: a login that begins here has another session's secret
    field = token_key or settings.field
    secret = _secret_in_session(field)
    if secret is None:
        secret = Secret(new_secret() + _SEPARATOR + _whose())
        session[field] = str(secret)
    keyed = _keyed([secret, *logins], settings, secret_key)
    now = int(time.time())
    token = Secret(g.get(field) or "")
    if not token or not _is_good(token, keyed, now):
        # The first call, or the session has another secret since then: somebody was logged in by this very request.
        token = make_token(keyed, now)
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
    """Raise :class:`CSRFError` unless ``data`` is a token of this session. ``time_limit`` is in seconds.

    The arguments that are None are as the settings say.
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
        raise CSRFError(MISSING)
    logins = _login_secrets(resume)
    secret = _secret_in_session(token_key or settings.field)
    if secret is None:
        raise CSRFError(NOTHING_IN_SESSION)
    limit = settings.time_limit if time_limit is None else time_limit
    check_token(data, _keyed([secret, *logins], settings, secret_key), int(time.time()), limit)


def csrf_meta_tag(
    name: str | None = None, secret_key: str | bytes | None = None, token_key: str | None = None
) -> Markup:
    """Return ``<meta name="csrf-token" content="…">`` for scripts. ``name`` is else that of WTF_CSRF_META_NAME."""
    name = settings_of(this_app()).meta_name if name is None else name
    return Markup('<meta name="{}" content="{}">').format(escape(name), generate_csrf(secret_key, token_key))


def renew_secret() -> None:
    """Let the session's tokens that there are be good no more."""
    session.pop(settings_of(this_app()).field, None)


def is_token_of_session(token: Secret) -> bool:
    """Tell whether a token that the browser holds already is still good. For responses: no login begins by it."""
    try:
        _validate(token, resume=False)
    except CSRFError:
        return False
    return True


def _secret_in_session(field: str) -> Secret | None:
    """Return the secret that the session holds for whoever it belongs to now; None if it holds none for them."""
    found = session.get(field)
    if not isinstance(found, str) or _SEPARATOR not in found:
        return None
    secret = Secret(found)
    del found  # a plain copy, which an error report would show
    return secret if secret.rpartition(_SEPARATOR)[2] == _whose() else None


def _whose() -> str:
    """Return a digest of the id of the user who is logged in, "" for nobody."""
    user_id = session.get(USER_KEY)
    if user_id is None:
        return ""
    return sha256(str(user_id).encode("utf-8", "surrogatepass")).hexdigest()[:_OWNER_DIGITS]


def _login_secrets(resume: bool) -> list[Secret]:
    find: Callable[[bool], list[Secret]] | None = this_app().extensions.get(LOGIN_SECRETS)
    return [] if find is None else find(resume)


def _keyed(parts: list[Secret], settings: CSRFSettings, key: Any) -> SecretBytes:
    """Return the bytes that tokens are made with: of the session's secret and those of the logins."""
    given = settings.key if key is None else as_key(key)
    # None of these texts has a line end in it, so no two lists of them become the same text.
    text = SecretBytes("\n".join(parts).encode("utf-8", "surrogatepass"))
    return SecretBytes(hmac.digest(given, text, "sha256")) if given else text


def _is_good(token: str, keyed: bytes, now: int) -> bool:
    try:
        check_token(token, keyed, now, None)
    except CSRFError:
        return False
    return True
