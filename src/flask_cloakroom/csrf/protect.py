"""``CSRFProtect``: refuses requests that another site made a visitor's browser send."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from flask import g

from .. import signals
from ..sessions.session import KEYS_OF_ONE_ID
from .errors import CSRFError
from .exemptions import Exemptions
from .origin import judged
from .presented import token_in
from .settings import DEFAULTS, LEFT_IN_CONFIG, SAFE_METHODS, CSRFSettings, settings_of
from .state import known_state_of, state_of, this_app, this_request
from .token import MISSING
from .tokens import csrf_meta_tag, generate_csrf, is_token_of_session, validate_csrf

if TYPE_CHECKING:
    from flask import Blueprint, Flask, Request, Response

    from ..sessions.cookie import SessionCookie

log = logging.getLogger("flask_cloakroom.csrf")

T = TypeVar("T", bound="Blueprint | Callable[..., Any]")

#: Where an application keeps its protection; Flask-WTF's name.
EXTENSION_KEY: Final = "csrf"

#: Schemes of the Authorization header that browsers add by themselves, whoever makes the request (RFC 7617, RFC 7616,
#: RFC 4559): as good as a cookie for the forger.
SENT_BY_BROWSERS: Final = frozenset({"basic", "digest", "negotiate", "ntlm"})

#: With WTF_CSRF_SSL_STRICT: a token is not enough.
SAYS_NOTHING: Final = "The request does not say where it comes from."

_FORMS: Final = "flask_wtf.form"


class CSRFProtect:
    """Check each request that may change something; one object serves any number of applications.

    Browsers say where a request came from, so they are asked first, and the session is left alone. A request that
    says nothing must carry the session's token.
    """

    def __init__(self, app: Flask | None = None) -> None:
        """With ``app``, do :meth:`init_app` at once."""
        #: Tells whether the present request's user was found by what the request shows itself, a header, and not by a
        #: cookie. Then no other site can have made it: they cannot send that header. For the part that has logins.
        self.is_shown_by_header: Callable[[], bool] | None = None
        self._exemptions = Exemptions()
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
            app.config.setdefault(name, DEFAULTS[name])
        app.extensions[EXTENSION_KEY] = self
        app.extensions.setdefault(KEYS_OF_ONE_ID, set()).add(settings.field)
        names: dict[str, Any] = {"csrf_token": generate_csrf, "csrf_meta_tag": csrf_meta_tag}
        app.jinja_env.globals.update(names)  # for macros, which see no context
        app.context_processor(names.copy)

        @app.before_request
        def csrf_protect() -> None:
            if not (unless_replaced and _is_replaced(app, self)):
                self._check(app)

        app.after_request(_finish)

    def exempt(self, view: T) -> T:
        """Leave a view, or the views of a blueprint and of all blueprints in it, unprotected. Usable as a decorator."""
        return self._exemptions.add(view)

    def protect(self, apply_exemptions: bool = False) -> None:
        """Check the present request, also in a view that is exempt. Raises :class:`CSRFError`.

        With ``apply_exemptions``, for an own ``before_request``: as each request is checked, so views that are exempt
        are not.
        """
        app = this_app()
        self._protect(app, this_request(), settings_of(app), apply_exemptions)

    def _check(self, app: Flask) -> None:
        """Check the present request if it is to be."""
        if not self._has_forms:
            self._has_forms = _adopt_forms()
        request = this_request()
        config = app.config
        if request.method in SAFE_METHODS and request.method not in (config.get("WTF_CSRF_METHODS") or ()):
            return  # without a look at the other settings: most requests are of this kind
        settings = settings_of(app)
        if settings.enabled and settings.check_default:
            self._protect(app, request, settings, True)

    def _protect(self, app: Flask, request: Request, settings: CSRFSettings, apply_exemptions: bool) -> None:
        if apply_exemptions and (request.endpoint is None or self._exemptions.cover(app, request)):
            return
        if not settings.checks(request.method):
            return
        verdict = judged(request.environ, settings.trusted)
        state_of(request).looked_at = verdict.looked_at
        reason = verdict.reason
        if reason is None and (settings.require_token or not verdict.passes):
            if settings.ssl_strict and request.is_secure and not verdict.passes:
                reason = SAYS_NOTHING
            else:
                reason = _problem_with_token(request, settings)
        if reason is not None and not self._is_shown_by_header(request):
            _refuse(app, request, reason)
        g.csrf_valid = True  # where Flask-WTF's forms look for it

    def _is_shown_by_header(self, request: Request) -> bool:
        if self.is_shown_by_header is None:
            return False
        scheme = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")[0].lower()
        return scheme not in SENT_BY_BROWSERS and self.is_shown_by_header()


def _problem_with_token(request: Request, settings: CSRFSettings) -> str | None:
    token = token_in(request, settings)
    if token is None:
        return MISSING
    try:
        validate_csrf(token)
    except CSRFError as error:
        return error.description
    return None


def _refuse(app: Flask, request: Request, reason: str) -> NoReturn:
    g.csrf_valid = False  # in tests, several requests may share one g
    log.info("%s %s was refused: %s", request.method, request.endpoint, reason)
    signals.csrf_refused.send(app, reason=reason)
    raise CSRFError(reason)


def _finish(response: Response) -> Response:
    """Say what the answer rests on, and give scripts the token. A request that needed neither is left as it is."""
    request = this_request()
    state = known_state_of(request)
    if state is None:
        return response
    if state.looked_at is not None:
        given = response.headers.getlist("Vary")
        if given:  # in one line with it, because Flask's own session keeps only the first
            response.headers["Vary"] = ", ".join([*given, state.looked_at])
        else:
            response.headers.add("Vary", state.looked_at)
        state.looked_at = None  # two objects may protect one application
    if state.token is not None:
        cookie = settings_of(this_app()).cookie
        if cookie is not None:
            _give_to_scripts(cookie, request, response, state.token)
        state.token = None
    return response


def _give_to_scripts(cookie: SessionCookie, request: Request, response: Response, token: str) -> None:
    if is_token_of_session(request.cookies.get(cookie.name, "")):
        return
    if is_token_of_session(token):  # and not one from before a login in this very request
        cookie.set(response, token, None)


def _is_replaced(app: Flask, ours: CSRFProtect) -> bool:
    """Tell whether something else protects the application by now."""
    present = app.extensions.get(EXTENSION_KEY)
    return present is not ours and callable(getattr(present, "protect", None))


def _protects_present_app() -> bool:
    return isinstance(this_app().extensions.get(EXTENSION_KEY), CSRFProtect)


def _adopt_forms() -> bool:
    """Let Flask-WTF's forms carry our tokens, if it is in use; tell whether they do."""
    module = sys.modules.get(_FORMS)
    if module is None:
        return False
    from .forms import adopt

    return adopt(module, _protects_present_app)
