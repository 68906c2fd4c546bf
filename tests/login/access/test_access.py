"""Login required by default: which views stay open."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, redirect
from flask.views import MethodView, View

from flask_cloakroom import LoginManager, current_user, login_required, public, require_login
from support.sites.login import MakeSite, Site


def plain() -> str:
    return "in"


@pytest.fixture
def closed(make_site: MakeSite, kind: str) -> Site:
    """A site over each kind of session that requires a login, and sends those who have none to /login."""
    site = make_site(kind)
    site.manager.login_view = "login"
    site.manager.login_message = None
    require_login(site.app)
    return site


def is_open(site: Site, path: str, **options: Any) -> bool:
    """Tell whether a stranger gets in; whoever doesn't is sent to log in, and gets nothing else."""
    response = site.browser().open(path, **options)
    if response.status_code == 200:
        return True
    assert response.status_code == 302
    assert response.location.startswith("/login")
    return False


def test_everything_is_closed(closed: Site) -> None:
    """Views of before and after the call, plain, async and guarded ones; and open to who is logged in."""

    async def later() -> str:
        return "in"

    closed.app.add_url_rule("/later", view_func=later)
    browser = closed.browser("alice")
    for path in ("/who", "/alone", "/members", "/later"):
        assert not is_open(closed, path)
        assert browser.open(path).status_code == 200


def test_the_login_view_is_open(closed: Site) -> None:
    """Or nobody would get in; however it is written. The page that it is sent to is no loop."""
    response = closed.browser().client.get("/alone", follow_redirects=True, query_string={"user": "alice"})
    assert response.request.path == "/login"
    for view in ("login", "/login", "/%6cogin?from=here"):
        closed.manager.login_view = view
        assert closed.browser().login("alice")
    for other in ("alone", "/alone", "http://elsewhere.example/login", "http://localhost/login"):
        closed.manager.login_view = other
        assert closed.browser().open("/login?user=alice").status_code == 302
    closed.app.config["SERVER_NAME"] = "localhost"
    assert closed.browser().login("alice"), "now it is known that this is its own host"


def test_the_login_view_of_a_blueprint_is_open(closed: Site) -> None:
    """Absolute, or with a dot for the blueprint's own; a view of that name elsewhere is not."""
    shop = Blueprint("shop", __name__, url_prefix="/shop")
    shop.add_url_rule("/enter", "enter", plain)
    closed.app.register_blueprint(shop)
    closed.app.add_url_rule("/enter", "enter", plain)
    for view in ("shop.enter", ".enter", "/shop/enter"):
        closed.manager.blueprint_login_views = {"shop": view, None: "login"}
        assert is_open(closed, "/shop/enter")
        assert not is_open(closed, "/enter")


def test_under_a_prefix(closed: Site) -> None:
    """Where the application is mounted below a path, a login view that is a path has that in front."""
    closed.manager.login_view = "/app/login"
    assert closed.browser().text("/login?user=alice", environ_overrides={"SCRIPT_NAME": "/app"}) == "True"
    assert closed.browser().open("/login?user=alice").status_code == 302


def test_a_refresh_view_is_not_open(closed: Site) -> None:
    """Only who is logged in is ever sent there, so it makes no loop."""
    closed.manager.refresh_view = "alone"
    assert not is_open(closed, "/alone")


def test_what_there_is_not(closed: Site) -> None:
    """An unknown page is a 404 and a wrong method a 405, to everybody: there is nothing behind them."""
    assert closed.browser().open("/nowhere").status_code == 404
    assert closed.browser().open("/alone", method="POST").status_code == 405


def test_options_pass(closed: Site) -> None:
    """As with login_required: a CORS preflight request comes without cookies. HEAD does not."""
    assert closed.browser().open("/alone", method="OPTIONS").status_code == 200
    assert not is_open(closed, "/alone", method="HEAD")


def test_login_disabled(closed: Site) -> None:
    """Opens everything, at once."""
    closed.app.config["LOGIN_DISABLED"] = True
    assert is_open(closed, "/alone")
    closed.app.config["LOGIN_DISABLED"] = False
    assert not is_open(closed, "/alone")


def test_a_public_page_costs_nothing(closed: Site) -> None:
    """No user is loaded for it, no session is read, and a cache may keep it."""
    closed.app.add_url_rule("/open", "open", public(lambda: "in"))
    browser = closed.browser("alice")
    closed.loads.clear()
    response = browser.open("/open")
    assert (response.text, closed.loads) == ("in", [])
    assert "Vary" not in response.headers
    assert "Cache-Control" not in response.headers


class TestStatic:
    """Static files: the login page needs them."""

    def make(self, tmp_path: Path, **options: Any) -> Flask:
        for folder in ("app", "shop"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "style.css").write_text(folder)
        options.setdefault("static_folder", str(tmp_path / "app"))
        app = Flask("shop", instance_path=str(tmp_path), static_url_path="/static", **options)
        app.config.update(SESSION_STORE="memory://", SECRET_KEY="a key that is long enough")
        LoginManager(app).user_loader(lambda user_id: None)
        require_login(app)
        shop = Blueprint(
            "shop", __name__, url_prefix="/shop", static_folder=str(tmp_path / "shop"), static_url_path="/static"
        )
        app.register_blueprint(shop)
        return app

    def test_are_open(self, tmp_path: Path) -> None:
        """Those of the application and of a blueprint."""
        client = self.make(tmp_path).test_client()
        for url, text in (("/static/style.css", "app"), ("/shop/static/style.css", "shop")):
            with client.get(url) as response:
                assert response.text == text

    def test_only_flasks_own(self, tmp_path: Path) -> None:
        """A view that is called "static" is one like any other, and so is what took the place of Flask's."""
        app = self.make(tmp_path, static_folder=None)
        app.add_url_rule("/mine", "static", lambda: "in")
        assert app.test_client().get("/mine").status_code == 401
        (tmp_path / "other").mkdir()
        other = self.make(tmp_path / "other")
        other.view_functions["static"] = lambda filename: "in"
        assert other.test_client().get("/static/style.css").status_code == 401


class TestMarks:
    """``public`` marks a function, and nothing else."""

    def test_not_the_name(self, closed: Site) -> None:
        """Another function of the same name and module stays closed, also under an endpoint of the same name."""

        def make(answer: str) -> Callable[[], str]:
            def index() -> str:
                return answer

            return index

        shop = Blueprint("shop", __name__)
        closed.app.add_url_rule("/one", "index", public(make("one")))
        shop.add_url_rule("/two", "index", make("two"))
        closed.app.register_blueprint(shop)
        assert is_open(closed, "/one")
        assert not is_open(closed, "/two")

    def test_a_function_that_is_used_twice(self, closed: Site) -> None:
        """Is closed at both its URLs, or open at both: the mark is on the function."""

        def shared() -> str:
            return "in"

        closed.app.add_url_rule("/one", "one", shared)
        closed.app.add_url_rule("/two", "two", shared)
        assert not is_open(closed, "/one")
        assert not is_open(closed, "/two")
        public(shared)
        assert is_open(closed, "/one")
        assert is_open(closed, "/two")

    def test_through_wrappers(self, closed: Site) -> None:
        """Above or below the route and other decorators that use ``wraps``; partials too. One that hides it closes."""

        def polite(view: Any) -> Any:
            @functools.wraps(view)
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                return view(*args, **kwargs)

            return wrapped

        def bare(view: Any) -> Any:
            return functools.wraps(view, updated=())(lambda: view())

        app = closed.app
        app.add_url_rule("/polite", "polite", polite(polite(public(lambda: "in"))))
        app.add_url_rule("/bare", "bare", bare(public(lambda: "in")))
        app.add_url_rule("/partial", "partial", functools.partial(public(lambda word: word), "in"))
        hidden = public(lambda: "in")
        app.add_url_rule("/rude", "rude", lambda: hidden())
        public(app.route("/above")(lambda: "in"))
        for path in ("/polite", "/bare", "/partial", "/above"):
            assert is_open(closed, path), path
        assert not is_open(closed, "/rude")

    def test_what_a_public_view_asks_for_itself(self, closed: Site) -> None:
        """``login_required`` holds under ``public``, in either order."""
        closed.app.add_url_rule("/one", "one", public(login_required(lambda: "in")))
        closed.app.add_url_rule("/two", "two", login_required(public(lambda: "in")))
        assert not is_open(closed, "/one")
        assert not is_open(closed, "/two")

    def test_login_required_above_the_route(self, closed: Site) -> None:
        """The well-known mistake guards nothing without this, and is closed with it."""
        login_required(closed.app.route("/mistake")(lambda: "in"))
        assert not is_open(closed, "/mistake")

    def test_classes(self, closed: Site) -> None:
        """On the class, its method, or in ``decorators``; a class does not have it from its parents."""

        class Page(View):
            def dispatch_request(self) -> str:
                return "in"

        @public
        class Open(Page):
            pass

        class Child(Open):
            pass

        class ByMethod(View):
            @public
            def dispatch_request(self) -> str:
                return "in"

        class Overriding(ByMethod):
            def dispatch_request(self) -> str:
                return "in"

        class ByDecorators(Page):
            decorators = [public]  # noqa: RUF012

        for cls in (Page, Open, Child, ByMethod, Overriding, ByDecorators):
            closed.app.add_url_rule(f"/{cls.__name__}", view_func=cls.as_view(cls.__name__))
        found = {cls.__name__: is_open(closed, f"/{cls.__name__}") for cls in (Page, Open, Child, ByMethod, Overriding)}
        assert found == {"Page": False, "Open": True, "Child": False, "ByMethod": True, "Overriding": False}
        assert is_open(closed, "/ByDecorators")

    def test_methods_of_a_class(self, closed: Site) -> None:
        """GET may be public and POST not; HEAD is what GET is unless the class has it."""

        class Item(MethodView):
            @public
            def get(self) -> str:
                return "in"

            def post(self) -> str:
                return "in"

        class WithHead(Item):
            def head(self) -> str:
                return ""

        closed.app.add_url_rule("/item", view_func=Item.as_view("item"))
        closed.app.add_url_rule("/head", view_func=WithHead.as_view("head"))
        assert is_open(closed, "/item")
        assert is_open(closed, "/item", method="HEAD")
        assert not is_open(closed, "/item", method="POST")
        assert is_open(closed, "/head")
        assert not is_open(closed, "/head", method="HEAD")

    def test_methods_of_an_object(self) -> None:
        """Would mark those of all objects, so that is refused."""

        class Pages:
            def index(self) -> str:
                return "in"

        with pytest.raises(TypeError, match="index as public in its class"):
            public(Pages().index)


class TestBlueprints:
    """A blueprint requires a login, with all that is in it."""

    def test_and_what_is_in_it(self, site: Site) -> None:
        """Nested ones and views that come later are closed, under every name; all outside stays open."""
        admin, inner = Blueprint("admin", __name__), Blueprint("inner", __name__)
        require_login(admin)
        inner.add_url_rule("/page", "page", plain)
        inner.add_url_rule("/open", "open", public(lambda: "in"))
        admin.register_blueprint(inner, url_prefix="/inner")
        admin.add_url_rule("/page", "page", plain)
        site.app.register_blueprint(admin, url_prefix="/admin")
        site.app.register_blueprint(admin, url_prefix="/again", name="again")
        browser = site.browser()
        for path in ("/admin/page", "/again/page", "/admin/inner/page", "/again/inner/page"):
            assert browser.open(path).status_code == 401
            assert site.browser("alice").text(path) == "in"
        for path in ("/admin/inner/open", "/alone", "/who"):
            assert browser.open(path).status_code == 200

    def test_one_within_another(self, site: Site) -> None:
        """The inner one alone may require it."""
        outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
        inner.add_url_rule("/page", "page", plain)
        outer.add_url_rule("/page", "page", plain)
        site.manager.require_login(inner)
        outer.register_blueprint(inner, url_prefix="/inner")
        site.app.register_blueprint(outer, url_prefix="/outer")
        assert site.browser().open("/outer/inner/page").status_code == 401
        assert site.browser().text("/outer/page") == "in"

    def test_too_late(self, site: Site) -> None:
        """Once it is registered it is an error and not without effect."""
        late = Blueprint("late", __name__)
        site.app.register_blueprint(late)
        with pytest.raises(AssertionError, match="already"):
            require_login(late)

    def test_without_a_manager(self) -> None:
        """Nobody gets in, and an error says why."""
        app = Flask("bare")
        app.testing = True
        require_login(app)
        app.add_url_rule("/", view_func=plain)
        with pytest.raises(RuntimeError, match="init_app"):
            app.test_client().get("/")


@pytest.mark.parametrize("handler", ["unauthorized", "needs_refresh", "forbidden"])
def test_a_handler_without_a_response(site: Site, handler: str) -> None:
    """One that returns None, as by a forgotten ``return``, lets nobody in: it is an error."""
    getattr(site.manager, f"{handler}_handler")(lambda: None)
    site.app.testing = True
    with site.app.test_request_context(), pytest.raises(TypeError, match="must return a response"):
        getattr(site.manager, handler)()


def test_no_loop_for_a_vanished_user(closed: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A login page that sends on whoever is logged in: one redirect, and the page asks for a new login. Reported as
    #556 of Flask-Login. The log says why."""
    caplog.set_level(logging.INFO, "flask_cloakroom.login")

    @closed.app.route("/enter")
    def enter() -> Any:
        return redirect("/members") if current_user.is_authenticated else "please log in"

    closed.manager.login_view = "enter"
    browser = login_at(closed, "alice")
    assert browser.text("/members") == "members"
    del closed.users["alice"]
    response = browser.client.get("/members", headers={"User-Agent": "Firefox"}, follow_redirects=True)
    assert response.text == "please log in"
    assert len(response.history) == 1
    assert "does not exist any more" in caplog.text
    assert "alice" not in caplog.text


def login_at(site: Site, user: str) -> Any:
    """Return a browser with a login that was made while /login was still the login view."""
    view, site.manager.login_view = site.manager.login_view, "login"
    browser = site.browser(user)
    site.manager.login_view = view
    return browser
