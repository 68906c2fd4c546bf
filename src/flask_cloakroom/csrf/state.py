"""What one request has to tell its response and its forms. It is kept on the request, as it may share ``g``."""

from __future__ import annotations

from typing import Final

from flask import Request

from ..secret import Secret

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
