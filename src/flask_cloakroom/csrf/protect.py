"""``CSRFProtect``: refuses requests that another site made a visitor's browser send."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from copy import copy
from typing import TYPE_CHECKING, Any, Final, TypeVar

from flask import g

from .. import signals
from ..caching import vary_on
from ..context import this_app, this_request
from ..hooks import SHOWN_BY_HEADER
from ..secret import Secret
from ..sessions.work import DELETED_AT_ROTATION
from .errors import CSRFError
from .exemptions import Paths, Views, is_yes
from .origin import judged
from .request_token import token_in
from .session_tokens import csrf_meta_tag, generate_csrf, is_token_of_session, validate_csrf
from .settings import DEFAULTS, LEFT_IN_CONFIG, SAFE_METHODS, CSRFSettings, settings_of
from .state import EXTENSION_KEY, PASSED, CSRFState, Protection, known_state_of, state_of
from .token_format import MISSING

if TYPE_CHECKING:
    from flask import Blueprint, Flask, Request, Response

log = logging.getLogger("flask_cloakroom.csrf")

T = TypeVar("T", bound="Blueprint | Callable[..., Any]")
C = TypeVar("C", bound="Callable[[Request], Any]")

#: With WTF_CSRF_SSL_STRICT: a token is not enough.
SAYS_NOTHING: Final = "The request does not say where it comes from."

_FORMS: Final = "flask_wtf.form"


class CSRFProtect(Protection):
    """Check each request that may change something; one object serves any number of applications.

    Browsers say where a request came from, so they are asked first, and the session is left alone. A request that
    says nothing must carry the session's token.
    """

    def __init__(self, app: Flask | None = None) -> None:
        """With ``app``, do :meth:`init_app` at once."""
        self._exempt = Views("exempt")
        self._exempt_paths: Paths | None = None
        self._skips: Callable[[Request], Any] | None = None
        self._has_forms = False
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, *, unless_replaced: bool = False) -> None:
        """Protect ``app``, and give its templates ``csrf_token()`` and ``csrf_meta_tag()``.

        ``unless_replaced``: stand down if the application gets another protection later, Flask-WTF's for example.
        Raises :class:`~flask_cloakroom.SettingError` for a wrong setting.
        """
        settings = settings_of(app)
        for name in LEFT_IN_CONFIG:
            app.config.setdefault(name, copy(DEFAULTS[name]))  # Flask-Security adds to the list of headers
        app.extensions[EXTENSION_KEY] = self
        app.extensions.setdefault(DELETED_AT_ROTATION, set()).add(settings.field)
        names: dict[str, Any] = {"csrf_token": generate_csrf, "csrf_meta_tag": csrf_meta_tag}
        app.jinja_env.globals.update(names)  # for macros, which see no context
        app.context_processor(names.copy)

        @app.before_request
        def csrf_protect() -> None:
            if not (unless_replaced and _is_replaced(app, self)):
                self._check(app)

        app.after_request(lambda response: self._finish(app, response))

    def exempt(self, view: T) -> T:
        """Leave a view, or the views of a blueprint and of all blueprints in it, unprotected. Usable as a decorator."""
        return self._exempt.add(view)

    def exempt_urls(self, urls: str | Iterable[str]) -> None:
        """Leave paths from the server's root, and all below them, unprotected; and no others that were given before.

        "/api" is also "/api/users", but not "/apistore". Raises ValueError for what is no path.
        """
        self._exempt_paths = Paths(urls)

    def skip_validation(self, callback: C) -> C:
        """Register what tells of a request that would be checked whether it shall not be: given it, returns a bool.

        Usable as a decorator; the function may be async.
        """
        self._skips = callback
        return callback

    def protect(self, apply_exemptions: bool = False) -> None:
        """Check the present request, also in a view that is exempt. Raises :class:`CSRFError`.

        With ``apply_exemptions``, for an own ``before_request``: as each request is checked, so views that are exempt
        are not.
        """
        app = this_app()
        self._protect(app, this_request(), settings_of(app), apply_exemptions)

    def has_passed(self) -> bool:
        """Tell whether the present request was found good or needs no check, so that its forms ask for no token."""
        app, request = this_app(), this_request()
        state = known_state_of(request)
        if state is not None and state.passed is not None:
            return state.passed
        settings = settings_of(app)
        return not settings.enabled or self._is_exempt(app, request, settings) or self._is_skipped(app, request)

    def _check(self, app: Flask) -> None:
        """Check the present request if it is to be."""
        if not self._has_forms and _FORMS in sys.modules:
            self._has_forms = _adopt_forms()
        request = this_request()
        # app.config stands in no local variable, because its repr() shows every key of the application.
        if request.method in SAFE_METHODS and request.method not in (app.config.get("WTF_CSRF_METHODS") or ()):
            return  # without a look at the other settings: most requests are of this kind
        settings = settings_of(app)
        if settings.enabled and settings.check_default:
            self._protect(app, request, settings, True)

    def _is_exempt(self, app: Flask, request: Request, settings: CSRFSettings) -> bool:
        """Tell whether the application said of a request's view or URL that it is not protected."""
        # Where only marked views are protected, the other mark says nothing.
        if not settings.only_included and self._exempt.cover(app, request):
            return True
        return self._exempt_paths is not None and self._exempt_paths.cover(request)

    def _is_skipped(self, app: Flask, request: Request) -> bool:
        return self._skips is not None and is_yes(app, self._skips, request)

    def _is_covered(self, app: Flask, request: Request, settings: CSRFSettings) -> bool:
        """Tell whether requests for this view and URL are checked, if they are of a method that is."""
        return request.endpoint is not None and not self._is_exempt(app, request, settings)

    def _protect(self, app: Flask, request: Request, settings: CSRFSettings, apply_exemptions: bool) -> None:
        g.csrf_valid = PASSED
        if apply_exemptions and not self._is_covered(app, request, settings):
            return
        if not settings.checks(request.method):
            return
        if apply_exemptions and self._skips is not None and self._is_skipped(app, request):
            return
        self._decide(app, request, settings)

    def _decide(self, app: Flask, request: Request, settings: CSRFSettings) -> None:
        """Find the request good, or raise :class:`CSRFError`."""
        verdict = judged(request, settings.trusted, settings.check_referrer)
        state = state_of(request)
        state.looked_at = verdict.looked_at
        if verdict.passes and not settings.require_token:  # as nearly always
            state.passed = True
            return
        reason = verdict.reason
        if reason is None:
            if settings.ssl_strict and request.is_secure and not verdict.passes:
                reason = SAYS_NOTHING
            else:
                reason = _problem_with_token(request, settings)
                state.suspect = reason != MISSING
        state.passed = reason is None or _is_shown_by_header(app)
        if not state.passed:
            log.info("%s %s was refused: %s", request.method, request.endpoint, reason)
            signals.csrf_refused.send(app, reason=reason)
            raise self._error(app, request, reason)

    def _error(self, app: Flask, request: Request, reason: str | None) -> CSRFError:
        """Return what is raised for a refused request."""
        return CSRFError(reason)

    def _finish(self, app: Flask, response: Response) -> Response:
        """Say what the answer rests on, and give scripts the token. A request that needed neither is left as it is."""
        request = this_request()
        state = known_state_of(request)
        if state is None:
            return response
        token = self._token_for_scripts(app, request, response, state)
        if token is not None and is_token_of_session(token):  # and not one from before a login in this very request
            settings = settings_of(app)
            if settings.cookie is not None:
                settings.cookie.set(response, token, settings.cookie_lifetime)
        _tell_caches(state, response)
        state.token = None  # two objects may protect one application
        return response

    def _token_for_scripts(self, app: Flask, request: Request, response: Response, state: CSRFState) -> Secret | None:
        """Return the token that the response's cookie shall hold, if any."""
        if state.token is None:
            return None
        cookie = settings_of(app).cookie
        if cookie is None or is_token_of_session(cookie.value(request.environ)):
            return None
        return state.token


def _problem_with_token(request: Request, settings: CSRFSettings) -> str | None:
    token = token_in(request, settings)
    if token is None:
        return MISSING
    try:
        validate_csrf(token)
    except CSRFError as error:
        return error.description
    return None


def _is_shown_by_header(app: Flask) -> bool:
    shown: Callable[[], bool] | None = app.extensions.get(SHOWN_BY_HEADER)
    return shown is not None and shown()


def _tell_caches(state: CSRFState, response: Response) -> None:
    if state.looked_at is not None:
        vary_on(response, *state.looked_at)
        state.looked_at = None  # two objects may protect one application


def _is_replaced(app: Flask, ours: CSRFProtect) -> bool:
    """Tell whether something else protects the application by now."""
    present = app.extensions.get(EXTENSION_KEY)
    return present is not ours and callable(getattr(present, "protect", None))


def _adopt_forms() -> bool:
    """Let the forms of Flask-WTF, which is in use, carry our tokens; tell whether they do."""
    from .forms import adopt

    return adopt(sys.modules[_FORMS])
