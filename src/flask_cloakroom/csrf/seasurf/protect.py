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
from ..exemptions import Views, is_yes
from ..origin import judged
from ..protect import CSRFProtect
from ..session_tokens import generate_csrf, is_token_of_session, renew_secret
from ..settings import SAFE_METHODS, settings_of, spell
from ..state import state_of
from .settings import SEASURF

if TYPE_CHECKING:
    from flask import Blueprint, Flask, Request, Response

    from ...cookies import Cookie
    from ..settings import CSRFSettings
    from ..state import CSRFState

T = TypeVar("T", bound="Blueprint | Callable[..., Any]")
R = TypeVar("R", bound="Callable[[Response], Any]")

#: Sent when the login of some kind of user changes, and with it the tokens.
_VOIDING: Final = (
    signals.user_logged_in,
    signals.user_logged_out,
    signals.user_loaded_from_cookie,
    signals.user_login_confirmed,
    signals.impersonation_started,
    signals.impersonation_ended,
)

NO_REQUEST: Final = "Only a request can be checked for forgery, and there is none here."


class SeaSurf(CSRFProtect):
    """Check each request as :class:`CSRFProtect` does, and give each page's visitor the token in a cookie.

    The settings are Flask-SeaSurf's; a refusal is a 403.
    """

    def __init__(self, app: Flask | None = None) -> None:
        """With ``app``, do :meth:`init_app` at once."""
        self._included = Views("include")
        self._with_cookie = Views("set_cookie")
        self._without_cookie: Callable[[Response], Any] | None = None
        super().__init__(app)

    def init_app(self, app: Flask, *, unless_replaced: bool = False) -> None:
        """Protect ``app``, and give its templates ``csrf_token()`` and ``csrf_meta_tag()``.

        Raises :class:`~flask_cloakroom.SettingError` for a wrong setting.
        """
        spell(app, SEASURF)
        # Flask-WTF's forms look there for what their hidden field is called.
        app.config.setdefault("WTF_CSRF_FIELD_NAME", settings_of(app).field)
        super().init_app(app, unless_replaced=unless_replaced)
        for signal in _VOIDING:
            signal.connect(_suspect_token, app)

    def include(self, view: T) -> T:
        """Protect a view, or those of a blueprint, with SEASURF_INCLUDE_OR_EXEMPT_VIEWS = "include". A decorator."""
        return self._included.add(view)

    def set_cookie(self, view: T) -> T:
        """Let the responses of a view that is exempt have the cookie, as those of others do. Usable as a decorator."""
        return self._with_cookie.add(view)

    def disable_cookie(self, callback: R) -> R:
        """Register what tells of a response that would have the cookie whether it shall not: given it, returns a bool.

        Usable as a decorator; the function may be async.
        """
        self._without_cookie = callback
        return callback

    def validate(self) -> None:
        """Check the present request, whatever its method, also in a view that is exempt.

        Raises :class:`CSRFError`, here a 403.
        """
        if not has_request_context():
            raise SeaSurfError(NO_REQUEST)
        app = this_app()
        self._decide(app, this_request(), settings_of(app))

    def generate_new_token(self) -> None:
        """Let the session's tokens be good no more, and begin with a new one, which the response's cookie has."""
        renew_secret()
        generate_csrf()

    def _is_covered(self, app: Flask, request: Request, settings: CSRFSettings) -> bool:
        if settings.only_included and not self._included.cover(app, request):
            return False
        return super()._is_covered(app, request, settings)

    def _error(self, app: Flask, request: Request, reason: str | None) -> CSRFError:
        scopes = (*request.blueprints, None)
        handlers = (app.error_handler_spec.get(scope, {}).get(CSRFError.code, {}) for scope in scopes)
        return (HandledSeaSurfError if any(CSRFError in found for found in handlers) else SeaSurfError)(reason)

    def _finish(self, app: Flask, response: Response) -> Response:
        """Give each page's visitor a token, so that a request without a state gets one here."""
        state_of(this_request())
        return super()._finish(app, response)

    def _token_for_scripts(self, app: Flask, request: Request, response: Response, state: CSRFState) -> Secret | None:
        settings = settings_of(app)
        cookie = settings.cookie
        if cookie is None or not settings.enabled or not self._may_have_cookie(app, request, response, state):
            return None
        try:
            wanted = state.token is not None or _lacks_token(app, request, settings, state)
            void = not wanted and _has_nobodys_token(request, cookie, state)
            if not (wanted or void) or is_yes(app, self._without_cookie, response):
                return None
            if wanted:
                return Secret(generate_csrf())
            cookie.delete(response)  # so that the next page sets one that is good
            return None
        except SessionUnavailable:
            return None  # the session's own part answers with a 503

    def _may_have_cookie(self, app: Flask, request: Request, response: Response, state: CSRFState) -> bool:
        if request.endpoint is None or request.endpoint.rpartition(".")[2] == "static" or response.status_code >= 500:
            return False  # caches keep static files, and a page that uses them has the cookie
        checked = state.passed is not None
        return checked or self._with_cookie.cover(app, request) or self._is_covered(app, request, settings_of(app))


def _lacks_token(app: Flask, request: Request, settings: CSRFSettings, state: CSRFState) -> bool:
    """Tell whether the browser has no token in its cookie, or one that is void.

    The latter is looked for only where it is likely, because it takes the session; and no session is begun for it, nor
    for a request that was refused. To a form of another site browsers send no cookie that is Lax, but they take the
    one that answers it: the visitor's session would be gone.
    """
    present = Secret("" if settings.cookie is None else settings.cookie.value(request.environ))
    if not present and state.passed is not False:
        return not _hides_cookies(app, request, settings)
    return state.suspect and bool(session) and not is_token_of_session(present)


def _has_nobodys_token(request: Request, cookie: Cookie, state: CSRFState) -> bool:
    """Tell whether the browser has a token and no session, as after a logout; looked for only where it is likely.

    A request that is older than a login beside it says nothing of what the browser has by now.
    """
    if not state.suspect or not cookie.value(request.environ):
        return False
    return not session and not getattr(session, "superseded", False)


def _hides_cookies(app: Flask, request: Request, settings: CSRFSettings) -> bool:
    """Tell whether the browser may have the cookies and not have sent them, as with a link from another site.

    Lax ones it does not send with a form of another site, which may have passed: that by which a payment page sends
    the visitor back. The first page that follows sets them; to begin a session here would end the one that the
    visitor has.
    """
    if request.method not in SAFE_METHODS:
        return judged(request, frozenset(), settings.check_referrer).reason is not None
    if request.environ.get("HTTP_SEC_FETCH_SITE") != "cross-site":
        return False
    ours = None if settings.cookie is None else settings.cookie.samesite
    return "Strict" in (ours, str(app.config.get("SESSION_COOKIE_SAMESITE")).title())


def _suspect_token(app: Flask, **_: Any) -> None:
    """Note that a login began, changed or ended: the tokens from before are void."""
    if has_request_context():
        state_of(this_request()).suspect = True
