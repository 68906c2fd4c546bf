"""What one request has to tell its response and its forms: was it checked, and did it pass?

The state is kept on the request, because several requests may share one ``g``.
"""

from __future__ import annotations

from typing import Final

from flask import Request, has_request_context
from werkzeug.local import LocalProxy

from ..context import this_app
from ..secret import Secret

#: Where an application keeps its protection; Flask-WTF's name.
EXTENSION_KEY: Final = "csrf"

_NAME: Final = "_flask_cloakroom_csrf"


class CSRFState:
    """Lives as long as the request. Made when it is checked, or renders a token."""

    # Class attributes, which cost a request nothing that sets none of them.
    #: Headers that the answer rests on, as Vary names them.
    looked_at: tuple[str, ...] | None = None
    #: Whether the request was found good, or refused; None if it was not checked.
    passed: bool | None = None
    #: Whether the token that the browser has may be void: one was looked at, or somebody was logged in or out.
    suspect = False
    #: The token that was rendered, if one was.
    token: Secret | None = None


def state_of(request: Request) -> CSRFState:
    """Return the request's state."""
    state: CSRFState | None = request.__dict__.get(_NAME)
    if state is None:
        state = request.__dict__[_NAME] = CSRFState()
    return state


def known_state_of(request: Request) -> CSRFState | None:
    """Return the same, or None if there is nothing to tell."""
    state: CSRFState | None = request.__dict__.get(_NAME)
    return state


class Protection:
    """What forms ask of their application's protection. It tells ours from Flask-WTF's, which has the same key."""

    def has_passed(self) -> bool:
        """Tell whether the present request was found good or needs no check, so that its forms ask for no token."""
        raise NotImplementedError


def protection_of_this_app() -> Protection | None:
    """Return the present application's protection, or None if the application has none of ours."""
    protection = this_app().extensions.get(EXTENSION_KEY)
    return protection if isinstance(protection, Protection) else None


def has_passed() -> bool:
    """Tell whether the application's protection found the present request good, or exempt."""
    protection = protection_of_this_app() if has_request_context() else None
    return protection is not None and protection.has_passed()


#: Stands in ``g.csrf_valid``, where Flask-WTF's forms look, for the answer of whichever request asks: several may share
#: one ``g``, and the next one must not pass by the answer of this one.
PASSED: Final = LocalProxy(has_passed)
