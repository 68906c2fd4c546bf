"""Requests whose user is shown by a header: no other site can have made a browser send them.

The proof is the header itself: ``Authorization``, or one that an authenticator is registered for. A page of another
site cannot set it, unless the application allows that site to by CORS; and browsers add ``Authorization`` by themselves
for a few schemes only, which do not count.

A proxy that logs people in by a cookie of its own may add ``Authorization`` as well, also to what another site made a
browser send. Where the browser says that it was a form or an image that sent the request, that is found out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flask import has_request_context
from werkzeug.exceptions import HTTPException

from ..context import this_app, this_request
from ..sessions.interface import ServerSessionInterface
from .authenticators import shows_credential
from .current import EXTENSION_KEY, managers_of, user_of
from .state import state_of

if TYPE_CHECKING:
    from flask import Flask, Request

    from .manager import LoginManager

#: Fetch Metadata (W3C), 2.2: how scripts send what has headers of theirs; None: no browser, or an old one.
_OF_SCRIPTS: Final = (None, "cors", "same-origin")


def is_shown_by_header() -> bool:
    """Tell whether the present request has such a header, and its user was found by what it shows and by no cookie.

    Not if the request brings the cookie of a session, or one that remembers a login, of whichever kind of user: the
    view may act by that. If nobody is found and a credential was refused, raises that refusal (a 401).
    """
    app, request = this_app(), this_request()
    managers = [one for one in managers_of(app) if one.has_loader and shows_credential(request, one.authenticators)]
    if not managers or _brings_login_cookie(app, request):
        return False
    if request.headers.get("Sec-Fetch-Mode") not in _OF_SCRIPTS:
        return False  # whoever put the header in, it was no page
    refusal: HTTPException | None = None
    for manager in managers:
        state = state_of(request, manager)
        try:
            user_of(state)
        except HTTPException as error:  # it may be the credential of another kind of user
            refusal = refusal or error
        else:
            if state.source in ("header", "request_loader"):
                return True
    if refusal is not None:
        raise refusal
    return False


def find_login() -> None:
    """Find the request's user, if anybody can be logged in."""
    manager: LoginManager | None = this_app().extensions.get(EXTENSION_KEY)
    if manager is not None and manager.has_loader and has_request_context():
        user_of(state_of(this_request(), manager))


def _brings_login_cookie(app: Flask, request: Request) -> bool:
    names = {_cookie_name(app.session_interface, app)}
    for manager in managers_of(app):
        names |= {_cookie_name(manager.interface_for(app), app), manager.settings_for(app).cookie.name}
    return any(name in request.cookies for name in names)


def _cookie_name(interface: Any, app: Flask) -> str:
    if isinstance(interface, ServerSessionInterface):
        return interface.settings.cookie.name
    name: str = interface.get_cookie_name(app)
    return name
