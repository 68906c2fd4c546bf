"""Check redirect targets that come from a visitor: only a path of this site is allowed.

This module does not search a target for dangerous parts. It splits the target, checks each part, and builds a new path
from the checked parts.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from flask import current_app, request, session

#: The longest allowed target in characters. Real pages have shorter addresses. Some servers refuse long addresses:
#: RFC 9110, 4.1, asks servers to accept at least 8000 bytes.
MAX_TARGET_LENGTH: Final = 2048

#: The characters that no target may contain. Browsers remove tabs and newlines anywhere and other control characters
#: at both ends (WHATWG URL, 4.4), and read a backslash as a slash. So a browser could find a host in a text that Python
#: reads as a path. Browsers do not remove Unicode's other spaces and line ends, but no site needs these unquoted.
_DANGEROUS: Final = re.compile(
    r"[\x00-\x20\x7f-\xa0\\\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]"
).search
_DANGEROUS_IN_PATH: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\]").search
#: The largest number of percent-decodings after which a path must no longer change. Servers decode once or twice.
_MAX_DECODINGS: Final = 4
#: Characters that a path or query may contain unquoted (RFC 3986, 3.3 and 3.4), and "%", which begins a character that
#: is quoted already.
_PATH_SAFE: Final = "/:@!$&'()*+,;=~%-._"
_QUERY_SAFE: Final = _PATH_SAFE + "?"


def safe_next(default: str = "/", *, field: str = "next") -> str:
    """Return the path to redirect to after a login: the visitor's target if it is on this site, or else ``default``.

    The target is the value named ``field`` in the form, or else in the query. With USE_SESSION_FOR_NEXT the session's
    value of this name comes first, and is removed from the session. ``default`` is returned without a check.
    """
    target: object = None
    if current_app.config.get("USE_SESSION_FOR_NEXT"):
        target = session.pop(field, None)
    if target is None:
        target = request.form.get(field) or request.args.get(field)
    if not isinstance(target, str):
        return default
    return safe_path(target, request.host) or default


def safe_path(target: str, host: str) -> str | None:
    """Return ``target`` as a path of this site, with query and fragment. Return None if it may lead to another site.

    ``host`` is the host and port of this site. From a full URL with this host and port, return the path.
    """
    if not target or len(target) > MAX_TARGET_LENGTH or _DANGEROUS(target):
        return None
    try:
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            if parts.scheme not in ("http", "https") or not _is_host(parts.netloc, host):
                return None
        elif not target.startswith("/") or target.startswith("//"):
            return None
        path = parts.path or "/"
        return join_path(parts._replace(path=path)) if _is_unambiguous(path) else None
    except ValueError:  # not a valid host, or a lone surrogate
        return None


def join_path(parts: SplitResult) -> str:
    """Return path, query and fragment of ``parts`` as text, percent-encoded, with exactly one slash at the start.

    Raises UnicodeEncodeError, a ValueError, for text that cannot be encoded in UTF-8.
    """
    path = "/" + quote(parts.path, safe=_PATH_SAFE).lstrip("/")
    query, fragment = quote(parts.query, safe=_QUERY_SAFE), quote(parts.fragment, safe=_QUERY_SAFE)
    return urlunsplit(("", "", path, query, fragment))


def _is_host(netloc: str, host: str) -> bool:
    return bool(netloc) and netloc.lower() == host.lower()


def _is_unambiguous(path: str) -> bool:
    """Return True if ``path`` is a safe path and stays safe, no matter how often a server percent-decodes it."""
    for _ in range(_MAX_DECODINGS):
        if not path.startswith("/") or path.startswith("//") or _DANGEROUS_IN_PATH(path):
            return False
        if any(segment in (".", "..") for segment in path.split("/")):
            return False
        decoded = unquote(path, errors="replace")
        if decoded == path:
            return True
        path = decoded
    return False
