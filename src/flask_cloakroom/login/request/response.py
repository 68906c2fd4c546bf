"""What the login adds to a response: the remember cookie, and who may keep the page."""

from __future__ import annotations

import logging
from typing import Final

from flask import Response

from ...sessions.outage import SessionUnavailable
from ..remember.tokens import Remembered
from ..setup.config import AUTH_HASH, USER_ID
from .remember_cookies import remembered_in
from .state import LoginState

log = logging.getLogger("flask_cloakroom.login")

#: With REMEMBER_COOKIE_REFRESH_EACH_REQUEST a token is issued anew when so much of its life has passed: often enough
#: that nobody loses more than that, and not with every image of a page.
REFRESH_PART: Final = 10
#: And at the latest after so many seconds.
REFRESH_SECONDS: Final = 600


def finish(state: LoginState, response: Response) -> None:
    """Finish the response of a request that asked for its user."""
    settings = state.settings
    if state.private and "Cache-Control" not in response.headers:
        # OWASP ASVS 5.0, 14.3.2: what a browser keeps, its next user finds after the logout.
        response.headers["Cache-Control"] = "no-store"
    if state.clear_site_data and settings.clear_site_data:
        response.headers.setdefault("Clear-Site-Data", settings.clear_site_data)
    if settings.refresh_each_request and _may_refresh(state):
        try:
            _refresh(state)
        except SessionUnavailable:
            log.warning("a remember token was not extended, because the store is down; the next request will")
    if state.remember and state.resumed is not None and not _stands(state, state.resumed):
        state.remember = None  # a slow page must not take the token away that a login has set meanwhile
    if state.remember is not None:
        if state.remember:
            settings.cookie.set(response, state.remember, state.remember_for)
        else:
            settings.cookie.delete(response)


def _stands(state: LoginState, remembered: Remembered) -> bool:
    try:
        return state.tokens.stands(remembered)
    except SessionUnavailable:
        return True  # the browser's own token is spent


def _may_refresh(state: LoginState) -> bool:
    """Tell whether somebody is logged in by the session, as themselves, and no other token is sent to them."""
    by_session = state.private and not state.ignores_session
    return by_session and state.impersonator is None and state.remember is None


def _refresh(state: LoginState) -> None:
    """Issue the browser's token anew, if it is good and the present user's."""
    session = state.session
    for remembered in remembered_in(state, session.get(USER_ID)):
        if remembered.used or remembered.auth_hash != session.get(AUTH_HASH, ""):
            continue
        if remembered.age >= min(remembered.lifetime / REFRESH_PART, REFRESH_SECONDS):
            extended = state.tokens.extend(remembered)
            if extended is not None:
                state.set_remember(extended, remembered.lifetime)
        return
