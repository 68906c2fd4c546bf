"""The proxies in front of the site whose headers the site trusts."""

from __future__ import annotations

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_cloakroom import SettingError


def init_app(app: Flask) -> None:
    """Trust the headers of TRUSTED_PROXIES proxies in a row; 0 means that there is no proxy.

    Each proxy must set X-Forwarded-For and X-Forwarded-Proto, and the site must not be reachable without them.
    Otherwise an attacker could send a new address with each request and avoid the limits. Raises SettingError.
    """
    number = app.config.setdefault("TRUSTED_PROXIES", 0)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise SettingError(
            "TRUSTED_PROXIES", f"must be the number of proxies in front of the site, such as 0 or 1, not {number!r}."
        )
    if number:
        # x_host=0: the proxy sends the host name in Host. The CSRF check compares the Origin header with that.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=number, x_proto=number, x_host=0)  # type: ignore[method-assign]
