"""Proxies in front of the site, and whose word it takes for who a visitor is."""

from __future__ import annotations

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_cloakroom import SettingError


def init_app(app: Flask) -> None:
    """Believe the headers of TRUSTED_PROXIES proxies, one behind the other: 0 without, 1 for one.

    Each of them must set X-Forwarded-For and X-Forwarded-Proto, and the site must be reached through them alone. Else
    visitors choose the address by which their tries of passwords are counted. Raises SettingError.
    """
    number = app.config.setdefault("TRUSTED_PROXIES", 0)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise SettingError(
            "TRUSTED_PROXIES", f"is how many proxies stand before the site, such as 0 or 1, not {number!r}."
        )
    if number:
        # The name of the host is left as the proxy sends it in Host, which is what requests are compared with.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=number, x_proto=number, x_host=0)  # type: ignore[method-assign]
