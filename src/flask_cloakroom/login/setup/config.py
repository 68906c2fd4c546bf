"""Names, texts and defaults, as Flask-Login has them: code and translations that know these go on to work."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

#: The name of the cookie that remembers a login.
COOKIE_NAME: Final = "remember_token"
#: How long a login is remembered.
COOKIE_DURATION: Final = timedelta(days=365)
#: Whether that cookie is sent over HTTPS only. Where the session's is, this one is too.
COOKIE_SECURE: Final = False
#: Whether scripts cannot read it.
COOKIE_HTTPONLY: Final = True
#: Its SameSite attribute; None for that of the session's cookie.
COOKIE_SAMESITE: Final = None

#: What is flashed to those who must log in first.
LOGIN_MESSAGE: Final = "Please log in to access this page."
LOGIN_MESSAGE_CATEGORY: Final = "message"

#: What is flashed to those who must show again who they are.
REFRESH_MESSAGE: Final = "Please reauthenticate to access this page."
REFRESH_MESSAGE_CATEGORY: Final = "message"

#: The method of a user object that returns its id.
ID_ATTRIBUTE: Final = "get_id"

#: The header that a ``header_loader`` is given.
AUTH_HEADER_NAME: Final = "Authorization"

#: Keys of the session: who is logged in, whether they have shown it in this very session, the browser it was, a
#: digest of ``session_auth_hash()``, and whether the login was forced for a user who is switched off.
USER_ID: Final = "_user_id"
FRESH: Final = "_fresh"
BROWSER: Final = "_id"
AUTH_HASH: Final = "_auth_hash"
FORCED: Final = "_forced"
#: And when that was shown, in seconds since the epoch.
FRESH_AT: Final = "_fresh_at"
#: The id of the user as whom the one who is logged in sees the site.
IMPERSONATED: Final = "_impersonated"

#: Random text, replaced whenever the login begins, is confirmed or changes its user: CSRF tokens are made with it.
SECRET: Final = "_login_secret"  # noqa: S105  a key, and no secret

#: The keys that a login has in the session. "next" is there with USE_SESSION_FOR_NEXT; the two of remembering are
#: Flask-Login's, and not written any more.
SESSION_KEYS = {
    USER_ID,
    FRESH,
    FRESH_AT,
    BROWSER,
    AUTH_HASH,
    FORCED,
    IMPERSONATED,
    SECRET,
    "_remember",
    "_remember_seconds",
    "next",
}

#: Whether the page that was asked for is kept in the session, and not in the login page's URL.
USE_SESSION_FOR_NEXT: Final = False
