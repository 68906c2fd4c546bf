"""Logins by what a request itself shows, such as an API token in a header: asked before any session is looked at."""

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

#: Schemes that browsers send by themselves once they were used (RFC 7617, RFC 7616, RFC 4559): also with a request
#: that another site made them send.
SENT_BY_BROWSERS: Final = frozenset({"basic", "digest", "negotiate", "ntlm"})


#: Headers that browsers set, or let a page of any site set (Fetch standard: forbidden and CORS-safelisted request
#: headers), or that proxies set; beside those that begin with the prefixes.
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
#: RFC 9110, 5.6.2.
_NAME: Final = re.compile(r"[!#$%&'*+\-.^`|~0-9A-Za-z]+", re.ASCII).fullmatch


class Refused(CloakroomError, Unauthorized):
    """A credential was shown, and it is no good: the answer is a 401, and nothing else is tried.

    For an authenticator to raise. ``reason`` is for the log and not for the visitor; ``challenge`` is the header
    WWW-Authenticate, in the place of that of the authenticator.
    """

    def __init__(self, reason: str, challenge: str | None = None) -> None:
        super().__init__()
        self.reason = reason
        self.challenge = challenge

    def __str__(self) -> str:
        return self.reason

    def get_headers(self, *arguments: Any, **named: Any) -> list[tuple[str, str]]:
        """Return the response's headers, as werkzeug asks for them."""
        headers = super().get_headers(*arguments, **named)
        return headers if self.challenge is None else [*headers, ("WWW-Authenticate", self.challenge)]


@dataclass(frozen=True, slots=True)
class Authenticator:
    """A function that finds the user of a request, and what it is asked for."""

    function: Callable[..., Any]
    #: The scheme of the Authorization header that is this one's alone, in lower case; None: it is asked every time.
    scheme: str | None = None
    #: What WWW-Authenticate says where this one refused.
    challenge: str | None = None
    #: Another header that is this one's alone; None as above.
    header: str | None = None

    @classmethod
    def create(
        cls, function: Callable[..., Any], scheme: str | None, challenge: str | None, header: str | None
    ) -> Authenticator:
        """Return one with the scheme's usual challenge if none is given. Raises ValueError for a header that cannot be.

        That is one that a page of another site can set, or that browsers set.
        """
        if header is not None and (scheme is not None or not _is_custom_header(header)):
            raise ValueError(
                f'header={header!r}: give a header that browsers do not know, as "X-API-Key", and no scheme with it; '
                "for the header Authorization give its scheme"
            )
        if scheme is not None and challenge is None:
            challenge = 'Basic realm="login", charset="UTF-8"' if scheme.lower() == "basic" else scheme
        return cls(function, None if scheme is None else scheme.lower(), challenge, header)

    def user_of(self, request: Request) -> Any:
        """Return the user, None for a request that is not this one's. Raises :class:`Refused`."""
        if self.scheme is not None:
            if scheme_of(request) != self.scheme:
                return None
            # Not in a local variable, because its repr() shows the password.
            if request.authorization is None or request.authorization.type != self.scheme:
                raise Refused(f"the header for {self.scheme} cannot be read")
        if self.header is not None and self.header not in request.headers:
            return None
        user = call(self.function, request)
        if isinstance(user, Refused):
            raise user
        if user is None and (self.scheme is not None or self.header is not None):
            raise Refused(f"the credential for {self.scheme or self.header} is nobody's")
        if user is not None and not is_set(user, "is_active"):
            raise Refused("the user is not active")
        return user


def _is_custom_header(header: str) -> bool:
    name = header.lower()
    return bool(_NAME(name)) and name not in _OF_BROWSERS and not name.startswith(_PREFIXES_OF_BROWSERS)


def has_unforgeable_credential(request: Request, authenticators: list[Authenticator]) -> bool:
    """Tell whether a request has a header for credentials that no other site can make a browser send."""
    if scheme_of(request) not in SENT_BY_BROWSERS | {""}:
        return True
    return any(one.header is not None and one.header in request.headers for one in authenticators)


def scheme_of(request: Request) -> str:
    """Return the scheme of the Authorization header, in lower case; "" if there is none."""
    header = request.headers.get("Authorization", "")
    return header.split(None, 1)[0].lower() if header.strip() else ""
