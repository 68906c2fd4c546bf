"""Requests whose user is shown by a header: no other site can have made a browser send them.

The proof is the header itself: ``Authorization``, or one that an authenticator is registered for. A page of another
site cannot set it, unless the application allows that site to by CORS; and browsers add ``Authorization`` by themselves
for a few schemes only, which do not count.

A proxy that logs people in by a cookie of its own may add ``Authorization`` as well, also to what another site made a
browser send. Where the browser says that it was a form or an image that sent the request, that is found out.
"""

from __future__ import annotations

from typing import Final

from flask import Flask, Request, has_request_context
from werkzeug.exceptions import HTTPException

from ...context import this_app, this_request
from ...cookies import has_cookie
from ...core.values.own_keys import USER_KEY
from ...secret import Secret
from ..in_session.session_login import secret_of
from ..setup.authenticators import has_unforgeable_credential
from ..setup.realm import cookie_name, realms_of
from .current_user import user_of
from .remember_cookies import sent_tokens
from .state import login_state

#: Fetch Metadata (W3C), 2.2: how scripts send what has headers of theirs; None: no browser, or an old one.
_OF_SCRIPTS: Final = (None, "cors", "same-origin")


def has_header_login() -> bool:
    """Tell whether the present request has such a header, and its user was found by what it shows and by no cookie.

    Not if the request brings the cookie of a session, or one that remembers a login, of whichever kind of user: the
    view may act by that. If nobody is found and a credential was refused, raises that refusal (a 401).
    """
    app, request = this_app(), this_request()
    realms = [
        one for one in realms_of(app) if one.has_loader and has_unforgeable_credential(request, one.authenticators)
    ]
    if not realms or _brings_login_cookie(app, request):
        return False
    if request.headers.get("Sec-Fetch-Mode") not in _OF_SCRIPTS:
        return False  # whoever put the header in, it was no page
    refusal: HTTPException | None = None
    for realm in realms:
        state = login_state(realm)
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


def login_secrets(resume: bool) -> list[Secret]:
    """Return a text for each login of the request's browser: :data:`.hooks.LOGIN_SECRETS`.

    ``resume``: begin a remembered login first. Without that a forged request could pass with a token of a session where
    nobody is logged in, and its view would then be asked for by the remembered user.

    The session of another kind of user is opened only if the browser has a cookie of that kind.
    """
    if not has_request_context():
        return []
    app, request = this_app(), this_request()
    found = []
    for realm in realms_of(app):
        if realm.may_have_login(app, request):
            session = realm.session_of(request)
            if resume and session.get(USER_KEY) is None and realm.has_loader and not realm.has_finished(request):
                state = login_state(realm)
                if sent_tokens(state):
                    user_of(state)
            secret = secret_of(session)
            if secret is not None:
                found.append(Secret(f"{realm.state_name}={secret}"))
    return found


def _brings_login_cookie(app: Flask, request: Request) -> bool:
    names = {cookie_name(app.session_interface, app)}
    for realm in realms_of(app):
        names.update(realm.cookie_names(app))
    return any(has_cookie(request.environ, name) for name in names)
