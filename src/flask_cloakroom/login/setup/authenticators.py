"""Authenticators find a request's user by a credential in it, such as an API token, before the session is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from werkzeug.exceptions import Unauthorized

from ...errors import CloakroomError
from .callbacks import call
from .users import is_set

if TYPE_CHECKING:
    from flask import Request

#: Schemes of ``Authorization`` that browsers send automatically after the first use (RFC 7617, RFC 7616, RFC 4559),
#: also with a request that a page of another site makes.
SENT_BY_BROWSERS: Final = frozenset({"basic", "digest", "negotiate", "ntlm"})

#: Headers that browsers set, that a page of any site may set, or that proxies set (Fetch standard: forbidden and
#: CORS-safelisted request headers). The same is true of all headers with the prefixes below.
_OF_BROWSERS: Final = frozenset(
    {
        "accept",
        "authorization",
        "connection",
        "cookie",
        "cookie2",
        "date",
        "dnt",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "origin",
        "range",
        "referer",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-real-ip",
    }
)
_PREFIXES_OF_BROWSERS: Final = ("accept-", "access-control-", "content-", "proxy-", "sec-", "x-forwarded-")
#: The syntax of a header's name (RFC 9110, 5.6.2).
_NAME: Final = re.compile(r"[!#$%&'*+\-.^`|~0-9A-Za-z]+", re.ASCII).fullmatch


class Refused(CloakroomError, Unauthorized):
    """An authenticator raises this error for a credential that is not valid. The response is a 401.

    The request stays anonymous: its session and its other credentials are not tried. ``reason`` is for the log; the
    visitor does not see it. ``challenge``: the header WWW-Authenticate, in place of the authenticator's ``challenge``.
    """

    def __init__(self, reason: str, challenge: str | None = None) -> None:
        super().__init__()
        self.reason = reason
        self.challenge = challenge

    def __str__(self) -> str:
        return self.reason

    def get_headers(self, *arguments: Any, **named: Any) -> list[tuple[str, str]]:
        """Return the headers of the response, with WWW-Authenticate. Werkzeug calls this."""
        headers = super().get_headers(*arguments, **named)
        return headers if self.challenge is None else [*headers, ("WWW-Authenticate", self.challenge)]


@dataclass(frozen=True, slots=True)
class Authenticator:
    """A function of the application that finds the user of a request, and the requests that it is called for."""

    function: Callable[..., Any]
    #: The function is called only for this scheme of the Authorization header, in lower case. None means any request.
    scheme: str | None = None
    #: The value of WWW-Authenticate in the 401.
    challenge: str | None = None
    #: The function is called only for requests with this header. None means any request.
    header: str | None = None

    @classmethod
    def create(
        cls, function: Callable[..., Any], scheme: str | None, challenge: str | None, header: str | None
    ) -> Authenticator:
        """Return an authenticator, with the scheme's usual challenge unless one is given.

        Raises ValueError for a header that browsers set or that a page of another site can set.
        """
        if header is not None and (scheme is not None or not _is_custom_header(header)):
            raise ValueError(
                f"header={header!r} is a header of browsers, or has a scheme too. Give a header that browsers do "
                'not know, such as "X-API-Key", without a scheme; for the header Authorization give only its scheme'
            )
        if scheme is not None and challenge is None:
            challenge = 'Basic realm="login", charset="UTF-8"' if scheme.lower() == "basic" else scheme
        return cls(function, None if scheme is None else scheme.lower(), challenge, header)

    def user_of(self, request: Request) -> Any:
        """Return the user of a request, or None if it has no credential for this authenticator.

        Raises :class:`Refused` if the credential is not valid.
        """
        if self.scheme is not None:
            if scheme_of(request) != self.scheme:
                return None
            # request.authorization is in no local variable, because its repr() shows the password.
            if request.authorization is None or request.authorization.type != self.scheme:
                raise Refused(f"the header for {self.scheme} cannot be read")
        if self.header is not None and self.header not in request.headers:
            return None
        user = call(self.function, request)
        if isinstance(user, Refused):
            raise user
        if user is None and (self.scheme is not None or self.header is not None):
            raise Refused(f"the credential for {self.scheme or self.header} belongs to no user")
        if user is not None and not is_set(user, "is_active"):
            raise Refused("the user is not active")
        return user


def _is_custom_header(header: str) -> bool:
    name = header.lower()
    return bool(_NAME(name)) and name not in _OF_BROWSERS and not name.startswith(_PREFIXES_OF_BROWSERS)


def has_unforgeable_credential(request: Request, authenticators: list[Authenticator]) -> bool:
    """Return whether a request has a credential in a header that no page of another site can make a browser send."""
    if scheme_of(request) not in SENT_BY_BROWSERS | {""}:
        return True
    return any(one.header is not None and one.header in request.headers for one in authenticators)


def scheme_of(request: Request) -> str:
    """Return the scheme of the Authorization header, in lower case, or "" without the header."""
    header = request.headers.get("Authorization", "")
    return header.split(None, 1)[0].lower() if header.strip() else ""
