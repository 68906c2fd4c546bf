"""The origin of a request, from its headers. Browsers set these headers, and a page cannot change them.

The headers are read in this order. ``Sec-Fetch-Site`` is the result of the browser's own comparison, so it is right
even behind a proxy that changes the header Host. ``Origin`` and then ``Referer`` are compared with the request's host.
"""

from __future__ import annotations

import re
from collections.abc import Set
from typing import TYPE_CHECKING, Final, NamedTuple

from werkzeug.wsgi import get_host

if TYPE_CHECKING:
    from flask import Request

# Patterns of an origin as browsers write it (RFC 6454, 6.2, with the host in ASCII), and of the beginning of a URL. A
# text with a user name, a backslash, a space or several origins does not match: parsers find different hosts in it.
_HOST: Final = r"(?:[a-z0-9_.\-]{1,255}|\[[0-9a-f:.]{2,45}\])"
_ORIGIN: Final = rf"([a-z][a-z0-9+.\-]{{0,31}})://({_HOST})(?::([0-9]{{1,5}}))?"
_AS_ORIGIN: Final = re.compile(_ORIGIN, re.ASCII | re.IGNORECASE).fullmatch
_AS_URL: Final = re.compile(rf"{_ORIGIN}(?:[/?#]|\Z)", re.ASCII | re.IGNORECASE).match
_AS_AUTHORITY: Final = re.compile(rf"({_HOST})(?::([0-9]{{1,5}}))?", re.ASCII | re.IGNORECASE).fullmatch
_PORTS: Final = {"http": 80, "https": 443}

#: The values of Sec-Fetch-Site that pass (Fetch Metadata, W3C, 2.4). "none" means that the visitor opened the page, for
#: example by a bookmark. "same-site" does not pass: another subdomain may belong to anybody (CVE-2025-46721).
_PASSING_SITES: Final = frozenset({"same-origin", "none"})

ANOTHER_SITE: Final = "The request comes from another site."
WRONG_ORIGIN: Final = "The origin does not match the host."
WRONG_REFERRER: Final = "The referrer does not match the host."

_SITE_HEADER: Final = ("Sec-Fetch-Site",)
_SITE_AND_ORIGIN: Final = (*_SITE_HEADER, "Origin")
_ALL_HEADERS: Final = (*_SITE_AND_ORIGIN, "Referer")


class Origin(NamedTuple):
    """Scheme and host in lower case, and port. Without a port in the text, http has 80, https has 443, others None."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Origin | None:
        """Return the origin in the value of a header Origin, or None if the value is no origin, such as "null"."""
        return cls._from_match(_AS_ORIGIN(text))

    @classmethod
    def of_url(cls, url: str) -> Origin | None:
        """Return the origin of a URL, such as the value of a header Referer, or None if the text has no host."""
        return cls._from_match(_AS_URL(url))

    @classmethod
    def _from_match(cls, match: re.Match[str] | None) -> Origin | None:
        if match is None:
            return None
        scheme, host, port = match.groups()
        scheme = scheme.lower()
        return cls(scheme, host.lower(), _PORTS.get(scheme) if port is None else int(port))

    def is_of_host(self, host: str, secure: bool) -> bool:
        """Return True if this is the origin of the server ``host``, a name with an optional port.

        ``secure``: the request came by HTTPS. Then an origin with HTTP does not match, because anybody on the network
        can change a page of it. An origin with HTTPS matches a request by HTTP: a proxy may have received it by HTTPS.
        """
        if self.scheme not in _PORTS or (secure and self.scheme == "http"):
            return False
        match = _AS_AUTHORITY(host)
        if match is None or match[1].lower() != self.host:
            return False
        return self.port == (_PORTS[self.scheme] if match[2] is None else int(match[2]))


class Verdict(NamedTuple):
    """The result of :func:`check_origin`. Without a header to check, ``passes`` is False and ``reason`` is None."""

    passes: bool
    reason: str | None
    #: The headers that were read. The response must name them in Vary.
    vary_on: tuple[str, ...]


_SAME_ORIGIN: Final = Verdict(True, None, _SITE_HEADER)
_ORIGIN_PASSES: Final = Verdict(True, None, _SITE_AND_ORIGIN)
_OTHER_SITE: Final = Verdict(False, ANOTHER_SITE, _SITE_AND_ORIGIN)
_OTHER_ORIGIN: Final = Verdict(False, WRONG_ORIGIN, _SITE_AND_ORIGIN)
_REFERRER_PASSES: Final = Verdict(True, None, _ALL_HEADERS)
_OTHER_REFERRER: Final = Verdict(False, WRONG_REFERRER, _ALL_HEADERS)
_NO_HEADER: Final = Verdict(False, None, _ALL_HEADERS)


def check_origin(request: Request, trusted: Set[Origin], check_referrer: bool) -> Verdict:
    """Return the verdict about a request, from its headers. ``trusted``: the other origins whose requests pass.

    ``check_referrer``: also read the header Referer.
    """
    header = request.environ.get  # with the environ as a local variable, an error report would show the cookies
    site = header("HTTP_SEC_FETCH_SITE")
    if site in _PASSING_SITES:
        return _SAME_ORIGIN
    origin = header("HTTP_ORIGIN")
    if site is not None:
        return _ORIGIN_PASSES if origin is not None and Origin.parse(origin) in trusted else _OTHER_SITE
    if origin is not None:
        passes = origin == _own_text(request) or _is_trusted(Origin.parse(origin), request, trusted)
        return _ORIGIN_PASSES if passes else _OTHER_ORIGIN
    url = header("HTTP_REFERER") if check_referrer else None
    if not url:  # an empty header counts as missing
        return _NO_HEADER
    own = _own_text(request)
    passes = (own is not None and url.startswith(f"{own}/")) or _is_trusted(Origin.of_url(url), request, trusted)
    return _REFERRER_PASSES if passes else _OTHER_REFERRER


def _own_text(request: Request) -> str | None:
    """Return the request's own origin as browsers write it. To compare texts is faster than to parse the header."""
    host = request.environ.get("HTTP_HOST")
    return f"{request.environ['wsgi.url_scheme']}://{host}" if host else None


def _is_trusted(origin: Origin | None, request: Request, trusted: Set[Origin]) -> bool:
    if origin is None:
        return False
    secure = request.environ["wsgi.url_scheme"] == "https"
    return origin in trusted or origin.is_of_host(get_host(request.environ), secure)
