"""Functions of the login that the CSRF protection calls: the secret of each login, and logins by a header.

A request with a credential in a header needs no CSRF token. The header is ``Authorization``, or a header that an
authenticator is registered for. A page of another site cannot set such a header, unless the application allows that by
CORS. A scheme of ``Authorization`` that browsers send automatically, such as Basic, is not such a credential.

A proxy that logs users in by its own cookie may add ``Authorization``, also to a forged request. The browser's header
Sec-Fetch-Mode shows that such a request was sent by a form or an image, and not by a script.
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

#: Values of Sec-Fetch-Mode for requests with headers that a script set (Fetch Metadata, W3C, 2.2). None: the request
#: has no such header, because it comes from an old browser or from another program.
_OF_SCRIPTS: Final = (None, "cors", "same-origin")


def has_header_login() -> bool:
    """Return whether the request's user was found by a credential in a header, and by no cookie.

    Return False if the request has a session cookie or a remember cookie of any user kind, because the view may use
    that login. If a credential was refused and no user was found, raises the error of the authenticator (a 401).
    """
    app, request = this_app(), this_request()
    realms = [
        one for one in realms_of(app) if one.has_loader and has_unforgeable_credential(request, one.authenticators)
    ]
    if not realms or _brings_login_cookie(app, request):
        return False
    if request.headers.get("Sec-Fetch-Mode") not in _OF_SCRIPTS:
        return False  # a proxy set the header, and not a script
    refusal: HTTPException | None = None
    for realm in realms:
        state = login_state(realm)
        try:
            user_of(state)
        except HTTPException as error:  # the credential may belong to another user kind
            refusal = refusal or error
        else:
            if state.source in ("header", "request_loader"):
                return True
    if refusal is not None:
        raise refusal
    return False


def login_secrets(resume: bool) -> list[Secret]:
    """Return the secret of each login of the request's browser: see :data:`.hooks.LOGIN_SECRETS`.

    ``resume``: log in by remember token first. Otherwise a forged request could pass with the CSRF token of an
    anonymous session, and its view would then run for the remembered user.

    The session of a user kind is opened only if the browser has a cookie of this user kind.
    """
    if not has_request_context():
        return []
    app, request = this_app(), this_request()
    found = []
    for realm in realms_of(app):
        if realm.may_have_login(app, request):
            session = realm.session_of(request)
            if resume and session.get(USER_KEY) is None and realm.has_loader:
                state = login_state(realm)
                if state.can_send_cookies and sent_tokens(state):
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
