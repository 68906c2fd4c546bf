"""Flask-SeaSurf's settings, read into the same settings object as Flask-WTF's.

If both packages have a setting for the same purpose, Flask-SeaSurf's setting is used.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ...cookies import read_cookie
from ...errors import SettingError
from ...settings import Reader, describe_value
from ..settings import DEFAULTS, SEASURF_DEFAULTS, SESSION_NAMES, CSRFSettings, SettingsSource, read_headers

if TYPE_CHECKING:
    from flask import Flask


def _read(app: Flask) -> CSRFSettings:
    read = Reader({**SEASURF_DEFAULTS, **app.config})
    if read["CSRF_COOKIE"] is not None:
        raise SettingError("CSRF_COOKIE", "has no effect with SeaSurf. Set CSRF_COOKIE_NAME instead")
    cookie = read_cookie(read, "CSRF")
    if cookie.name == read["SESSION_COOKIE_NAME"]:
        raise SettingError("CSRF_COOKIE_NAME", "is the name of the session cookie. Choose another name")
    mode = read["SEASURF_INCLUDE_OR_EXEMPT_VIEWS"]
    if mode not in ("exempt", "include"):
        given = repr(mode) if isinstance(mode, str) else describe_value(mode)
        raise SettingError("SEASURF_INCLUDE_OR_EXEMPT_VIEWS", f'must be "exempt" or "include", not {given}')
    check_referrer = read.boolean("CSRF_CHECK_REFERER")
    is_disabled = read.boolean("CSRF_DISABLE")
    lifetime = read["CSRF_COOKIE_TIMEOUT"]
    common = CSRFSettings.read(app)
    return replace(
        common,
        enabled=common.enabled and not is_disabled,
        field=cookie.name,
        headers=read_headers("CSRF_HEADER_NAME", [read["CSRF_HEADER_NAME"]]),
        ssl_strict=check_referrer,
        check_referrer=check_referrer,
        cookie=cookie,
        cookie_lifetime=None if lifetime is None else read.seconds("CSRF_COOKIE_TIMEOUT", at_least=1),
        include_only=mode == "include",
    )


SEASURF_SETTINGS: Final = SettingsSource((*SEASURF_DEFAULTS, *DEFAULTS, *SESSION_NAMES), _read)
