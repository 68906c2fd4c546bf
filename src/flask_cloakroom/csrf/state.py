"""The state of the CSRF check of one request, for the response and the forms of the request.

The request object has the state, and not ``g``, because several requests can share one ``g``.
"""

from __future__ import annotations

from typing import Final

from flask import Request, has_request_context
from werkzeug.local import LocalProxy

from ..context import this_app
from ..secret import Secret

#: The key of the protection in ``app.extensions``. Flask-WTF uses the same key.
EXTENSION_KEY: Final = "csrf"

#: The name of the attribute of the request object with the state. Most requests have no state.
STATE_NAME: Final = "_flask_cloakroom_csrf"


class CSRFState:
    """The state of one request, made when the request is checked or renders a token."""

    # The defaults are class attributes, so that a request sets only the values that differ from them.
    #: The request headers that decided whether the request passes. The response names these headers in Vary.
    vary_on: tuple[str, ...] | None = None
    #: True if the request passed, False if it was refused, None if it was not checked.
    passed: bool | None = None
    #: Whether the browser's token may be invalid, because this request checked a token or changed a login.
    token_may_be_stale = False
    #: The token that this request rendered, or None.
    token: Secret | None = None
    #: The token that the response sets in its cookie, "" to delete the cookie, or None to send no cookie.
    cookie_token: Secret | None = None


def state_of(request: Request) -> CSRFState:
    """Return the state of a request. The first call for a request makes the state."""
    state: CSRFState | None = request.__dict__.get(STATE_NAME)
    # setdefault() is atomic, because another thread of the request may make the state too.
    return request.__dict__.setdefault(STATE_NAME, CSRFState()) if state is None else state


class Protection:
    """The base class of this package's protections, with the method that forms call.

    Flask-WTF's protection may be under the same key in ``app.extensions``, but is no subclass of this class.
    """

    def has_passed(self) -> bool:
        """Return True if the current request passed the check or needs no check. Then its forms need no token."""
        raise NotImplementedError


def protection_of_this_app() -> Protection | None:
    """Return this package's protection of the current application, or None."""
    protection = this_app().extensions.get(EXTENSION_KEY)
    return protection if isinstance(protection, Protection) else None


def has_passed() -> bool:
    """Return True if this package's protection let the current request pass, or does not check it."""
    protection = protection_of_this_app() if has_request_context() else None
    return protection is not None and protection.has_passed()


#: The value of ``g.csrf_valid``, which Flask-WTF's forms read. Several requests can share one ``g``, so a plain True of
#: one request would let the next request pass. The proxy calls :func:`has_passed` each time that a form reads it.
PASSED: Final = LocalProxy(has_passed)
