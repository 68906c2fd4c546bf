"""What Flask-SeaSurf documents, against the drop-in of its name; what is better here stands in the other classes."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, Request, Response, render_template_string, session
from flask.testing import FlaskClient
from flask.views import MethodView
from werkzeug.exceptions import Forbidden, HTTPException
from werkzeug.test import TestResponse

from flask_cloakroom import (
    Cloakroom,
    CSRFClient,
    CSRFError,
    CSRFProtect,
    LoginManager,
    Session,
    SettingError,
    StoreError,
    UserMixin,
    csrf_refused,
    generate_csrf,
    login_user,
    logout_user,
)
from flask_cloakroom.sessions.interface import ServerSessionInterface
from support import DROPIN
from support.sites.csrf import FOREIGN, Watched

UNSAFE = ["POST", "PUT", "PATCH", "DELETE"]
OWN = {"Sec-Fetch-Site": "same-origin"}
SECURE = "https://www.example.com"

Make = Callable[..., Flask]


class User(UserMixin):
    def __init__(self, id: str) -> None:
        self.id = id


@pytest.fixture
def flask_seasurf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The drop-in, as if it were installed."""
    monkeypatch.syspath_prepend(str(DROPIN))
    sys.modules.pop("flask_seasurf", None)
    yield importlib.import_module("flask_seasurf")
    sys.modules.pop("flask_seasurf", None)


@pytest.fixture
def make(flask_seasurf: Any, kind: str) -> Make:
    """Makes a site: a page with a form, one without, a view that changes something; with some settings."""

    def make_site(**settings: Any) -> Flask:
        app = Flask("shop")
        app.config.update(TESTING=True, SESSION_STORE="memory://")
        app.config.update(settings)
        if kind == "server":
            Session(app)
        app.config["SECRET_KEY"] = "a key that is long enough for tokens"
        LoginManager(app).user_loader(User)
        flask_seasurf.SeaSurf(app)
        app.add_url_rule("/form", "form", lambda: render_template_string("{{ csrf_token() }}"))
        app.add_url_rule("/plain", "plain", lambda: "plain")
        app.add_url_rule("/change", "change", lambda: "changed", methods=["GET", *UNSAFE])
        app.add_url_rule("/login/<user>", "login", lambda user: str(login_user(User(user))))
        app.add_url_rule("/logout", "logout", lambda: str(logout_user()))
        return app

    return make_site


@pytest.fixture
def app(make: Make) -> Flask:
    """The site with default settings."""
    return make()


@pytest.fixture
def csrf(app: Flask) -> Any:
    """Its protection."""
    return app.extensions["csrf"]


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """One visitor, whose client says nothing of where its requests come from."""
    return app.test_client()


def send(client: FlaskClient, token: str | None = None, path: str = "/change", **options: Any) -> TestResponse:
    """Post a form with a token, if there is one."""
    return client.post(path, data=None if token is None else {"_csrf_token": token}, **options)


def cookie_of(response: TestResponse, name: str = "_csrf_token") -> str | None:
    """Return the Set-Cookie header of a name."""
    found = [text for text in response.headers.getlist("Set-Cookie") if text.startswith(f"{name}=")]
    assert len(found) < 2
    return found[0] if found else None


def value_of(client: FlaskClient, name: str = "_csrf_token") -> str:
    """Return what a script reads in the browser's cookie."""
    cookie = client.get_cookie(name)
    assert cookie is not None
    return cookie.value


class TestUsage:
    """The first page of its documentation."""

    def test_set_up_later(self, flask_seasurf: Any) -> None:
        """``SeaSurf()``, and ``init_app(app)``, which serves any number of applications."""
        csrf = flask_seasurf.SeaSurf()
        for name in ("one", "two"):
            app = Flask(name)
            app.secret_key = "a key that is long enough"
            csrf.init_app(app)
            app.add_url_rule("/change", "change", lambda: "changed", methods=["POST"])
            assert app.test_client().post("/change").status_code == 403

    @pytest.mark.parametrize("method", UNSAFE)
    def test_methods_that_are_checked(self, client: FlaskClient, method: str) -> None:
        """All but the safe ones."""
        assert client.open("/change", method=method).status_code == 403

    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
    def test_methods_that_are_not(self, client: FlaskClient, method: str) -> None:
        """The safe ones."""
        assert client.open("/change", method=method).status_code == 200

    def test_form(self, client: FlaskClient) -> None:
        """``csrf_token()`` in a template, in a field called ``_csrf_token``."""
        token = client.get("/form").text
        assert send(client, token).text == "changed"
        assert send(client).status_code == 403
        assert send(client, "x" * len(token)).status_code == 403
        assert client.post("/change", data={"other_csrf_token": token}).status_code == 403
        assert client.post(f"/change?_csrf_token={token}").status_code == 403

    def test_token_of_another_visitor(self, app: Flask, client: FlaskClient) -> None:
        """Is good for nothing, with one's own cookie as well as with theirs."""
        token = app.test_client().get("/form").text
        client.get("/form")
        assert send(client, token).status_code == 403
        client.set_cookie("_csrf_token", token)
        assert send(client, token).status_code == 403
        assert client.post("/change", headers={"X-CSRFToken": token}).status_code == 403

    def test_header(self, client: FlaskClient) -> None:
        """``X-CSRFToken``, also where the body is no JSON although it says so."""
        headers = {"X-CSRFToken": client.get("/form").text}
        assert client.put("/change", headers=headers).text == "changed"
        assert client.post("/change", data="{]", content_type="application/json", headers=headers).text == "changed"

    def test_json(self, client: FlaskClient) -> None:
        """The token in a JSON body; a list, a number or broken text is a 403 and no other error."""
        token = client.get("/form").text
        assert client.post("/change", json={"_csrf_token": token}).text == "changed"
        for body in ([token], 5, None, {"_csrf_token": 5}, {"_csrf_token": "no"}):
            assert client.post("/change", json=body).status_code == 403
        assert client.post("/change", data="{]", content_type="application/json").status_code == 403

    def test_ajax(self, client: FlaskClient) -> None:
        """A script takes the token out of the cookie, which a page without forms sets, and sends it in the header."""
        client.get("/plain")
        assert client.delete("/change", headers={"X-CSRFToken": value_of(client)}).text == "changed"
        assert client.delete("/change").status_code == 403

    def test_path_that_is_not_ascii(self, app: Flask, client: FlaskClient) -> None:
        """Is refused and passes as others."""
        app.add_url_rule("/change/<term>", "term", lambda term: term, methods=["POST"])
        assert send(client, path="/change/ø").status_code == 403
        assert send(client, client.get("/form").text, "/change/ø").text == "ø"

    def test_names(self, flask_seasurf: Any) -> None:
        """What code imports from the module."""
        assert flask_seasurf.__version__ == "2.0.0"
        names = {name for name in dir(flask_seasurf) if name.startswith("REASON_")}
        assert names == {
            f"REASON_{name}" for name in ("NO_REFERER", "BAD_REFERER", "NO_CSRF_TOKEN", "BAD_TOKEN", "NO_REQUEST")
        }
        assert all(isinstance(getattr(flask_seasurf, name), str) for name in names)


class TestExempt:
    """``exempt``, ``include``, ``exempt_urls`` and ``skip_validation``."""

    @pytest.mark.parametrize("outside", [True, False])
    def test_exempt(self, app: Flask, csrf: Any, client: FlaskClient, outside: bool) -> None:
        """A view, with the decorator above ``app.route`` as in the documentation, or below."""
        decorators = [app.route("/hook", methods=["POST"]), app.route("/hook/<term>", methods=["POST"])]
        view: Any = lambda term=None: "hook"  # noqa: E731
        for decorate in [*decorators, csrf.exempt] if outside else [csrf.exempt, *decorators]:
            view = decorate(view)
        assert client.post("/hook").text == "hook"
        assert client.post("/hook/1", headers=FOREIGN).text == "hook"

    def test_two_of_one_name(self, app: Flask, csrf: Any, client: FlaskClient) -> None:
        """Only the one that was given is exempt; by a name there is nothing to exempt."""

        def made(text: str) -> Any:
            def view() -> str:
                return text

            return view

        app.add_url_rule("/one", "one", csrf.exempt(made("one")), methods=["POST"])
        app.add_url_rule("/two", "two", made("two"), methods=["POST"])
        assert client.post("/one").text == "one"
        assert client.post("/two").status_code == 403
        for decorator in (csrf.exempt, csrf.include, csrf.set_cookie):
            with pytest.raises(TypeError, match="view_functions"):
                decorator("module.view")

    @pytest.mark.parametrize("kind_of_exemption", ["view", "url", "skipped"])
    def test_form_in_an_exempt_view(self, app: Flask, csrf: Any, client: FlaskClient, kind_of_exemption: str) -> None:
        """A form of Flask-WTF does not check again; in another view it does."""
        from flask_wtf import FlaskForm

        app.add_url_rule("/hook/a", "hook", lambda: str(FlaskForm().validate()), methods=["POST"])
        app.add_url_rule("/other", "other", lambda: str(FlaskForm().validate()), methods=["POST"])
        if kind_of_exemption == "view":
            csrf.exempt(app.view_functions["hook"])
        elif kind_of_exemption == "url":
            csrf.exempt_urls(("/hook",))
        else:
            csrf.skip_validation(lambda request: request.path == "/hook/a")
        assert client.post("/hook/a", headers=FOREIGN).text == "True"
        app.config["WTF_CSRF_CHECK_DEFAULT"] = False
        assert client.post("/other").text == "False"

    def test_include(self, make: Make) -> None:
        """With SEASURF_INCLUDE_OR_EXEMPT_VIEWS = "include" only views that are included are checked."""
        app = make(SEASURF_INCLUDE_OR_EXEMPT_VIEWS="include")
        csrf = app.extensions["csrf"]
        app.add_url_rule("/in", "in", csrf.include(lambda: "in"), methods=["POST"])
        app.add_url_rule("/both", "both", csrf.exempt(csrf.include(lambda: "both")), methods=["POST"])
        client = app.test_client()
        assert client.post("/change", headers=FOREIGN).text == "changed"
        assert client.post("/in").status_code == 403
        assert client.post("/both").status_code == 403
        assert send(client, client.get("/form").text, "/in").text == "in"

    def test_include_a_class(self, make: Make) -> None:
        """Protects its view, whatever that is called."""
        app = make(SEASURF_INCLUDE_OR_EXEMPT_VIEWS="include")

        class Hook(MethodView):
            def post(self) -> str:
                return "done"

        app.extensions["csrf"].include(Hook)
        app.add_url_rule("/hook", view_func=Hook.as_view("hook"))
        assert app.test_client().post("/hook").status_code == 403

    def test_include_in_the_other_mode(self, app: Flask, csrf: Any, client: FlaskClient) -> None:
        """Says nothing."""
        csrf.include(app.view_functions["plain"])
        assert client.post("/change").status_code == 403

    def test_form_in_a_view_that_is_not_included(self, make: Make) -> None:
        """Checks its token itself: nobody said that this view needs none."""
        from flask_wtf import FlaskForm

        app = make(SEASURF_INCLUDE_OR_EXEMPT_VIEWS="include")
        app.add_url_rule("/page", "page", lambda: str(FlaskForm().validate()), methods=["POST"])
        client = app.test_client()
        assert client.post("/page").text == "False"
        assert client.post("/page", data={"_csrf_token": client.get("/form").text}).text == "True"

    def test_exempt_urls(self, app: Flask, csrf: Any, client: FlaskClient) -> None:
        """With all below them, by path segment, and not others that begin alike."""
        csrf.exempt_urls(("/foo", "/bar/"))
        paths = ["/foo", "/foo/baz", "/foo/", "/foobar", "/fo", "/bar/x", "/bar", "/x/foo", "/FOO"]
        for number, path in enumerate(paths):
            app.add_url_rule(path, str(number), lambda: "done", methods=["POST"], strict_slashes=True)
        open_paths = [path for path in paths if client.post(path, headers=FOREIGN).status_code == 200]
        assert open_paths == ["/foo", "/foo/baz", "/foo/", "/bar/x"]
        csrf.exempt_urls("/bar/")
        assert client.post("/foo").status_code == 403
        assert client.post("/bar/x").text == "done"

    def test_exempt_urls_under_a_prefix(self, csrf: Any, client: FlaskClient) -> None:
        """They are those that the visitor sees, with what the server put before the application's."""
        csrf.exempt_urls(["/app/change"])
        assert client.post("/change").status_code == 403
        assert client.post("/change", environ_overrides={"SCRIPT_NAME": "/app"}).text == "changed"

    @pytest.mark.parametrize("wrong", ["", "foo", ["foo"], ["/foo", ""], [None], "https://example.org/foo"])
    def test_wrong_urls(self, csrf: Any, wrong: Any) -> None:
        """Are an error: an empty one exempted the whole site."""
        with pytest.raises(ValueError, match="exempt_urls"):
            csrf.exempt_urls(wrong)

    def test_skip_validation(self, csrf: Any, client: FlaskClient) -> None:
        """A function decides of each request that would be checked."""
        asked: list[str] = []

        @csrf.skip_validation
        def skip(request: Request) -> bool | None:
            asked.append(request.method)
            return True if request.headers.get("X-Api") else None

        client.get("/plain")
        assert asked == []
        assert client.post("/change", headers={"X-Api": "1", **FOREIGN}).text == "changed"
        assert client.post("/change").status_code == 403
        assert asked == ["POST", "POST"]

    def test_what_is_no_answer(self, csrf: Any, client: FlaskClient) -> None:
        """A text, a coroutine or a method, which Python takes for true, is an error and no yes."""
        csrf.skip_validation(lambda request: "no")
        with pytest.raises(TypeError, match="True or False, not str"):
            client.post("/change")

    def test_async_answer(self, csrf: Any, client: FlaskClient) -> None:
        """The function may be async."""
        pytest.importorskip("asgiref")

        @csrf.skip_validation
        async def skip(request: Request) -> bool:
            return "X-Api" in request.headers

        assert client.post("/change", headers={"X-Api": "1"}).text == "changed"
        assert client.post("/change").status_code == 403


class TestValidate:
    """``validate``, in a view that decides for itself."""

    def test_in_an_exempt_view(self, app: Flask, csrf: Any, client: FlaskClient) -> None:
        """Checks, with the same means as elsewhere; and then the response has the cookie."""
        app.add_url_rule("/some", "some", csrf.exempt(lambda: str(csrf.validate())), methods=["GET", "POST"])
        assert client.post("/some").status_code == 403
        assert cookie_of(client.post("/some", headers=OWN))
        assert send(client, client.get("/form").text, "/some").text == "None"
        assert client.post("/some", headers=OWN).text == "None"
        assert client.post("/some", headers=FOREIGN).status_code == 403

    def test_of_a_get(self, app: Flask, csrf: Any, client: FlaskClient) -> None:
        """Whatever the method is."""
        app.add_url_rule("/some", "some", lambda: str(csrf.validate()))
        assert client.get("/some").status_code == 403
        assert client.get("/some", headers=FOREIGN).status_code == 403
        assert client.get("/some", headers={"X-CSRFToken": client.get("/form").text}).text == "None"

    def test_without_a_request(self, app: Flask, csrf: Any, flask_seasurf: Any) -> None:
        """Is refused as well."""
        with app.app_context(), pytest.raises(Forbidden, match=flask_seasurf.REASON_NO_REQUEST):
            csrf.validate()


class TestToken:
    """``generate_new_token``, and what ends a token."""

    def test_generate_new_token(self, app: Flask, csrf: Any, client: FlaskClient) -> None:
        """Ends those that there are; the response's cookie has the new one."""
        app.add_url_rule("/new", "new", lambda: str(csrf.generate_new_token()))
        old, cookie = client.get("/form").text, value_of(client)
        assert client.get("/new").text == "None"
        for token in (old, cookie):
            assert send(client, token).status_code == 403
        assert send(client, value_of(client)).text == "changed"
        assert send(client, client.get("/form").text).text == "changed"

    def test_login(self, client: FlaskClient) -> None:
        """Ends them, too; and the response of the login brings the new one for scripts."""
        old, cookie = client.get("/form").text, value_of(client)
        client.get("/login/7")
        assert value_of(client) != cookie
        assert send(client, value_of(client)).text == "changed"
        for void in (old, cookie):
            assert send(client, void).status_code == 403

    def test_it_is_another_text_each_time(self, client: FlaskClient) -> None:
        """A compressed page tells nothing of it."""
        tokens = [client.get("/form").text for _ in range(3)]
        assert len(set(tokens)) == 3
        assert [send(client, token).text for token in tokens] == ["changed"] * 3


class TestCookie:
    """When the cookie is set, and how."""

    def test_when(self, client: FlaskClient) -> None:
        """Where the browser has none, and where the page renders a token; not else."""
        assert cookie_of(client.get("/plain"))
        assert cookie_of(client.get("/plain")) is None
        assert cookie_of(client.get("/form"))
        assert cookie_of(client.get("/plain")) is None
        client.delete_cookie("_csrf_token")
        assert cookie_of(client.get("/plain"))

    def test_with_a_post(self, client: FlaskClient) -> None:
        """A post that passed brings one as well."""
        assert cookie_of(client.post("/change", headers=OWN))
        assert send(client, value_of(client)).text == "changed"

    @pytest.mark.parametrize("headers", [{}, FOREIGN, {"X-CSRFToken": "x" * 72}])
    @pytest.mark.parametrize("cookie", ["", "x" * 72])
    def test_with_a_refusal(self, client: FlaskClient, headers: dict[str, str], cookie: str) -> None:
        """No session is begun, so that a form of another site cannot take the visitor's away. What is void goes."""
        if cookie:
            client.set_cookie("_csrf_token", cookie)
        response = client.post("/change", headers=headers)
        assert response.status_code == 403
        gone = ["_csrf_token"] if cookie and "X-CSRFToken" in headers else []
        assert [text.partition("=;")[0] for text in response.headers.getlist("Set-Cookie")] == gone

    @pytest.mark.parametrize("headers", [{}, OWN])
    @pytest.mark.parametrize("ends", ["logout", "lost", "both"])
    def test_when_the_session_is_over(self, make: Make, headers: dict[str, str], ends: str) -> None:
        """A script that has nothing but the cookie gets a good one with the next page: nobody is locked out."""
        client = make(CSRF_REQUIRE_TOKEN=True).test_client()
        client.get("/login/7", headers=headers)
        client.get("/plain", headers=headers)
        if ends != "lost":
            client.get("/logout", headers=headers)
        if ends != "logout":
            client.delete_cookie("session")
            client.set_cookie("_csrf_token", "x" * 72)
            assert send(client, value_of(client), headers=headers).status_code == 403
        client.get("/plain", headers=headers)
        assert send(client, value_of(client), headers=headers).text == "changed"

    def test_request_that_is_older_than_a_login(self, flask_seasurf: Any, make: Make) -> None:
        """Leaves the browser the cookie that the login has set."""
        app = make()
        if not isinstance(app.session_interface, ServerSessionInterface):
            pytest.skip("Flask's own sessions do not know that")
        client, late = app.test_client(), app.test_client()
        client.get("/form")
        late.set_cookie("session", value_of(client, "session"))
        late.set_cookie("_csrf_token", value_of(client))
        client.get("/login/7")
        response = send(late, value_of(late))
        assert response.status_code == 403
        assert "Set-Cookie" not in response.headers

    def test_with_a_servers_error(self, app: Flask, client: FlaskClient) -> None:
        """Nor with a page that failed."""
        app.add_url_rule("/fails", "fails", lambda: ("sorry", 500))
        assert "Set-Cookie" not in client.get("/fails").headers

    @pytest.mark.parametrize("strict", ["CSRF_COOKIE_SAMESITE", "SESSION_COOKIE_SAMESITE"])
    def test_link_from_another_site(self, make: Make, strict: str) -> None:
        """With Strict cookies the browser may have a session and not have sent it: none is begun in its place."""
        app = make(**{strict: "strict"})
        assert "Set-Cookie" not in app.test_client().get("/plain", headers=FOREIGN).headers
        assert cookie_of(app.test_client().get("/plain", headers=OWN))
        assert cookie_of(make().test_client().get("/plain", headers=FOREIGN))

    @pytest.mark.parametrize("passes", ["trusted", "skipped", "exempt", "unchecked"])
    @pytest.mark.parametrize("site", [{"Sec-Fetch-Site": "cross-site"}, {}])
    def test_form_of_another_site_that_passes(self, make: Make, passes: str, site: dict[str, str]) -> None:
        """As that by which a payment page sends the visitor back. Browsers keep Lax cookies from it, and take those
        that answer it: no session is begun in the place of the visitor's."""
        settings = {
            "trusted": {"CSRF_TRUSTED_ORIGINS": ["https://pay.example"]},
            "unchecked": {"WTF_CSRF_CHECK_DEFAULT": False},
        }
        app = make(**settings.get(passes, {}))
        csrf, view = app.extensions["csrf"], app.view_functions["change"]
        if passes == "skipped":
            csrf.skip_validation(lambda request: True)
        elif passes == "exempt":
            csrf.exempt(csrf.set_cookie(view))
        response = app.test_client().post("/change", headers={"Origin": "https://pay.example", **site})
        assert response.text == "changed"
        assert "Set-Cookie" not in response.headers
        assert cookie_of(app.test_client().post("/change", headers=OWN))

    def test_void_one(self, app: Flask, client: FlaskClient) -> None:
        """Is replaced where the session is opened anyway: a refused request brings the one that will pass."""
        client.get("/plain")
        client.set_cookie("_csrf_token", "x" * 72)
        assert send(client, value_of(client)).status_code == 403
        assert send(client, value_of(client)).text == "changed"

    def test_exempt_view(self, app: Flask, csrf: Any, client: FlaskClient) -> None:
        """Sets none, unless it has ``set_cookie``; in either order of the decorators."""
        app.add_url_rule("/none", "none", csrf.exempt(lambda: render_template_string("{{ csrf_token() }}")))
        app.add_url_rule("/one", "one", csrf.exempt(csrf.set_cookie(lambda: "one")))
        app.add_url_rule("/two", "two", csrf.set_cookie(csrf.exempt(lambda: "two")))
        app.add_url_rule("/url/x", "url", lambda: "url")
        csrf.exempt_urls(("/url",))
        found = [bool(cookie_of(app.test_client().get(path))) for path in ("/none", "/one", "/two", "/url/x")]
        assert found == [False, True, True, False]

    def test_included_view(self, make: Make) -> None:
        """Sets one, in that mode; others do not."""
        app = make(SEASURF_INCLUDE_OR_EXEMPT_VIEWS="include")
        app.extensions["csrf"].include(app.view_functions["plain"])
        assert cookie_of(app.test_client().get("/plain"))
        assert cookie_of(app.test_client().get("/change")) is None

    def test_disable_cookie(self, csrf: Any, client: FlaskClient) -> None:
        """A function decides of each response that would have it."""
        asked: list[int] = []

        @csrf.disable_cookie
        def disable(response: Response) -> bool:
            asked.append(response.status_code)
            return len(asked) == 1

        response = client.get("/form")
        assert cookie_of(response) is None
        assert send(client, response.text).text == "changed"
        assert asked == [200, 200]
        assert cookie_of(client.get("/form"))

    def test_disable_cookie_always(self, csrf: Any, client: FlaskClient) -> None:
        """Pages that render no token begin no session then."""
        csrf.disable_cookie(lambda response: True)
        assert "Set-Cookie" not in client.get("/plain").headers

    def test_static_files_and_what_there_is_not(self, app: Flask, tmp_path: Path) -> None:
        """Set none: caches keep the first, and nothing is known of the second."""
        app.static_folder = str(tmp_path)
        (tmp_path / "x.css").write_text("")
        for path in ("/static/x.css", "/nowhere"):
            response = app.test_client().get(path)
            response.close()
            assert "Set-Cookie" not in response.headers

    def test_attributes(self, client: FlaskClient) -> None:
        """Those that the documentation gives; and nothing keeps the response."""
        response = client.get("/plain")
        parts = (cookie_of(response) or "").split("; ")[1:]
        assert {part.partition("=")[0] for part in parts} == {"Expires", "Max-Age", "Path", "SameSite"}
        assert {"Max-Age=432000", "Path=/", "SameSite=Lax"} <= set(parts)
        assert "no-store" in response.headers["Cache-Control"]
        assert "Cookie" in ", ".join(response.headers.getlist("Vary"))

    def test_settings(self, make: Make) -> None:
        """Each CSRF_COOKIE_… is the attribute of that name."""
        app = make(
            CSRF_COOKIE_NAME="XSRF",
            CSRF_COOKIE_TIMEOUT=timedelta(hours=1),
            CSRF_COOKIE_SECURE=True,
            CSRF_COOKIE_HTTPONLY=True,
            CSRF_COOKIE_PATH="/shop",
            CSRF_COOKIE_DOMAIN="example.com",
            CSRF_COOKIE_SAMESITE="Strict",
        )
        parts = set((cookie_of(app.test_client().get("/plain"), "XSRF") or "").split("; "))
        wanted = {"Max-Age=3600", "Secure", "HttpOnly", "Path=/shop", "Domain=example.com", "SameSite=Strict"}
        assert wanted <= parts

    def test_timeout_in_seconds_or_none(self, make: Make) -> None:
        """A number is seconds; None is until the browser is closed."""
        assert "Max-Age=60;" in (cookie_of(make(CSRF_COOKIE_TIMEOUT=60).test_client().get("/plain")) or "")
        assert "Max-Age" not in (cookie_of(make(CSRF_COOKIE_TIMEOUT=None).test_client().get("/plain")) or "")


class TestSettings:
    """The others."""

    def test_cookie_name(self, make: Make) -> None:
        """Is that of the field and of the session's key as well."""
        app = make(CSRF_COOKIE_NAME="XSRF")
        app.add_url_rule("/keys", "keys", lambda: str(list(session)))
        client = app.test_client()
        token = client.get("/form").text
        assert client.post("/change", data={"XSRF": token}).text == "changed"
        assert client.post("/change", data={"_csrf_token": token}).status_code == 403
        assert client.get("/keys").text == "['XSRF']"

    def test_header_name(self, make: Make) -> None:
        """Is the only one that is looked at."""
        client = make(CSRF_HEADER_NAME="X-My-Token").test_client()
        token = client.get("/form").text
        assert client.post("/change", headers={"X-My-Token": token}).text == "changed"
        assert client.post("/change", headers={"X-CSRFToken": token}).status_code == 403

    @pytest.mark.parametrize("off", [{"CSRF_DISABLE": True}, {"WTF_CSRF_ENABLED": False}])
    def test_off(self, make: Make, off: dict[str, Any]) -> None:
        """Nothing is checked, and no cookie is set; outside of debug mode and tests a line in the log says so."""
        client = make(**off).test_client()
        assert cookie_of(client.get("/plain")) is None
        assert client.post("/change", headers=FOREIGN).text == "changed"

    def test_off_in_production(self, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        """A line in the log says so."""
        make(CSRF_DISABLE=True, TESTING=False)
        assert "CSRF_DISABLE" in caplog.text

    @pytest.mark.parametrize("testing", [True, False])
    def test_on_under_testing(self, make: Make, testing: bool) -> None:
        """Unless CSRF_DISABLE says otherwise: a test that passes says what the site does."""
        assert make(TESTING=testing).test_client().post("/change").status_code == 403

    @pytest.mark.parametrize(
        ("name", "value", "says"),
        [
            ("SEASURF_INCLUDE_OR_EXEMPT_VIEWS", "exemt", "'exemt'"),
            ("SEASURF_INCLUDE_OR_EXEMPT_VIEWS", None, "exempt"),
            ("CSRF_DISABLE", "False", "True or False"),
            ("CSRF_CHECK_REFERER", 0.0, "True or False"),
            ("CSRF_COOKIE_NAME", "", "cookie name"),
            ("CSRF_COOKIE_NAME", None, "must be a str"),
            ("CSRF_COOKIE_NAME", "session", "Choose another name"),
            ("CSRF_COOKIE_TIMEOUT", "5", "timedelta or seconds"),
            ("CSRF_COOKIE_SECURE", "yes", "True or False"),
            ("CSRF_COOKIE_HTTPONLY", None, "True or False"),
            ("CSRF_COOKIE_SAMESITE", "lacks", "Lax"),
            ("CSRF_COOKIE_PATH", "shop", "begins with"),
            ("CSRF_HEADER_NAME", "X Token", "names of headers"),
            ("CSRF_HEADER_NAME", None, "list of str"),
            ("CSRF_COOKIE", "XSRF", "CSRF_COOKIE_NAME"),
            ("SEASURF_INCLUDE_OR_EXEMPT_VIEW", "include", "SEASURF_INCLUDE_OR_EXEMPT_VIEWS"),
            ("CSRF_CHECK_REFERRER", False, "CSRF_CHECK_REFERER"),
        ],
    )
    def test_wrong_settings(self, make: Make, name: str, value: Any, says: str) -> None:
        """Each is an error at start that names the setting, and what to do."""
        with pytest.raises(SettingError, match=f"^{name}: .*{says}"):
            make(**{name: value})

    def test_wrong_setting_later(self, app: Flask, client: FlaskClient) -> None:
        """An error at the next request, and no protection that is silently none."""
        app.config["SEASURF_INCLUDE_OR_EXEMPT_VIEWS"] = "inculde"
        with pytest.raises(SettingError, match="SEASURF_INCLUDE_OR_EXEMPT_VIEWS"):
            client.post("/change")


class TestReferer:
    """Over HTTPS a request must say where it comes from, unless CSRF_CHECK_REFERER is False."""

    def post(self, app: Flask, **headers: str) -> int:
        client = app.test_client()
        token = client.get("/form", base_url=SECURE).text
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return send(client, token, base_url=SECURE, headers=sent).status_code

    def test_over_https(self, app: Flask) -> None:
        """With a good token: another site's is refused, one's own passes, and none is refused."""
        assert self.post(app, Referer="https://www.evil.com/foobar") == 403
        assert self.post(app, Referer="https://www.example.com/foobar") == 200
        assert self.post(app, Referer="http://www.example.com/foobar") == 403
        assert self.post(app) == 403

    def test_other_headers_say_it_as_well(self, app: Flask) -> None:
        """A visitor who hides the Referer is not locked out."""
        assert self.post(app, Origin=SECURE) == 200
        assert self.post(app, Sec_Fetch_Site="same-origin") == 200

    def test_it_is_never_compared_with_the_requests_own_origin(self, app: Flask) -> None:
        """Both hostile, and equal: refused."""
        assert self.post(app, Origin="https://evil.com", Referer="https://evil.com/") == 403

    def test_switched_off(self, make: Make) -> None:
        """Then it is not looked at, and the token decides; Origin and Sec-Fetch-Site count all the same."""
        app = make(CSRF_CHECK_REFERER=False)
        assert self.post(app, Referer="https://www.evil.com/foobar") == 200
        assert self.post(app) == 200
        assert app.test_client().post("/change", headers={"Referer": "http://localhost/"}).status_code == 403
        assert self.post(app, Origin="https://www.evil.com") == 403
        assert self.post(app, Sec_Fetch_Site="cross-site") == 403

    def test_without_https(self, client: FlaskClient) -> None:
        """A request that says nothing passes by its token; one that says it is another site's does not."""
        token = client.get("/form").text
        assert send(client, token).status_code == 200
        assert send(client, token, headers={"Referer": "http://evil.example/"}).status_code == 403


class TestRefusals:
    """A 403, for which every handler is found that one would write."""

    def test_answer(self, client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
        """With the reason, and a line in the log; neither holds what the request said."""
        with caplog.at_level(logging.INFO, "flask_cloakroom.csrf"):
            response = send(client, "hostile", headers={"Referer": "https://hostile.example/"})
        assert (response.status_code, "referrer" in response.text) == (403, True)
        assert "POST change was refused" in caplog.text
        assert "hostile" not in response.text + caplog.text

    @pytest.mark.parametrize("handled", [403, Forbidden, CSRFError, HTTPException, Exception])
    @pytest.mark.parametrize("in_blueprint", [True, False])
    def test_handler(self, app: Flask, handled: Any, in_blueprint: bool) -> None:
        """By code, by Forbidden, by CSRFError or by a class above; in the application or a blueprint."""
        seen: list[Any] = []
        blueprint = Blueprint("api", __name__)
        blueprint.add_url_rule("/api", "api", lambda: "api", methods=["POST"])
        (blueprint if in_blueprint else app).register_error_handler(
            handled, lambda error: (seen.append(error), ("mine", 418))[1]
        )
        app.register_blueprint(blueprint)
        assert app.test_client().post("/api").text == "mine"
        (error,) = seen
        assert isinstance(error, CSRFError)
        assert isinstance(error, Forbidden)
        assert error.code == 403
        assert app.test_client().post("/change").status_code == (403 if in_blueprint else 418)

    @pytest.mark.parametrize(
        ("handled", "answers"), [([400], ""), ([400, 403], "403"), ([400, 403, CSRFError], "CSRFError")]
    )
    def test_the_most_specific_handler(self, app: Flask, client: FlaskClient, handled: list[Any], answers: str) -> None:
        """That for CSRFError, if there is one for 403 as well; and that for 400 is for something else."""
        for one in handled:
            app.register_error_handler(one, lambda error, one=one: getattr(one, "__name__", str(one)))
        response = client.post("/change")
        assert response.text == answers if answers else response.status_code == 403

    def test_handler_that_returns_the_error(self, app: Flask, client: FlaskClient) -> None:
        """Answers with a 403."""
        app.register_error_handler(CSRFError, lambda error: error)
        assert client.post("/change").status_code == 403

    def test_signal(self, app: Flask, client: FlaskClient) -> None:
        """As elsewhere."""
        heard: list[str] = []
        with csrf_refused.connected_to(lambda sender, reason: heard.append(reason), app):
            client.post("/change")
        assert heard == ["The CSRF token is missing."]


class TestWithOthers:
    """Beside the other parts."""

    @pytest.mark.parametrize("first", [True, False])
    def test_cloakroom(self, flask_seasurf: Any, first: bool) -> None:
        """Whichever is set up first, SeaSurf protects, and alone."""
        app = Flask("shop")
        app.config.update(TESTING=True, SESSION_STORE="memory://")
        if first:
            csrf = flask_seasurf.SeaSurf(app)
            assert Cloakroom(app).csrf is csrf
        else:
            Cloakroom(app)
            with app.test_request_context():
                generate_csrf()
            flask_seasurf.SeaSurf(app)
        app.add_url_rule("/form", "form", lambda: render_template_string("{{ csrf_token() }}"))
        app.add_url_rule("/change", "change", lambda: "changed", methods=["POST"])
        client = app.test_client()
        response = client.get("/form")
        assert cookie_of(response)
        assert send(client).status_code == 403
        assert send(client, response.text).text == "changed"
        assert client.post("/change", data={"csrf_token": response.text}).status_code == 403

    def test_other_applications(self, make: Make) -> None:
        """In one process with ours, one that has CSRFProtect keeps its names."""
        make()
        app = Flask("other")
        app.secret_key = "a key that is long enough"
        CSRFProtect(app)
        app.add_url_rule("/change", "change", lambda: "changed", methods=["POST"])
        assert app.test_client().post("/change").status_code == 400

    def test_forms_of_flask_wtf(self, app: Flask, client: FlaskClient) -> None:
        """Their hidden field has SeaSurf's name and our token, so that it is enough."""
        from flask_wtf import FlaskForm

        app.add_url_rule("/page", "page", lambda: str(FlaskForm()._csrf_token))
        app.add_url_rule("/send", "send", lambda: str(FlaskForm().validate()), methods=["POST"])
        token = client.get("/page").text.partition('value="')[2].partition('"')[0]
        assert send(client, token, "/send").text == "True"

    def test_client_for_tests(self, app: Flask) -> None:
        """``CSRFClient`` posts as the site's own pages do, over HTTPS as well; a test of what is refused says so."""
        app.test_client_class = CSRFClient
        client = app.test_client()
        assert client.post("/change").text == "changed"
        assert client.post("/change", base_url=SECURE).text == "changed"
        assert client.post("/change", headers=FOREIGN).status_code == 403

    def test_settings_of_ours(self, make: Make) -> None:
        """Those that SeaSurf has no name for count with it."""
        app = make(CSRF_REQUIRE_TOKEN=True, CSRF_TRUSTED_ORIGINS=["https://pay.example"])
        client = app.test_client()
        token = client.get("/form").text
        assert client.post("/change", headers=OWN).status_code == 403
        assert send(client, token, headers={"Origin": "https://pay.example"}).text == "changed"


class TestCosts:
    """What the cookie costs, over sessions on the server."""

    @pytest.fixture
    def kind(self) -> str:
        return "server"

    def test_commands(self, app: Flask, client: FlaskClient) -> None:
        """The first page begins a session; one that is left alone costs nothing from then on."""
        store = Watched(app)
        client.get("/plain")
        assert store.calls == ["create"]
        store.calls.clear()
        for _ in range(10):
            app.test_client().post("/change", headers=FOREIGN)
        response = client.get("/plain")
        client.post("/change", headers=OWN)
        client.post("/change", headers=FOREIGN)
        assert store.calls == []
        assert "Vary" not in response.headers

    def test_logout(self, app: Flask, client: FlaskClient) -> None:
        """Begins no session of nobody's."""
        client.get("/login/7")
        store = Watched(app)
        client.get("/logout")
        assert "create" not in store.calls
        assert "load" in store.calls

    def test_store_down(self, app: Flask, client: FlaskClient) -> None:
        """A page that leaves the session alone goes on for who has the cookie; for others it is a 503."""
        client.get("/plain")

        def fail(*_: Any) -> Any:
            raise StoreError("away")

        Watched(app).__dict__["load"] = fail
        assert client.get("/plain").text == "plain"
        client.delete_cookie("_csrf_token")
        assert client.get("/plain").status_code == 503
