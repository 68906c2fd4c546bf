"""Where a request says that it comes from. A page of another site cannot set these headers; browsers do.

In this order: ``Sec-Fetch-Site`` is the browser's own verdict, so no proxy that rewrites the host can spoil it; then
``Origin``, then ``Referer``, both compared with the host that the request was sent to and never with each other.
"""

from __future__ import annotations

import re
from collections.abc import Set
from typing import TYPE_CHECKING, Final, NamedTuple

from werkzeug.wsgi import get_host

if TYPE_CHECKING:
    from flask import Request

# An origin as browsers write it (RFC 6454, 6.2; hosts are ASCII by then), and the beginning of a URL. Nobody else's
# user name, backslash, space or list of origins fits in.
_HOST: Final = r"(?:[a-z0-9_.\-]{1,255}|\[[0-9a-f:.]{2,45}\])"
_ORIGIN: Final = rf"([a-z][a-z0-9+.\-]{{0,31}})://({_HOST})(?::([0-9]{{1,5}}))?"
_AS_ORIGIN: Final = re.compile(_ORIGIN, re.ASCII | re.IGNORECASE).fullmatch
_AS_URL: Final = re.compile(rf"{_ORIGIN}(?:[/?#]|\Z)", re.ASCII | re.IGNORECASE).match
_AS_AUTHORITY: Final = re.compile(rf"({_HOST})(?::([0-9]{{1,5}}))?", re.ASCII | re.IGNORECASE).fullmatch
_PORTS: Final = {"http": 80, "https": 443}

#: Fetch Metadata (W3C), 2.4: "none" is the visitor's own doing, as a bookmark. "same-site" is a sibling domain, which
#: may be anybody's (CVE-2025-46721), and is neither.
OWN_SITES: Final = frozenset({"same-origin", "none"})

ANOTHER_SITE: Final = "The request comes from another site."
WRONG_ORIGIN: Final = "The origin does not match the host."
WRONG_REFERRER: Final = "The referrer does not match the host."

FETCH_SITE: Final = ("Sec-Fetch-Site",)
FETCH_SITE_AND_ORIGIN: Final = (*FETCH_SITE, "Origin")
ALL_HEADERS: Final = (*FETCH_SITE_AND_ORIGIN, "Referer")


class Origin(NamedTuple):
    """A scheme, a host and a port, in lower case; the port of the scheme if none was given, None if it has none."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Origin | None:
        """Read the value of an Origin header; None for "null" and whatever else is no origin."""
        return cls._of(_AS_ORIGIN(text))

    @classmethod
    def of_url(cls, url: str) -> Origin | None:
        """Read the origin of a URL, as a Referer header has it; None for what is no URL with a host."""
        return cls._of(_AS_URL(url))

    @classmethod
    def _of(cls, found: re.Match[str] | None) -> Origin | None:
        if found is None:
            return None
        scheme, host, port = found.groups()
        scheme = scheme.lower()
        return cls(scheme, host.lower(), _PORTS.get(scheme) if port is None else int(port))

    def is_of(self, host: str, secure: bool) -> bool:
        """Tell whether it is that of a server whose host, and port if it is not the usual one, is ``host``.

        ``secure``: the request came by HTTPS; then a page by HTTP is another origin, which anybody on the line can
        write. The other way round it is ours: a proxy in front may have taken the HTTPS off and not have said so.
        """
        if self.scheme not in _PORTS or (secure and self.scheme == "http"):
            return False
        found = _AS_AUTHORITY(host)
        if found is None or found[1].lower() != self.host:
            return False
        return self.port == (_PORTS[self.scheme] if found[2] is None else int(found[2]))


class Verdict(NamedTuple):
    """What the headers say: ``passes``, or the ``reason`` of a refusal, or neither if they say nothing."""

    passes: bool
    reason: str | None
    #: The headers that were looked at, as the response's Vary shall name them.
    looked_at: tuple[str, ...]


_SAME_ORIGIN: Final = Verdict(True, None, FETCH_SITE)
_MATCHES: Final = Verdict(True, None, FETCH_SITE_AND_ORIGIN)
_OTHER_SITE: Final = Verdict(False, ANOTHER_SITE, FETCH_SITE_AND_ORIGIN)
_OTHER_ORIGIN: Final = Verdict(False, WRONG_ORIGIN, FETCH_SITE_AND_ORIGIN)
_REFERRER_MATCHES: Final = Verdict(True, None, ALL_HEADERS)
_OTHER_REFERRER: Final = Verdict(False, WRONG_REFERRER, ALL_HEADERS)
_SILENT: Final = Verdict(False, None, ALL_HEADERS)


def judged(request: Request, trusted: Set[Origin], referrer: bool) -> Verdict:
    """Say what the headers of a request tell of where it comes from; the Referer only if ``referrer``."""
    header = request.environ.get  # the environ itself would show the cookies in an error report
    site = header("HTTP_SEC_FETCH_SITE")
    if site in OWN_SITES:
        return _SAME_ORIGIN
    given = header("HTTP_ORIGIN")
    if site is not None:
        return _MATCHES if given is not None and Origin.parse(given) in trusted else _OTHER_SITE
    if given is not None:
        passes = given == _own_text(request) or _is_ours(Origin.parse(given), request, trusted)
        return _MATCHES if passes else _OTHER_ORIGIN
    url = header("HTTP_REFERER") if referrer else None
    if not url:  # an empty one says as much as none
        return _SILENT
    own = _own_text(request)
    passes = (own is not None and url.startswith(f"{own}/")) or _is_ours(Origin.of_url(url), request, trusted)
    return _REFERRER_MATCHES if passes else _OTHER_REFERRER


def _own_text(request: Request) -> str | None:
    """Return the origin of the request as most browsers write it. To compare with it is faster than to read theirs."""
    host = request.environ.get("HTTP_HOST")
    return f"{request.environ['wsgi.url_scheme']}://{host}" if host else None


def _is_ours(origin: Origin | None, request: Request, trusted: Set[Origin]) -> bool:
    if origin is None:
        return False
    return origin in trusted or origin.is_of(get_host(request.environ), request.environ["wsgi.url_scheme"] == "https")
