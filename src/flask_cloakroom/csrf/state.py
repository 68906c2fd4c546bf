"""The state of one request's check, for its response and its forms.

It is stored on the request and not in ``g``, because several requests can share one ``g``.
"""

from __future__ import annotations

from typing import Final

from flask import Request, has_request_context
from werkzeug.local import LocalProxy

from ..context import this_app
from ..secret import Secret

#: The key of the protection in ``app.extensions``, the same one as Flask-WTF's.
EXTENSION_KEY: Final = "csrf"

#: The name of the state in the request object. Most requests have no state.
STATE_NAME: Final = "_flask_cloakroom_csrf"


class CSRFState:
    """The state of one request, made when the request is checked or renders a token."""

    # These are class attributes, so that a request sets only those that differ.
    #: The request headers that the answer depends on. The response names them in Vary.
    vary_on: tuple[str, ...] | None = None
    #: True if the request passed, False if it was refused, None if it was not checked.
    passed: bool | None = None
    #: Whether the browser's token may be stale, because a token was checked or a login changed.
    token_may_be_stale = False
    #: The token that this request rendered, or None.
    token: Secret | None = None


def state_of(request: Request) -> CSRFState:
    """Return the state of a request. Make one if there is none."""
    state: CSRFState | None = request.__dict__.get(STATE_NAME)
    if state is None:
        state = request.__dict__[STATE_NAME] = CSRFState()
    return state


class Protection:
    """The question that forms ask their application's protection.

    Flask-WTF stores its own protection under the same key. That one is no subclass of this class.
    """

    def has_passed(self) -> bool:
        """Return True if the present request passed or needs no check. Then its forms need no token."""
        raise NotImplementedError


def protection_of_this_app() -> Protection | None:
    """Return this package's protection of the present application, or None."""
    protection = this_app().extensions.get(EXTENSION_KEY)
    return protection if isinstance(protection, Protection) else None


def has_passed() -> bool:
    """Return True if this package's protection let the present request pass, or does not check it."""
    protection = protection_of_this_app() if has_request_context() else None
    return protection is not None and protection.has_passed()


#: The value of ``g.csrf_valid``, which Flask-WTF's forms read. Several requests can share one ``g``, so a stored answer
#: of one request would let the next request pass. This proxy answers for the request that asks.
PASSED: Final = LocalProxy(has_passed)
