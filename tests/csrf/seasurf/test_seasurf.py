"""The documented behaviour of Flask-SeaSurf, shown on the drop-in, and what each use costs."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, Request
from flask.testing import FlaskClient
from flask.views import MethodView
from werkzeug.exceptions import Forbidden

from flask_cloakroom import (
    StoreError,
)
from support.sites.csrf import FOREIGN, Watched
from support.sites.seasurf import OWN, UNSAFE, Make, cookie_of, send, value_of


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
        """The names that other code imports from the module."""
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


class TestCosts:
    """The store commands that the cookie costs, over sessions on the server."""

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
