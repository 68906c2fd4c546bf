"""``CSRFProtect``: refuses requests that another site made a visitor's browser send."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from copy import copy
from typing import TYPE_CHECKING, Any, Final, TypeVar

from flask import g

from .. import signals
from ..caching import add_vary
from ..context import this_app, this_request
from ..hooks import HAS_HEADER_LOGIN
from ..secret import Secret
from ..sessions.outcome import add_response_part
from ..sessions.work import DELETED_AT_ROTATION
from .errors import CSRFError
from .exemptions import Paths, Views, call_predicate
from .origin import check_origin
from .request_token import token_in
from .session_tokens import csrf_meta_tag, generate_csrf, is_token_of_session, validate_csrf
from .settings import DEFAULTS, SAFE_METHODS, SET_IN_CONFIG, CSRFSettings, settings_of
from .state import EXTENSION_KEY, PASSED, STATE_NAME, CSRFState, Protection, state_of
from .token_format import NO_TOKEN

if TYPE_CHECKING:
    from flask import Blueprint, Flask, Request, Response

log = logging.getLogger("flask_cloakroom.csrf")

T = TypeVar("T", bound="Blueprint | Callable[..., Any]")
C = TypeVar("C", bound="Callable[[Request], Any]")

#: The reason if WTF_CSRF_SSL_STRICT refuses an HTTPS request without the headers of an origin, even with a valid token.
NO_ORIGIN: Final = "The request does not say where it comes from."

_FLASK_WTF_FORM: Final = "flask_wtf.form"


class CSRFProtect(Protection):
    """Check each request whose method may change data, such as POST. One object can protect several applications.

    The headers of the request's origin are checked first; this check does not open the session. A request without
    these headers must contain a CSRF token of the session.
    """

    def __init__(self, app: Flask | None = None) -> None:
        """Make the extension. With ``app``, also call :meth:`init_app`."""
        self._exempt = Views("exempt")
        self._exempt_paths: Paths | None = None
        self._skip_callback: Callable[[Request], Any] | None = None
        self._forms_use_our_tokens = False
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, *, unless_replaced: bool = False) -> None:
        """Protect ``app``, and give its templates ``csrf_token()`` and ``csrf_meta_tag()``.

        ``unless_replaced``: check no requests if the application gets another protection later, such as Flask-WTF's.
        Raises :class:`~flask_cloakroom.SettingError` for a wrong setting.
        """
        settings = settings_of(app)
        for name in SET_IN_CONFIG:
            app.config.setdefault(name, copy(DEFAULTS[name]))  # a copy, because Flask-Security appends to the headers
        app.extensions[EXTENSION_KEY] = self
        app.extensions.setdefault(DELETED_AT_ROTATION, set()).add(settings.field)
        names: dict[str, Any] = {"csrf_token": generate_csrf, "csrf_meta_tag": csrf_meta_tag}
        app.jinja_env.globals.update(names)  # for macros that are imported without context
        app.context_processor(names.copy)

        @app.before_request
        def csrf_protect() -> None:
            if not (unless_replaced and _is_replaced(app, self)):
                self._before_request(app)

        add_response_part(app, self, self)

    def exempt(self, view: T) -> T:
        """Exempt a view, or a blueprint with all views and blueprints in it. Usable as a decorator."""
        return self._exempt.add(view)

    def exempt_urls(self, urls: str | Iterable[str]) -> None:
        """Exempt paths and all paths below them. A later call replaces the paths of an earlier call.

        "/api" also exempts "/api/users", but not "/apistore". Raises ValueError for a path without "/" in front.
        """
        self._exempt_paths = Paths(urls)

    def skip_validation(self, callback: C) -> C:
        """Register a function that takes a request and returns True if the request shall not be checked.

        The function is called only for requests that would be checked. It may be async. Usable as a decorator.
        """
        self._skip_callback = callback
        return callback

    def protect(self, apply_exemptions: bool = False) -> None:
        """Check the current request, even in an exempt view. Raises :class:`CSRFError` to refuse the request.

        ``apply_exemptions``: do not check exempt views. Use it in a ``before_request`` function of your own.
        """
        app = this_app()
        self._protect(app, this_request(), settings_of(app), apply_exemptions)

    def has_passed(self) -> bool:
        """Return True if the current request passed the check or needs no check. Then its forms need no token."""
        app, request = this_app(), this_request()
        state: CSRFState | None = request.__dict__.get(STATE_NAME)
        if state is not None and state.passed is not None:
            return state.passed
        settings = settings_of(app)
        if not settings.enabled or self._is_exempt(app, request, settings):
            return True
        return call_predicate(app, self._skip_callback, request)

    def _before_request(self, app: Flask) -> None:
        """Check the current request unless it is exempt."""
        if not self._forms_use_our_tokens and _FLASK_WTF_FORM in sys.modules:
            self._forms_use_our_tokens = _patch_flask_wtf()
        request = this_request()
        # app.config is in no local variable, because an error report would show every secret key of the application.
        if request.method in SAFE_METHODS and request.method not in (app.config.get("WTF_CSRF_METHODS") or ()):
            return  # most requests end here, so no other setting is read before
        settings = settings_of(app)
        if settings.enabled and settings.check_default:
            self._protect(app, request, settings, True)

    def _is_exempt(self, app: Flask, request: Request, settings: CSRFSettings) -> bool:
        """Return True if the application exempted the request's view or path."""
        # If only included views are protected, exempt() has no effect.
        if not settings.include_only and self._exempt.covers(app, request):
            return True
        return self._exempt_paths is not None and self._exempt_paths.covers(request)

    def _is_protected(self, app: Flask, request: Request, settings: CSRFSettings) -> bool:
        """Return True if the protection checks requests for this view and path, by any method that is checked."""
        return request.endpoint is not None and not self._is_exempt(app, request, settings)

    def _protect(self, app: Flask, request: Request, settings: CSRFSettings, apply_exemptions: bool) -> None:
        g.csrf_valid = PASSED
        if apply_exemptions and not self._is_protected(app, request, settings):
            return
        if not settings.checks(request.method):
            return
        if apply_exemptions and self._skip_callback is not None and call_predicate(app, self._skip_callback, request):
            return
        self._check_request(app, request, settings)

    def _check_request(self, app: Flask, request: Request, settings: CSRFSettings) -> None:
        """Let the request pass, or raise :class:`CSRFError`."""
        verdict = check_origin(request, settings.trusted_origins, settings.check_referrer)
        state = state_of(request)
        state.vary_on = verdict.vary_on
        if verdict.passes and not settings.require_token:  # most requests end here
            state.passed = True
            return
        reason = verdict.reason
        if reason is None:
            if settings.ssl_strict and request.is_secure and not verdict.passes:
                reason = NO_ORIGIN
            else:
                reason = _problem_with_token(request, settings)
                state.token_may_be_stale = reason != NO_TOKEN
        state.passed = reason is None or _has_header_login(app)
        if not state.passed:
            log.info("%s %s was refused: %s", request.method, request.endpoint, reason)
            signals.csrf_refused.send(app, reason=reason)
            raise self._error(app, request, reason)

    def _error(self, app: Flask, request: Request, reason: str | None) -> CSRFError:
        """Return the error to raise for a refused request."""
        return CSRFError(reason)

    def finish_response(self, request: Request, response: Response) -> None:
        """Set the token's cookie and ``Vary`` in a response whose session was saved."""
        state: CSRFState | None = request.__dict__.get(STATE_NAME)
        if state is not None:
            self._find_cookie_token(this_app(), request, response, state)
            self._send(response, state)

    def _find_cookie_token(self, app: Flask, request: Request, response: Response, state: CSRFState) -> None:
        """Find the token for the response's cookie."""
        token = self._token_for_cookie(app, request, response, state)
        # A token that was made before a login in this request is invalid now, and must not reach the browser.
        if token is not None and is_token_of_session(token):
            state.cookie_token = token
        state.token = None  # a second protection of this application must not set the cookie again

    def _send(self, response: Response, state: CSRFState) -> None:
        token, state.cookie_token = state.cookie_token, None
        cookie = settings_of(this_app()).cookie if token is not None else None
        if cookie is not None:
            if token:
                cookie.set(response, token, settings_of(this_app()).cookie_lifetime)
            else:
                cookie.delete(response)
        if state.vary_on is not None:
            add_vary(response, *state.vary_on)
            state.vary_on = None

    def roll_back(self, request: Request) -> None:
        """Send no token in a cookie, because the token's secret could not be saved."""
        state: CSRFState | None = request.__dict__.get(STATE_NAME)
        if state is not None:
            state.token = state.cookie_token = None

    def _token_for_cookie(self, app: Flask, request: Request, response: Response, state: CSRFState) -> Secret | None:
        """Return the token to set in the response's cookie, or None to set no cookie."""
        if state.token is None:
            return None
        cookie = settings_of(app).cookie
        if cookie is None or is_token_of_session(cookie.value(request.environ)):
            return None
        return state.token


def _problem_with_token(request: Request, settings: CSRFSettings) -> str | None:
    """Return why the request's token is refused, or None if the token is valid."""
    token = token_in(request, settings)
    if token is None:
        return NO_TOKEN
    try:
        validate_csrf(token)
    except CSRFError as error:
        return error.description
    return None


def _has_header_login(app: Flask) -> bool:
    """Return True if a credential in a header has found the request's user: see :data:`.hooks.HAS_HEADER_LOGIN`."""
    find: Callable[[], bool] | None = app.extensions.get(HAS_HEADER_LOGIN)
    return find is not None and find()


def _is_replaced(app: Flask, ours: CSRFProtect) -> bool:
    """Return True if another protection has replaced ``ours`` in ``app.extensions``."""
    present = app.extensions.get(EXTENSION_KEY)
    return present is not ours and callable(getattr(present, "protect", None))


def _patch_flask_wtf() -> bool:
    """Let the forms of Flask-WTF, which is imported, use this package's tokens: see :func:`.forms.patch`."""
    from .forms import patch

    return patch(sys.modules[_FLASK_WTF_FORM])
