"""The URL of the login page, with the URL of the requested page in its query."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from flask import current_app, has_app_context, url_for

from ...context import this_app
from ...redirects import join_path
from ..setup.settings import settings_of


def expand_login_view(login_view: str) -> str:
    """Return the URL of a login view: ``login_view`` itself if it is a URL or path, otherwise the endpoint's URL."""
    if login_view.startswith(("https://", "http://", "/")):
        return login_view
    return url_for(login_view)


def make_next_param(login_url: str, current_url: str) -> str:
    """Return ``current_url`` for the query of ``login_url``: only path and query if both URLs have the same origin.

    The path begins with exactly one slash. A path with two slashes would be the URL of another host.
    """
    login, current = urlsplit(login_url), urlsplit(current_url)
    if login.scheme in ("", current.scheme) and login.netloc in ("", current.netloc):
        return join_path(current._replace(fragment=""))
    return current_url


def login_url(login_view: str, next_url: str | None = None, next_field: str = "next") -> str:
    """Return the URL of a login view, with ``next_url`` in its query under the name ``next_field``.

    ``login_view`` is an endpoint, a path or a URL. FORCE_HOST_FOR_REDIRECTS, if set, becomes the URL's host. Raises
    werkzeug's BuildError if there is no such endpoint.
    """
    base = expand_login_view(login_view)
    if next_url is None:
        return base
    parts = urlsplit(base)
    query = parse_qs(parts.query, keep_blank_values=True)
    query[next_field] = [make_next_param(base, next_url)]
    host = settings_of(this_app()).forced_host if has_app_context() and current_app else None
    return urlunsplit(parts._replace(netloc=host or parts.netloc, query=urlencode(query, doseq=True)))
