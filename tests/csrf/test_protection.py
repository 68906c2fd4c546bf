"""The protection as a whole: which views it covers, what it costs, and how it explains a refusal."""

from __future__ import annotations

import logging
import math
import re
import time
import timeit
from typing import Any

import pytest
from flask import Blueprint, Flask, Request, session
from flask.sessions import SecureCookieSessionInterface
from flask.testing import FlaskClient
from flask.views import MethodView

from flask_cloakroom import (
    Cloakroom,
    CSRFClient,
    CSRFError,
    CSRFProtect,
    FlaskLoginClient,
    SettingError,
    StoreError,
    UserMixin,
    csrf_refused,
    current_user,
    generate_csrf,
    login_required,
    login_user,
    session_created,
)
from flask_cloakroom.csrf.origin import check_origin
from flask_cloakroom.csrf.settings import settings_of
from support.sites.csrf import FOREIGN, Watched, make_app, post, reason_of

#: The highest price of a POST that says where it came from, in seconds: of the check and of what the response says.
HIGHEST_PRICE = 5e-6
#: Seconds for which a calm moment of the machine is awaited.
PATIENT_SECONDS = 60


class TestExemptions:
    """By the object, never by a name."""

    def test_view(self, app: Flask) -> None:
        """A view that is exempt is open, and the one beside it is not."""
        csrf = app.extensions["csrf"]
        app.add_url_rule("/hook", view_func=csrf.exempt(lambda: "hook"), endpoint="hook", methods=["POST"])
        client = app.test_client()
        assert client.post("/hook", headers=FOREIGN).text == "hook"
        assert client.post("/change", headers=FOREIGN).status_code == 400

    def test_two_views_of_one_name(self, app: Flask) -> None:
        """With one module name as well, which is what Flask-WTF goes by."""

        def make(text: str) -> Any:
            def view() -> str:
                return text

            return view

        one, two = make("one"), make("two")
        assert (one.__module__, one.__name__) == (two.__module__, two.__name__)
        app.extensions["csrf"].exempt(one)
        app.add_url_rule("/one", "one", one, methods=["POST"])
        app.add_url_rule("/two", "two", two, methods=["POST"])
        client = app.test_client()
        assert client.post("/one", headers=FOREIGN).status_code == 200
        assert client.post("/two", headers=FOREIGN).status_code == 400

    def test_by_name(self, app: Flask) -> None:
        """Is an error that says what to write, also for a name that a module has."""
        for name in ("module.view", f"{__name__}.make_app", "view", ""):
            with pytest.raises(TypeError, match="view_functions"):
                app.extensions["csrf"].exempt(name)

    def test_view_that_is_not_hashable(self, app: Flask) -> None:
        """Can only be protected, and is no server's error."""

        class View:
            __name__ = "view"
            __hash__ = None  # type: ignore[assignment]

            def __call__(self) -> str:
                return "done"

        app.extensions["csrf"].exempt(app.view_functions["plain"])
        app.add_url_rule("/view", "view", View(), methods=["POST"])
        assert app.test_client().post("/view", headers=FOREIGN).status_code == 400

    @pytest.mark.parametrize(
        "path", ["/api%2f..%2fadmin", "/api/%2e%2e/admin", "/api/./admin", "/api/x%5c..%5c..%5cadmin"]
    )
    def test_paths_that_only_seem_to_be_exempt(self, app: Flask, path: str) -> None:
        """A view that takes any path, and follows dots in it, may be made to do what is protected elsewhere."""
        app.extensions["csrf"].exempt_urls("/api")
        app.add_url_rule("/<path:any>", "any", lambda any: any, methods=["POST"])
        client = app.test_client()
        assert client.post("/api/v1.2/..x", headers=FOREIGN).text == "api/v1.2/..x"
        assert client.post(path, headers=FOREIGN).status_code == 400

    def test_below_and_above_other_decorators(self, app: Flask) -> None:
        """Where the decorator stands makes no difference."""
        exempt = app.extensions["csrf"].exempt
        app.config["LOGIN_DISABLED"] = True
        Cloakroom(app)
        app.add_url_rule("/below", "below", login_required(exempt(lambda: "done")), methods=["POST"])
        app.add_url_rule("/above", "above", exempt(login_required(lambda: "done")), methods=["POST"])
        app.add_url_rule("/none", "none", login_required(lambda: "done"), methods=["POST"])
        client = app.test_client()
        found = {path: client.post(path, headers=FOREIGN).status_code for path in ("/below", "/above", "/none")}
        assert found == {"/below": 200, "/above": 200, "/none": 400}

    def test_class_based_view(self, app: Flask) -> None:
        """What ``as_view`` returns, its ``decorators``, or the class; not one that is made from it."""
        csrf = app.extensions["csrf"]

        class Hook(MethodView):
            def post(self) -> str:
                return "hook"

        class Decorated(Hook):
            decorators = (csrf.exempt,)

        @csrf.exempt
        class Whole(Hook):
            pass

        class Derived(Whole):
            pass

        app.add_url_rule("/four", view_func=login_required(Whole.as_view("four")))
        app.add_url_rule("/five", view_func=Derived.as_view("five"))
        app.config["LOGIN_DISABLED"] = True
        Cloakroom(app)
        app.add_url_rule("/one", view_func=csrf.exempt(Hook.as_view("one")))
        app.add_url_rule("/two", view_func=Hook.as_view("two"))
        app.add_url_rule("/three", view_func=Decorated.as_view("three"))
        client = app.test_client()
        found = {n: client.post(f"/{n}", headers=FOREIGN).status_code for n in ("one", "two", "three", "four", "five")}
        assert found == {"one": 200, "two": 400, "three": 200, "four": 200, "five": 400}

    def test_blueprints(self, app: Flask) -> None:
        """With all blueprints in it, however deep; not with its siblings, its parent, or another of its name."""
        made = {name: Blueprint(name, __name__, url_prefix=f"/{name}") for name in ("outer", "api", "deep", "other")}
        for blueprint in made.values():
            blueprint.add_url_rule("/", "view", lambda: "done", methods=["POST"])
        namesake = Blueprint("api", __name__, url_prefix="/namesake")
        namesake.add_url_rule("/", "view", lambda: "done", methods=["POST"])
        made["api"].register_blueprint(made["deep"])
        made["outer"].register_blueprint(made["api"])
        made["outer"].register_blueprint(made["other"])
        app.extensions["csrf"].exempt(made["api"])
        app.register_blueprint(made["outer"])
        app.register_blueprint(namesake)
        client = app.test_client()
        paths = ["/outer/api/", "/outer/api/deep/", "/outer/", "/outer/other/", "/namesake/"]
        statuses = [client.post(path, headers=FOREIGN).status_code for path in paths]
        assert statuses == [200, 200, 400, 400, 400]

    def test_protect_in_an_exempt_view(self, app: Flask) -> None:
        """Checks all the same; with ``apply_exemptions`` it does not."""
        csrf = app.extensions["csrf"]
        app.add_url_rule("/all", "all", csrf.exempt(lambda: str(csrf.protect())), methods=["POST"])
        app.add_url_rule("/own", "own", csrf.exempt(lambda: str(csrf.protect(True))), methods=["POST"])
        client = app.test_client()
        assert client.post("/all", headers=FOREIGN).status_code == 400
        assert client.post("/own", headers=FOREIGN).status_code == 200


class TestOnAndOff:
    """When it protects."""

    @pytest.mark.parametrize("testing", [True, False])
    def test_on_under_testing(self, testing: bool) -> None:
        """A test that passes says what the site does."""
        assert post(make_app(TESTING=testing).test_client()).status_code == 400

    def test_off(self, caplog: pytest.LogCaptureFixture) -> None:
        """With WTF_CSRF_ENABLED = False, also later; outside of debug mode and tests a line in the log warns."""
        app = make_app()
        app.config["WTF_CSRF_ENABLED"] = False
        assert post(app.test_client(), None, Sec_Fetch_Site="cross-site").status_code == 200
        assert not caplog.records
        make_app(TESTING=False, WTF_CSRF_ENABLED=False)
        assert "WTF_CSRF_ENABLED is off" in caplog.text

    def test_check_default(self, app: Flask) -> None:
        """With WTF_CSRF_CHECK_DEFAULT = False only ``protect()`` checks."""
        app.config["WTF_CSRF_CHECK_DEFAULT"] = False
        app.add_url_rule("/own", "own", lambda: str(app.extensions["csrf"].protect()), methods=["POST"])
        client = app.test_client()
        assert post(client).status_code == 200
        assert client.post("/own").status_code == 400

    def test_methods(self) -> None:
        """WTF_CSRF_METHODS are those that are checked."""
        client = make_app(WTF_CSRF_METHODS=["PUT", "GET"]).test_client()
        found = {name: client.open("/change", method=name).status_code for name in ("GET", "HEAD", "PUT", "POST")}
        assert found == {"GET": 400, "HEAD": 200, "PUT": 400, "POST": 200}

    def test_no_such_page(self, client: FlaskClient) -> None:
        """Is a 404 or a 405, and no refusal."""
        assert client.post("/nowhere").status_code == 404
        assert client.post("/form").status_code == 405

    def test_test_client(self, app: Flask) -> None:
        """CSRFClient posts as the site's own pages do, unless told otherwise."""
        app.test_client_class = CSRFClient
        assert post(app.test_client()).status_code == 200
        assert post(app.test_client(), None, Sec_Fetch_Site="cross-site").status_code == 400

    def test_mixed_test_client(self, app: Flask) -> None:
        """As with the one that is logged in."""

        class Client(CSRFClient, FlaskLoginClient):
            pass

        Cloakroom(app).user_loader(lambda user_id: User())
        app.test_client_class = Client
        app.secret_key = "a key that is long enough"
        app.add_url_rule("/work", "work", login_required(lambda: "done"), methods=["POST"])
        assert app.test_client(user=User()).post("/work").text == "done"


class User(UserMixin):
    id = "7"


class TestCloakroom:
    """``Cloakroom(app)`` protects, unless something else does."""

    def make(self) -> Flask:
        app = Flask("shop")
        app.config.update(TESTING=True, SESSION_STORE="memory://", SECRET_KEY="a key that is long enough")
        app.add_url_rule("/change", "change", lambda: "changed", methods=["POST"])
        return app

    def test_protects(self) -> None:
        """And ``cloakroom.csrf`` is what protects."""
        app = self.make()
        cloakroom = Cloakroom(app)
        assert app.extensions["csrf"] is cloakroom.csrf
        assert post(app.test_client()).status_code == 400
        cloakroom.csrf.exempt(app.view_functions["change"])
        assert post(app.test_client()).status_code == 200

    @pytest.mark.parametrize("first", [True, False])
    def test_own_protection(self, first: bool) -> None:
        """An object of the application's own is the one that counts, whichever comes first."""
        app = self.make()
        own = CSRFProtect()
        if first:
            own.init_app(app)
        cloakroom = Cloakroom(app)
        if not first:
            own.init_app(app)
        assert (cloakroom.csrf is own) is first
        own.exempt(app.view_functions["change"])
        assert post(app.test_client()).status_code == 200
        response = app.test_client().post("/change", headers=FOREIGN)
        assert response.status_code == 200

    @pytest.mark.parametrize("first", [True, False])
    def test_flask_wtfs(self, first: bool) -> None:
        """Flask-WTF's stays, and is alone: it asks for its token, whatever the headers say."""
        from flask_wtf import CSRFProtect as Theirs

        app = self.make()
        if first:
            Theirs(app)
        Cloakroom(app)
        if not first:
            Theirs(app)
        response = app.test_client().post("/change", headers={"Sec-Fetch-Site": "same-origin"})
        assert reason_of(response) == "The CSRF token is missing."

    def test_what_is_no_protection(self) -> None:
        """Something else under that name does not switch it off."""
        app = self.make()
        Cloakroom(app)
        app.extensions["csrf"] = object()
        assert post(app.test_client()).status_code == 400

    @pytest.mark.parametrize("kind", ["server", "cookie"])
    def test_remembered_visitor(self, kind: str) -> None:
        """A page may render its token before it asks for the user: who is remembered is found first."""
        app = self.make()
        cloakroom = Cloakroom(app)
        if kind == "cookie":
            app.session_interface = SecureCookieSessionInterface()
        cloakroom.user_loader(lambda user_id: User())
        app.add_url_rule("/in", "in", lambda: str(login_user(User(), remember=True)))
        app.add_url_rule("/page", "page", lambda: f"{generate_csrf()} {current_user.get_id()}")
        client = app.test_client()
        client.get("/in")
        client.delete_cookie("session")
        token, user_id = client.get("/page").text.split()
        assert user_id == "7"
        assert post(client, token).status_code == 200


class TestCosts:
    """What an application pays."""

    @pytest.mark.parametrize("path", ["/plain", "/change"])
    def test_page_without_token(self, app: Flask, client: FlaskClient, path: str) -> None:
        """Has no session, no cookie and no Vary."""
        with session_created.connected_to(lambda *_, **__: pytest.fail("a session began")):
            response = client.get(path)
        assert "Set-Cookie" not in response.headers
        assert "Vary" not in response.headers

    @pytest.mark.parametrize(
        ("headers", "vary"),
        [
            ({"Sec-Fetch-Site": "same-origin"}, ["Sec-Fetch-Site"]),
            ({"Sec-Fetch-Site": "cross-site"}, ["Sec-Fetch-Site, Origin"]),
            ({"Origin": "http://localhost"}, ["Sec-Fetch-Site, Origin"]),
            ({"Origin": "null"}, ["Sec-Fetch-Site, Origin"]),
            ({"Referer": "http://localhost/"}, ["Sec-Fetch-Site, Origin, Referer"]),
        ],
    )
    def test_headers_that_decide(self, kind: str, headers: dict[str, str], vary: list[str]) -> None:
        """The session is not opened, passed or refused, and Vary names what was looked at."""
        app = make_app(kind)
        client = app.test_client()
        client.get("/form")
        store = Watched(app) if kind == "server" else None
        assert client.post("/change", headers=headers).headers.getlist("Vary") == vary
        assert store is None or store.calls == []

    def test_token_that_decides(self, app: Flask, client: FlaskClient) -> None:
        """Then the session was looked at, and Vary names the cookie as well."""
        token = client.get("/form").text
        vary = ", ".join(post(client, token).headers.getlist("Vary")).split(", ")
        assert sorted(vary) == ["Cookie", "Origin", "Referer", "Sec-Fetch-Site"]

    def test_vary_of_the_view(self, app: Flask, client: FlaskClient) -> None:
        """Stays, and ours is in the same line, because Flask's own session looks at one line only."""
        app.add_url_rule("/own", "own", lambda: ("x", {"Vary": "Accept"}), methods=["POST"])
        response = client.post("/own", headers={"Sec-Fetch-Site": "same-origin"})
        assert response.headers.getlist("Vary") == ["Accept, Sec-Fetch-Site"]

    def test_commands(self) -> None:
        """A page with a form makes the session at first, and then costs one command; so does a post by token."""
        app = make_app()
        client = app.test_client()
        store = Watched(app)
        token = client.get("/form").text
        assert store.calls == ["create"]
        store.calls.clear()
        client.get("/form")
        assert store.calls == ["load"]
        store.calls.clear()
        assert post(client, token).status_code == 200
        assert store.calls == ["load"]

    def test_forged_requests_leave_nothing(self) -> None:
        """A thousand of them, with made-up tokens, make no session."""
        app = make_app()
        store = Watched(app)
        for number in range(1000):
            assert post(app.test_client(), f"{number:072}").status_code == 400
        assert store.calls == []

    @pytest.mark.parametrize(
        "headers",
        [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}, {"Referer": "http://localhost/page"}],
    )
    def test_price(self, headers: dict[str, str]) -> None:
        """A POST that says where it came from is checked in less than 5 µs (the best of many rounds)."""
        app = make_app()
        protection, response = app.extensions["csrf"], app.response_class()

        def check_and_finish() -> None:
            protection._before_request(app)
            protection.finish_response(request, response)
            response.headers.remove("Vary")

        with app.test_request_context("/change", method="POST", headers=headers) as context:
            request = context.request
            timer = timeit.Timer(check_and_finish)
            # Other programs can only make the check look dearer, mostly for some seconds. So one cheap look is enough.
            deadline, price = time.monotonic() + PATIENT_SECONDS, math.inf
            while price >= HIGHEST_PRICE and time.monotonic() < deadline:
                price = min(price, min(timer.repeat(30, 1000)) / 1000)
        print(f"{price * 1e6:.2f} µs")
        assert price < HIGHEST_PRICE

    def test_nothing_but_the_browsers_verdict_is_needed(self) -> None:
        """Where there is one neither the host nor the scheme is looked at, which a proxy may have changed."""
        for site, passes in [("same-origin", True), ("none", True), ("same-site", False), ("cross-site", False)]:
            assert check_origin(Request({"HTTP_SEC_FETCH_SITE": site}), set(), True).passes is passes


class TestRefusals:
    """What is told of one."""

    @pytest.mark.parametrize("headers", [{}, FOREIGN, {"Origin": "https://evil.example"}])
    def test_log_and_signal(
        self, app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture, headers: dict[str, str]
    ) -> None:
        """The reason, at INFO, with the view; no token, and nothing that the request said."""
        heard: list[tuple[Any, str]] = []
        token = "abc" * 24
        with (
            caplog.at_level(logging.INFO, "flask_cloakroom.csrf"),
            csrf_refused.connected_to(lambda sender, reason: heard.append((sender, reason)), app),
        ):
            response = post(client, token, **headers)
        reason = reason_of(response)
        assert heard == [(app, reason)]
        (record,) = [record for record in caplog.records if record.name == "flask_cloakroom.csrf"]
        assert record.levelno == logging.INFO
        assert record.getMessage() == f"POST change was refused: {reason}"
        assert token not in response.text
        assert "evil" not in response.text

    @pytest.mark.parametrize(
        ("path", "link"),
        [
            ("/change", "/change"),
            ("/change?next=https://evil.example", "/change"),
            ("/only-post", "/"),
            ("/any/plain", "/any/plain"),
            ("/any/caf%C3%A9/a%20b", "/any/caf%C3%A9/a%20b"),
            ("/any/100%25", "/any/100%25"),
            ("/any/%22%3E%3Cscript%3Ealert(1)%3C/script%3E", "/any/%22%3E%3Cscript%3Ealert(1)%3C/script%3E"),
            ("/any/a&b='c'", "/any/a&amp;b=&#39;c&#39;"),
            ("/any/javascript:alert(1)", "/any/javascript:alert(1)"),
            ("/any/%ff%00%0dSet-Cookie:x", "/"),
            ("/any/..%2f..%2fevil", "/"),
            ("/any/%5C%5Cevil.example", "/"),
            ("/any//evil.example", "/any//evil.example"),
            ("/%2Fevil.example/x", "/evil.example/x"),
            ("/%5Cevil.example/x", "/"),
        ],
    )
    def test_link(self, app: Flask, client: FlaskClient, path: str, link: str) -> None:
        """The page offers a link by GET to the refused page, or else to the first page: never to another site."""
        app.url_map.merge_slashes = False
        app.add_url_rule("/only-post", "only_post", lambda: "x", methods=["POST"])
        app.add_url_rule("/any/<path:rest>", "any", lambda rest: "x", methods=["GET", "POST"])
        app.add_url_rule("/<path:rest>", "rest", lambda rest: "x", methods=["GET", "POST"])
        response = client.post(path, headers=FOREIGN)
        assert response.status_code == 400
        (found,) = re.findall(r"<a ([^>]*)>", response.text)
        assert found == f'href="{link}"'
        assert not re.search("<(?:script|form|meta)", response.text)

    def test_link_under_a_prefix(self, client: FlaskClient) -> None:
        """Where the application is mounted below a path, that is in front."""
        under = {"SCRIPT_NAME": "/shop"}
        response = client.post("/change", headers=FOREIGN, environ_overrides=under)
        assert '<a href="/shop/change">' in response.text
        under["SCRIPT_NAME"] = "//evil.example"
        response = client.post("/change", headers=FOREIGN, environ_overrides=under)
        assert '<a href="/">' in response.text

    def test_return_path_for_a_page_of_ones_own(self, app: Flask, client: FlaskClient) -> None:
        """An error handler has the same path, and outside of a request it is that of the first page."""
        app.register_error_handler(CSRFError, lambda error: error.return_path)
        assert post(client).text == "/change"
        assert CSRFError().return_path == "/"

    def test_error_handler(self, app: Flask, client: FlaskClient) -> None:
        """An application gives the refusal a page of its own."""
        app.register_error_handler(CSRFError, lambda error: (error.description.upper(), 403))
        response = post(client, None, Sec_Fetch_Site="cross-site")
        assert (response.status_code, response.text) == (403, "THE REQUEST COMES FROM ANOTHER SITE.")

    def test_views_run_only_after_the_check(self, app: Flask) -> None:
        """A refused request changes nothing."""
        seen: list[str] = []
        app.add_url_rule("/act", "act", lambda: str(seen.append("act") or session.update(a=1)), methods=["POST"])
        app.test_client().post("/act", headers=FOREIGN)
        assert seen == []


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("WTF_CSRF_ENABLED", "False", "must be True or False, not str"),
        ("WTF_CSRF_ENABLED", None, "must be True or False"),
        ("WTF_CSRF_CHECK_DEFAULT", 2, "must be True or False"),
        ("WTF_CSRF_METHODS", "POST", "must be a list of str"),
        ("WTF_CSRF_METHODS", [], "WTF_CSRF_ENABLED = False"),
        ("WTF_CSRF_METHODS", ["post"], "in capitals"),
        ("WTF_CSRF_FIELD_NAME", "", "must not be empty"),
        ("WTF_CSRF_FIELD_NAME", None, "must be a str"),
        ("WTF_CSRF_HEADERS", "X-CSRFToken", "must be a list of str"),
        ("WTF_CSRF_HEADERS", ["X CSRF"], "names of headers"),
        ("WTF_CSRF_META_NAME", 5, "must be a str"),
        ("WTF_CSRF_TIME_LIMIT", "3600", "timedelta or seconds"),
        ("WTF_CSRF_TIME_LIMIT", 0, "timedelta or seconds"),
        ("WTF_CSRF_SSL_STRICT", "1", "must be True or False, not str. In an environment variable write true"),
        ("WTF_CSRF_SECRET_KEY", 5, "must be a str or bytes"),
        ("WTF_CSRF_SECRET_KEY", "", "not an empty one"),
        ("CSRF_REQUIRE_TOKEN", "yes", "must be True or False"),
        ("CSRF_TRUSTED_ORIGINS", "https://pay.example", "must be a list of str"),
        ("CSRF_TRUSTED_ORIGINS", ["https://pay.example/"], "must be origins"),
        ("CSRF_TRUSTED_ORIGINS", ["pay.example"], "must be origins"),
        ("CSRF_TRUSTED_ORIGINS", ["https://*.example"], "must be origins"),
        ("CSRF_TRUSTED_ORIGINS", ["*"], "must be origins"),
        ("CSRF_TRUSTED_ORIGINS", ["null"], "must be origins"),
        ("CSRF_TRUSTED_ORIGINS", None, "must be a list of str"),
        ("CSRF_COOKIE", True, "name of a cookie"),
        ("CSRF_COOKIE", "a b", "name of a cookie"),
        ("CSRF_COOKIE", "session", "Choose another name"),
    ],
)
def test_wrong_settings(name: str, value: Any, says: str) -> None:
    """Each is an error at start that names the setting, what is wrong, and what to do."""
    with pytest.raises(SettingError, match=f"^{name}: .*{says}") as caught:
        make_app(**{name: value})
    assert caught.value.setting == name


def test_header_that_is_added_to_the_list() -> None:
    """As Flask-Security does it: it counts, also after the first request, and in no other application."""
    app, other = make_app(), make_app()
    client = app.test_client()
    token = client.get("/form").text
    assert client.post("/change", headers={"X-XSRF-TOKEN": token}).status_code == 400
    app.config["WTF_CSRF_HEADERS"].append("X-XSRF-TOKEN")
    assert client.post("/change", headers={"X-XSRF-TOKEN": token}).text == "changed"
    assert other.config["WTF_CSRF_HEADERS"] == ["X-CSRFToken", "X-CSRF-Token"]


def test_key_is_in_no_repr() -> None:
    """Nor anything else of what was configured: what is printed is logged."""
    app = make_app(WTF_CSRF_SECRET_KEY="the-secret-key")
    assert "the-secret-key" not in repr(settings_of(app))
    assert "the-secret-key" not in repr(app.extensions)


def test_wrong_setting_later() -> None:
    """An error at the next request, and no protection that is silently another one."""
    app = make_app()
    app.config["WTF_CSRF_ENABLED"] = "False"
    with pytest.raises(SettingError, match="WTF_CSRF_ENABLED"):
        post(app.test_client())


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("WTF_CSRF_ENABELD", "WTF_CSRF_ENABLED"),
        ("WTF_CSFR_ENABLED", "WTF_CSRF_ENABLED"),
        ("WFT_CSRF_TIME_LIMIT", "WTF_CSRF_TIME_LIMIT"),
        ("CSRF_ENABLED", "WTF_CSRF_ENABLED"),
        ("CSRF_TRUSTED_ORIGIN", "CSRF_TRUSTED_ORIGINS"),
        ("CRSF_REQUIRE_TOKEN", "CSRF_REQUIRE_TOKEN"),
        ("CSRF_DISABLED", "CSRF_DISABLE"),
        ("SEASURF_INCLUDE_OR_EXEMPT_VIEW", "SEASURF_INCLUDE_OR_EXEMPT_VIEWS"),
    ],
)
def test_misspelled_setting(name: str, meant: str) -> None:
    """A name that is nearly a setting's is an error at start, which says what is probably meant."""
    with pytest.raises(SettingError, match=f"^{name}: is no setting of Flask-Cloakroom. Write {meant} if") as caught:
        make_app(**{name: False})
    assert caught.value.setting == name


def test_settings_of_others(caplog: pytest.LogCaptureFixture) -> None:
    """SeaSurf's have no effect here, which a line in the log says; those of other packages are left alone."""
    others = (
        "WTF_I18N_ENABLED",
        "JWT_CSRF_METHODS",
        "SECURITY_CSRF_COOKIE_NAME",
        "WTF_CSRF_EXEMPT_LIST",
        "OTHER_CSRF_X",
    )
    with caplog.at_level(logging.INFO, "flask_cloakroom.csrf"):
        app = make_app(CSRF_DISABLE=True, CSRF_COOKIE_NAME="x", **dict.fromkeys(others, "x"))
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        f"{name} is a setting of SeaSurf, and has no effect with CSRFProtect. Remove it"
        for name in ("CSRF_COOKIE_NAME", "CSRF_DISABLE")
    ]
    assert post(app.test_client()).status_code == 400


@pytest.mark.parametrize("origin", ["https://PAY.example:443", "capacitor://localhost", "http://[::1]:3000"])
def test_trusted_origins(origin: str) -> None:
    """Are compared as browsers write them; those of applications that show web pages have schemes of their own."""
    client = make_app(CSRF_TRUSTED_ORIGINS=[origin]).test_client()
    sent = origin.lower().removesuffix(":443")
    headers = {"Origin": sent, "Sec-Fetch-Site": "cross-site"}
    assert client.post("/change", headers=headers).status_code == 200
    assert client.post("/change", headers={**headers, "Origin": sent + "1"}).status_code == 400


def test_store_down() -> None:
    """While the store is away a request whose headers decide goes on, and one that needs its session is a 503."""
    app = make_app()
    client = app.test_client()
    token = client.get("/form").text

    def fail(*_: Any) -> Any:
        raise StoreError("away")

    Watched(app).__dict__["load"] = fail
    assert client.post("/change", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
    assert client.post("/change", headers=FOREIGN).status_code == 400
    assert post(client, token).status_code == 503
