"""``SeaSurf``: the protection with the names, settings and answers of Flask-SeaSurf."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from flask import has_request_context, session

from ... import signals
from ...context import this_app, this_request
from ...secret import Secret
from ...sessions.outage import SessionUnavailable
from ..errors import CSRFError, HandledSeaSurfError, SeaSurfError
from ..exemptions import Views, call_predicate
from ..origin import check_origin
from ..protect import CSRFProtect
from ..session_tokens import delete_secret, generate_csrf, is_token_of_session
from ..settings import SAFE_METHODS, set_source, settings_of
from ..state import STATE_NAME, state_of
from .settings import SEASURF_SETTINGS

if TYPE_CHECKING:
    from flask import Blueprint, Flask, Request, Response

    from ...cookies import Cookie
    from ..settings import CSRFSettings
    from ..state import CSRFState

T = TypeVar("T", bound="Blueprint | Callable[..., Any]")
R = TypeVar("R", bound="Callable[[Response], Any]")

#: The signals that a login began, changed or ended, which makes older tokens invalid.
_LOGIN_SIGNALS: Final = (
    signals.user_logged_in,
    signals.user_logged_out,
    signals.user_loaded_from_cookie,
    signals.user_login_confirmed,
    signals.impersonation_started,
    signals.impersonation_ended,
)

NO_REQUEST: Final = "There is no request to check for forgery. Call the method validate in a view."


class SeaSurf(CSRFProtect):
    """Check each request as :class:`CSRFProtect` does, and give every visitor the token in a cookie.

    The settings are Flask-SeaSurf's. A refused request gets a 403.
    """

    def __init__(self, app: Flask | None = None) -> None:
        """Make the extension. With ``app``, also call :meth:`init_app`."""
        self._included = Views("include")
        self._with_cookie = Views("set_cookie")
        self._no_cookie_callback: Callable[[Response], Any] | None = None
        super().__init__(app)

    def init_app(self, app: Flask, *, unless_replaced: bool = False) -> None:
        """Protect ``app``, and give its templates ``csrf_token()`` and ``csrf_meta_tag()``.

        ``unless_replaced``: check no requests if the application gets another protection later.
        Raises :class:`~flask_cloakroom.SettingError` for a wrong setting.
        """
        set_source(app, SEASURF_SETTINGS)
        # Flask-WTF's forms read the name of their hidden field from app.config.
        app.config.setdefault("WTF_CSRF_FIELD_NAME", settings_of(app).field)
        super().init_app(app, unless_replaced=unless_replaced)
        app.after_request(lambda response: self._after_request(app, response))
        for signal in _LOGIN_SIGNALS:
            signal.connect(_mark_token_stale, app)

    def include(self, view: T) -> T:
        """Protect a view, or the views of a blueprint, if SEASURF_INCLUDE_OR_EXEMPT_VIEWS is "include".

        Usable as a decorator.
        """
        return self._included.add(view)

    def set_cookie(self, view: T) -> T:
        """Set the token's cookie in the responses of an exempt view too. Usable as a decorator."""
        return self._with_cookie.add(view)

    def disable_cookie(self, callback: R) -> R:
        """Register a function that takes a response and returns True if the response shall not set the token's cookie.

        The function is called only for responses that would get the cookie. It may be async. Usable as a decorator.
        """
        self._no_cookie_callback = callback
        return callback

    def validate(self) -> None:
        """Check the current request with any method, even in an exempt view.

        Raises :class:`CSRFError` with the status 403 to refuse the request.
        """
        if not has_request_context():
            raise SeaSurfError(NO_REQUEST)
        app = this_app()
        self._check_request(app, this_request(), settings_of(app))

    def generate_new_token(self) -> None:
        """Make all CSRF tokens of the session invalid, and put a new one into the response's cookie."""
        delete_secret()
        generate_csrf()

    def _is_protected(self, app: Flask, request: Request, settings: CSRFSettings) -> bool:
        if settings.include_only and not self._included.covers(app, request):
            return False
        return super()._is_protected(app, request, settings)

    def _error(self, app: Flask, request: Request, reason: str | None) -> CSRFError:
        scopes = (*request.blueprints, None)
        handlers = (app.error_handler_spec.get(scope, {}).get(CSRFError.code, {}) for scope in scopes)
        return (HandledSeaSurfError if any(CSRFError in found for found in handlers) else SeaSurfError)(reason)

    def _after_request(self, app: Flask, response: Response) -> Response:
        """Find the token for the response's cookie before the session is saved, because this may make a token."""
        request = this_request()
        # This makes a state for every request, because every visitor gets a token.
        self._find_cookie_token(app, request, response, state_of(request))
        return response

    def finish_response(self, request: Request, response: Response) -> None:
        """Set the token's cookie and ``Vary`` in a response whose session was saved."""
        state: CSRFState | None = request.__dict__.get(STATE_NAME)
        if state is not None:
            self._send(response, state)

    def _token_for_cookie(self, app: Flask, request: Request, response: Response, state: CSRFState) -> Secret | None:
        settings = settings_of(app)
        cookie = settings.cookie
        if cookie is None or not settings.enabled or not self._may_have_cookie(app, request, response, state):
            return None
        try:
            is_needed = state.token is not None or _needs_token(app, request, settings, cookie, state)
            is_orphaned = not is_needed and _has_token_without_session(request, cookie, state)
            if not (is_needed or is_orphaned) or call_predicate(app, self._no_cookie_callback, response):
                return None
            if is_needed:
                return Secret(generate_csrf())
            state.cookie_token = Secret()  # deletes the cookie; then the next page sets a valid token
            return None
        except SessionUnavailable:
            return None  # the session interface answers with a 503

    def _may_have_cookie(self, app: Flask, request: Request, response: Response, state: CSRFState) -> bool:
        if request.endpoint is None or request.endpoint.rpartition(".")[2] == "static" or response.status_code >= 500:
            return False  # caches store static files, and the page that uses the file has set the cookie
        checked = state.passed is not None
        return checked or self._with_cookie.covers(app, request) or self._is_protected(app, request, settings_of(app))


def _needs_token(app: Flask, request: Request, settings: CSRFSettings, cookie: Cookie, state: CSRFState) -> bool:
    """Return True if the browser has no token in its cookie, or an invalid token.

    The token is checked only if it is probably invalid, because the check opens the session. A refused request begins
    no session here. Such a request may come from a form of another site: the browser sends no Lax cookies with that
    form, but accepts new cookies, so a new session would replace the visitor's session.
    """
    token = Secret(cookie.value(request.environ))
    if not token and state.passed is not False:
        return not _may_withhold_cookies(app, request, settings, cookie)
    return state.token_may_be_stale and bool(session) and not is_token_of_session(token)


def _has_token_without_session(request: Request, cookie: Cookie, state: CSRFState) -> bool:
    """Return True if the browser has a token but no session, as after a logout.

    The session is opened only if that is probable. Return False if the browser sent the request before a parallel
    login, because the browser may have a new session by now.
    """
    if not state.token_may_be_stale or not cookie.value(request.environ):
        return False
    return not session and not getattr(session, "superseded", False)


def _may_withhold_cookies(app: Flask, request: Request, settings: CSRFSettings, cookie: Cookie) -> bool:
    """Return True if the browser may have cookies that it did not send with this request.

    A browser sends no Lax cookies with a form of another site, such as a payment page that sends the visitor back, and
    no Strict cookies with a link of another site. A session that began in such a request would replace the visitor's
    session. The next page sets the token instead.
    """
    if request.method not in SAFE_METHODS:
        return check_origin(request, frozenset(), settings.check_referrer).reason is not None
    if request.environ.get("HTTP_SEC_FETCH_SITE") != "cross-site":
        return False
    return "Strict" in (cookie.samesite, str(app.config.get("SESSION_COOKIE_SAMESITE")).title())


def _mark_token_stale(app: Flask, **_: Any) -> None:
    """Mark the browser's token as possibly invalid, because a login began, changed or ended."""
    if has_request_context():
        state_of(this_request()).token_may_be_stale = True
