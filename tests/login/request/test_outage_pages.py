"""Promise 10: a page fails because the store fails at its load, and other code of the request asks for the same again.

Error pages, context processors, template filters and the like use what every page of a site uses. After a failed load,
each further use in the request must fail in the same way. The response is a 503 that can be retried, and the visitor
stays the same, with all data.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from flask import (
    Blueprint,
    Response,
    after_this_request,
    flash,
    get_flashed_messages,
    redirect,
    render_template_string,
    request_finished,
    session,
    stream_with_context,
)
from werkzeug.exceptions import HTTPException, ServiceUnavailable, Unauthorized
from werkzeug.test import TestResponse

from flask_cloakroom import (
    csrf_meta_tag,
    current_user,
    generate_csrf,
    login_fresh,
    login_remembered,
    login_required,
    user_session,
)
from flask_cloakroom.sessions import concurrent_login
from support.sites.outcomes import OutcomeSite, State, Visitor, cookies_set_by
from support.stores.faults import first_of

pytestmark = pytest.mark.promise(10)

Look = Callable[[], object]

#: The number of problems that a failure shows. The others are mostly of the same kind.
SHOWN = 20


def members() -> str:
    """Return the text of a view for users only, or of its refusal."""
    try:
        return login_required(lambda: "members")()
    except Unauthorized:
        return "please log in"


class Page:
    """A site with one page. The page and an entry point of the site's other code make the same look."""

    def __init__(self, store_url: str, entry: Callable[[Page], object]) -> None:
        prefix = f"pages-{uuid.uuid4().hex}:"
        self.site = OutcomeSite(store_url, "no page of its own", SESSION_KEY_PREFIX=prefix)
        self.app = self.site.app
        self.blueprint = Blueprint("pages", "pages")
        self.parts: dict[str, Look] = {
            "current_user": lambda: current_user.get_id(),
            "current_user in a template": lambda: render_template_string("{{ current_user.is_authenticated }}"),
            "operator": lambda: render_template_string("{{ current_operator.get_id() }}"),
            "session": lambda: session.get("cart"),
            "in session": lambda: "cart" in session,
            "session that is written": lambda: session.update(cart=[]),
            "user_session": lambda: user_session.get("wish"),
            "user_session that is written": lambda: user_session.update(wish=[]),
            "messages": lambda: render_template_string("{{ get_flashed_messages() }}"),
            "flash": lambda: flash("sorry"),
            "csrf_token": lambda: render_template_string("{{ csrf_token() }}"),
            "csrf_meta_tag": lambda: csrf_meta_tag(),
            "login_fresh": lambda: login_fresh(),
            "login_remembered": lambda: login_remembered(),
            "login_required": members,
        }
        #: The part that this request looks at. "" for requests that are not the test's.
        self.part = ""
        self.view: Callable[[], Any] = lambda: f"page {self.look()}"
        self._untouched: dict[Callable[[Visitor], None], State] = {}
        entry(self)
        self.blueprint.add_url_rule("/page", "page", lambda: self.view(), methods=["POST"])
        self.app.register_blueprint(self.blueprint)

    def look(self, *_: object, **__: object) -> object:
        """Ask for the part that the test wants."""
        return self.parts[self.part]() if self.part else None

    def untouched(self, prepare: Callable[[Visitor], None]) -> State:
        """Return the state of a visitor who has not opened the page."""
        if prepare not in self._untouched:
            visitor = Visitor(self.site)
            prepare(visitor)
            self._untouched[prepare] = visitor.state()
        return self._untouched[prepare]

    def look_quietly(self, *_: object, **__: object) -> None:
        """Do the same, and swallow each error."""
        with suppress(Exception):
            self.look()


# -- entry points: where an application's other code looks ----------------------------------------------------


def handler_of_503(page: Page) -> None:
    page.app.register_error_handler(503, lambda error: (f"sorry {page.look()}", 503))


def handler_of_http_exceptions(page: Page) -> None:
    page.app.register_error_handler(HTTPException, lambda error: (f"sorry {page.look()}", error.code))


def handler_of_all_exceptions(page: Page) -> None:
    page.app.register_error_handler(Exception, lambda error: (f"sorry {page.look()}", 500))


def handler_of_service_unavailable(page: Page) -> None:
    page.app.register_error_handler(ServiceUnavailable, lambda error: (f"sorry {page.look()}", 200))


def handler_of_a_blueprint(page: Page) -> None:
    page.blueprint.register_error_handler(503, lambda error: (f"sorry {page.look()}", 503))


def handler_that_sends_to_the_login(page: Page) -> None:
    def handle(error: Exception) -> Any:
        page.look_quietly()
        return redirect("/login")

    page.app.register_error_handler(503, handle)


def handler_that_is_async(page: Page) -> None:
    async def handle(error: Exception) -> Any:
        return f"sorry {page.look()}", 503

    page.app.register_error_handler(503, handle)


def handlers_of_503_and_500(page: Page) -> None:
    for code in (503, 500):
        page.app.register_error_handler(code, lambda error: (f"sorry {page.look()}", error.code))


def after_request(page: Page) -> None:
    @page.app.after_request
    def after(response: Response) -> Response:
        response.headers["X-Seen"] = str(page.look()).strip()
        return response


def after_this_request_only(page: Page) -> None:
    @page.app.before_request
    def before() -> None:
        @after_this_request
        def after(response: Response) -> Response:
            page.look()
            return response


def before_request(page: Page) -> None:
    page.app.before_request(page.look_quietly)


def before_request_that_fails(page: Page) -> None:
    @page.blueprint.before_request
    def before() -> None:
        page.look()

    page.app.register_error_handler(503, lambda error: (f"sorry {page.look()}", 503))


def url_preprocessor(page: Page) -> None:
    page.app.url_value_preprocessor(page.look_quietly)


def teardown(page: Page) -> None:
    page.app.teardown_request(page.look_quietly)
    page.app.teardown_appcontext(page.look_quietly)


def signal_receiver(page: Page) -> None:
    page.app.extensions["the receiver lives as long as the application"] = page.look_quietly
    request_finished.connect(page.look_quietly, page.app)


def context_processor(page: Page) -> None:
    def extra() -> dict[str, Any]:
        # A page whose processor renders a template itself would call the processor for ever.
        if page.part in ("session", "current_user", "user_session", "csrf_meta_tag", "login_fresh"):
            page.look_quietly()
        return {}

    page.app.context_processor(extra)
    page.app.register_error_handler(503, lambda error: (render_template_string("sorry"), 503))


def template_filter(page: Page) -> None:
    page.app.add_template_filter(lambda text: f"{text} {page.look()}", "seen")
    page.app.register_error_handler(503, lambda error: (render_template_string("{{ 'sorry' | seen }}"), 503))


def template_test(page: Page) -> None:
    page.app.add_template_test(lambda text: bool(page.look()), "seen")
    page.app.register_error_handler(503, lambda error: (render_template_string("{{ 'sorry' is seen }}"), 503))


def view_that_streams(page: Page) -> None:
    def stream() -> Iterator[str]:
        page.look_quietly()
        yield "streamed"

    def view() -> Response:
        page.look_quietly()
        return Response(stream_with_context(stream()))

    page.view = view


def view_that_swallows(page: Page) -> None:
    def view() -> str:
        page.look_quietly()
        page.look_quietly()
        get_flashed_messages()
        generate_csrf()
        return "all is well"

    page.view = view


ENTRIES = [
    handler_of_503,
    handler_of_http_exceptions,
    handler_of_all_exceptions,
    handler_of_service_unavailable,
    handler_of_a_blueprint,
    handler_that_sends_to_the_login,
    handler_that_is_async,
    handlers_of_503_and_500,
    after_request,
    after_this_request_only,
    before_request,
    before_request_that_fails,
    url_preprocessor,
    teardown,
    signal_receiver,
    context_processor,
    template_filter,
    template_test,
    view_that_streams,
    view_that_swallows,
]

#: The entry points that meet a store which stays down on each store. The others do so in memory only, to save time.
SAMPLE = [handler_of_503, after_request, view_that_swallows]


# -- visitors -------------------------------------------------------------------------------------------------


def is_anonymous(visitor: Visitor) -> None:
    """Has a cart, and no login."""
    visitor.do("/begin?wish=book")


def is_logged_in(visitor: Visitor) -> None:
    """Is logged in, and not remembered."""
    visitor.do("/begin?user=alice{n}&wish=book")


def is_remembered(visitor: Visitor) -> None:
    """Is logged in, remembered, and an operator too."""
    visitor.do("/begin?user=alice{n}&wish=book&remember=1", "/operator/login?user=root{n}")


def comes_back(visitor: Visitor) -> None:
    """Has only remember tokens, one of each kind."""
    is_remembered(visitor)
    visitor.loses_sessions()


VISITORS: list[Callable[[Visitor], None]] = [is_anonymous, is_logged_in, is_remembered, comes_back]


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no request wait for the session of a parallel request: here the earlier request has failed, or is over."""
    monkeypatch.setattr(concurrent_login, "JOIN_PATIENCE", 0.0)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of each store in turn."""
    if request.param == "redis":
        return str(request.getfixturevalue("shared_server").url)
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/sessions.sqlite3"


def looked(page: Page, part: str, prepare: Callable[[Visitor], None], *, fails: bool, stays_down: bool) -> list[str]:
    """Let a visitor open the page, and return what is wrong."""
    expected = page.untouched(prepare)
    visitor = Visitor(page.site)
    prepare(visitor)
    page.part = part
    fault = first_of("load fails", "load") if fails else None
    answer = visitor.meets("/page", fault, stays_down=stays_down)
    page.part = ""
    response, found = answer.response, []
    if not isinstance(response, TestResponse):
        return [f"{type(response).__name__} left wsgi_app: {response}"]
    if answer.outage.failed_at:
        if response.status_code != 503:
            found.append(f"answers {response.status_code}")
        if not response.headers.get("Retry-After"):
            found.append("has no Retry-After")
        if cookies_set_by(response):
            found.append(f"sets {sorted(cookies_set_by(response))}")
        seen = visitor.state()
        if seen != expected:
            found.append(f"the visitor has {seen.differences(expected)}")
    elif fails and prepare is is_remembered:
        found.append("the fault never came")
    elif response.status_code >= 500:
        found.append(f"answers {response.status_code} without a fault")
    return [f"{problem}. Commands: {answer.outage}" for problem in found]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.__name__)
def test_a_second_look(url: str, entry: Callable[[Page], object]) -> None:
    """A 503 with Retry-After and no cookie. The visitor is who they were, with all data."""
    page = Page(url, entry)
    try:
        problems = [
            f"{part}, {prepare.__name__}, the store {'stays down' if stays_down else 'is back at once'}: {problem}"
            for part in page.parts
            for prepare in (VISITORS if url == "memory://" else [is_remembered])
            for stays_down in ((False, True) if url == "memory://" or entry in SAMPLE else (False,))
            for problem in looked(page, part, prepare, fails=True, stays_down=stays_down)
        ]
    finally:
        page.site.close()
    assert not problems, f"{len(problems)} problems, of which some are:\n" + "\n".join(problems[:SHOWN])


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.__name__)
def test_without_a_fault(entry: Callable[[Page], object]) -> None:
    """Each page and each entry point work, so the failures above are due to the store."""
    page = Page("memory://", entry)
    problems = [
        f"{part}, {prepare.__name__}: {problem}"
        for part in page.parts
        for prepare in VISITORS
        for problem in looked(page, part, prepare, fails=False, stays_down=False)
    ]
    page.site.close()
    assert not problems, "\n".join(problems)
