"""Where a visitor may be sent who says so themselves: to a path of this site, and nowhere else.

A target is not searched for what is bad in it. It is taken apart, every part is checked, and a path is put together
again from what was understood.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from flask import current_app, request, session

#: Characters: no page of a site has a longer address, and some servers refuse one (RFC 9110, 4.1, asks for 8000 bytes).
LONGEST_TARGET: Final = 2048

#: Browsers drop tabs and newlines anywhere and other control characters at the ends (WHATWG URL, 4.4), and take a
#: backslash for a slash: what is a path to us could be a host to them. Unicode's own spaces and line ends are none of
#: them, but nobody needs them unquoted.
_DANGEROUS: Final = re.compile(
    r"[\x00-\x20\x7f-\xa0\\\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]"
).search
_DANGEROUS_IN_PATH: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\]").search
#: How often a path may be percent-decoded before it stays what it is: proxies and frameworks do so once or twice.
_DECODINGS: Final = 4
#: RFC 3986, 3.3 and 3.4: what may stand in a path or query as it is; "%" because it was encoded already.
_PATH_SAFE: Final = "/:@!$&'()*+,;=~%-._"
_QUERY_SAFE: Final = _PATH_SAFE + "?"


def safe_next(default: str = "/", *, field: str = "next") -> str:
    """Return where to go on to after a login: a path of this site, or ``default``, which is not checked.

    What the visitor wanted is looked for in the session (with USE_SESSION_FOR_NEXT, from where it is removed), then in
    the form, then in the query; the first that is there counts. ``field`` is its name.
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
    """Return ``target`` as a path of this site, with its query and fragment; None if it leads elsewhere, or may.

    A whole URL is taken if its host and port are ``host``; only the path is left of it.
    """
    if not target or len(target) > LONGEST_TARGET or _DANGEROUS(target):
        return None
    try:
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            if parts.scheme not in ("http", "https") or not _is_host(parts.netloc, host):
                return None
        elif not target.startswith("/") or target.startswith("//"):
            return None
        path = parts.path or "/"
        return rebuilt(parts._replace(path=path)) if _is_plain(path) else None
    except ValueError:  # a host that is none, a lone surrogate
        return None


def rebuilt(parts: SplitResult) -> str:
    """Return path, query and fragment of ``parts``, quoted anew, with one slash in front.

    Raises UnicodeEncodeError, a ValueError, for text that has no UTF-8.
    """
    path = "/" + quote(parts.path, safe=_PATH_SAFE).lstrip("/")
    query, fragment = quote(parts.query, safe=_QUERY_SAFE), quote(parts.fragment, safe=_QUERY_SAFE)
    return urlunsplit(("", "", path, query, fragment))


def _is_host(netloc: str, host: str) -> bool:
    return bool(netloc) and netloc.lower() == host.lower()


def _is_plain(path: str) -> bool:
    """Tell whether a path is one, and the same one, to everybody who decodes it, however often."""
    for _ in range(_DECODINGS):
        if not path.startswith("/") or path.startswith("//") or _DANGEROUS_IN_PATH(path):
            return False
        if any(segment in (".", "..") for segment in path.split("/")):
            return False
        decoded = unquote(path, errors="replace")
        if decoded == path:
            return True
        path = decoded
    return False
