"""``current_user``: when it is loaded, in which contexts, and at what cost."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest
import redis
from flask import Flask, copy_current_request_context, g, render_template_string

from flask_cloakroom import (
    Cloakroom,
    FlaskLoginClient,
    LoginManager,
    UserMixin,
    current_user,
    login_required,
    login_user,
    user_accessed,
    user_loaded_from_request,
)
from support.servers.redis_server import RedisServer
from support.sites.login import Browser, MakeSite, Site, User


class CountedStore:
    """Passes everything on, and counts."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        if not callable(found):
            return found

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            return found(*arguments)

        return call


def count(site: Site) -> CountedStore:
    repository = site.app.session_interface.repository  # type: ignore[attr-defined]
    repository.store = CountedStore(repository.store)
    return repository.store  # type: ignore[no-any-return]


@pytest.mark.promise(1, 2)
@pytest.mark.parametrize(
    ("path", "calls"),
    [
        ("/alone", []),
        ("/page", []),
        ("/who", ["load"]),
        ("/members", ["load"]),
        ("/secret", ["load"]),
        ("/how", ["load"]),
        # The second "load" of both is of what remembers the login, which the browser shows.
        ("/logout", ["load", "load", "delete", "release", "replace", "release"]),
        ("/login?user=alice", ["load", "load", "claim", "create", "replace", "release"]),
    ],
)
def test_store_commands(server_site: Site, path: str, calls: list[str]) -> None:
    """Nothing for a page that asks nothing of the login, rendered templates included; one for one behind it."""
    page = "<p>{{ request.path }}</p>{% if false %}{{ current_user }}{% endif %}"
    server_site.app.add_url_rule("/page", "page", lambda: render_template_string(page))
    browser = server_site.browser("alice", remember=True)
    store = count(server_site)
    del server_site.loads[:]
    response = browser.open(path)
    assert response.status_code == 200
    assert store.calls == calls
    if not calls:
        assert "Vary" not in response.headers
        assert "Cache-Control" not in response.headers
        assert "Set-Cookie" not in response.headers
    assert len(server_site.loads) == (0 if not calls or path.startswith("/login") else 1)


@pytest.mark.promise(1, 2)
@pytest.mark.parametrize(("path", "commands"), [("/members", {"get": 1}), ("/alone", {}), ("/page", {})])
def test_redis_commands(
    make_site: MakeSite, own_redis_server: RedisServer, path: str, commands: dict[str, int]
) -> None:
    """The same, as the server counts them."""
    site = make_site("server", store=own_redis_server.url)
    site.app.add_url_rule("/page", "page", lambda: render_template_string("{{ request.path }}"))
    browser = site.browser("alice", remember=True)
    assert browser.text("/members") == "members"
    with redis.Redis.from_url(own_redis_server.url) as client:
        client.config_resetstat()
        assert browser.open(path).status_code == 200
        counted: dict[str, Any] = client.info("commandstats")  # type: ignore[assignment]
    ours = {name.removeprefix("cmdstat_"): one["calls"] for name, one in counted.items()}
    ours.pop("config|resetstat")
    assert ours == commands


@pytest.mark.promise(1)
def test_a_visitor_without_cookies_costs_nothing(server_site: Site) -> None:
    """Asking who they are asks no store and no loader."""
    server_site.browser("alice")
    store = count(server_site)
    del server_site.loads[:]
    assert server_site.browser().who == "nobody"
    assert store.calls == []
    assert server_site.loads == []


@pytest.mark.promise(1)
def test_a_page_that_asks_nothing_leaves_flasks_session_alone(make_site: MakeSite) -> None:
    """Nor does it vary on the cookie over Flask's own session."""
    site = make_site("cookie", REMEMBER_COOKIE_REFRESH_EACH_REQUEST=True)
    response = site.browser("alice", remember=True).open("/alone")
    assert "Vary" not in response.headers
    assert "Set-Cookie" not in response.headers


def test_loads_once(site: Site) -> None:
    """The user is loaded once a request, and the signal says so."""

    @site.app.route("/often")
    @login_required
    def often() -> str:
        return render_template_string("{{ current_user.get_id() }}{{ current_user.id }}") + str(current_user == 1)

    browser = site.browser("alice")
    del site.loads[:]
    heard: list[Any] = []
    with user_accessed.connected_to(lambda sender: heard.append(sender)):
        assert browser.text("/often") == "alicealiceFalse"
    assert site.loads == ["alice"]
    assert heard == [site.app]


def test_a_pushed_context_mixes_no_users(site: Site) -> None:
    """#721, #722, #728, #905: several clients inside one application context are several users."""
    with site.app.app_context():
        g.something = 1
        alice, bob, nobody = site.browser("alice"), site.browser("bob"), site.browser()
        for _ in range(2):
            assert [browser.who for browser in (alice, nobody, bob)] == ["alice", "nobody", "bob"]
        alice.open("/logout")
        assert [browser.who for browser in (alice, bob)] == ["nobody", "bob"]


def test_nested_requests(site: Site) -> None:
    """A request inside another one has its own user, and gives the other one back."""
    bob = site.browser("bob")
    site.work = lambda: f"{current_user.get_id()} {bob.who} {current_user.get_id()}"
    assert site.browser("alice").text("/work") == "alice bob alice"


def test_a_copied_context(site: Site) -> None:
    """What runs in a copy of the request's context has the request's user."""
    from concurrent.futures import ThreadPoolExecutor

    def work() -> str:
        with ThreadPoolExecutor(1) as pool:
            return str(pool.submit(copy_current_request_context(lambda: current_user.get_id())).result())

    site.work = work
    assert site.browser("alice").text("/work") == "alice"


def test_outside_of_a_request(site: Site) -> None:
    """There is no user."""
    assert not current_user
    with site.app.app_context():
        assert not current_user


def test_a_loader_that_asks_for_the_current_user(site: Site) -> None:
    """As the columns of an audit do: nobody is logged in yet, and it does not go round in circles."""
    seen: list[Any] = []

    @site.manager.user_loader
    def load(user_id: str) -> Any:
        seen.append(current_user.get_id())
        return site.users[user_id]

    assert site.browser("alice").who == "alice"
    assert seen == [None]


def test_login_with_the_proxy(site: Site) -> None:
    """``login_user(current_user)`` logs in whom it stands for."""
    site.work = lambda: f"{login_user(current_user)} {current_user.get_id()}"
    assert site.browser("alice").text("/work") == "True alice"


class TestAsync:
    """Loaders, handlers and views that are async."""

    @pytest.fixture
    def async_site(self, site: Site) -> Site:
        @site.manager.user_loader
        async def load(user_id: str) -> Any:
            await asyncio.sleep(0)
            return site.users.get(user_id)

        @site.manager.unauthorized_handler
        async def refuse() -> Any:
            await asyncio.sleep(0)
            return "refused", 401

        return site

    def test_loader(self, async_site: Site) -> None:
        """From a plain view."""
        assert async_site.browser("alice").who == "alice"
        assert async_site.browser().text("/members") == "refused"

    @pytest.mark.parametrize("required", [False, True])
    def test_view(self, async_site: Site, required: bool) -> None:
        """From an async view, where a loop runs already, also if nothing loaded the user before it."""

        async def view() -> str:
            await asyncio.sleep(0)
            return str(current_user.get_id())

        async_site.app.add_url_rule("/async", "async", login_required(view) if required else view)
        assert async_site.browser("alice").text("/async") == "alice"
        assert async_site.browser().text("/async") == ("refused" if required else "None")

    def test_request_loader(self, async_site: Site) -> None:
        """And the other loader."""

        @async_site.manager.request_loader
        async def load(request: Any) -> Any:
            return async_site.users.get(request.headers.get("Authorization", ""))

        assert async_site.browser().text("/who", headers={"Authorization": "bob"}) == "bob"


class TestRequestLoader:
    """Users who show with each request who they are."""

    @pytest.fixture
    def api(self, site: Site) -> Site:
        @site.manager.request_loader
        def load(request: Any) -> Any:
            return site.users.get(request.headers.get("Authorization", ""))

        return site

    def test_loads(self, api: Site) -> None:
        """They are logged in for this request; no session begins and no cookie is set."""
        heard: list[Any] = []
        with user_loaded_from_request.connected_to(lambda sender, user: heard.append(user.id)):
            response = api.browser().open("/members", headers={"Authorization": "bob"})
        assert (response.text, heard) == ("members", ["bob"])
        assert "Set-Cookie" not in response.headers
        assert response.headers["Cache-Control"] == "no-store"

    def test_is_never_fresh(self, api: Site) -> None:
        """Nor can it be confirmed: there is no session that would remember it."""
        browser = api.browser()
        browser.open("/confirm", headers={"Authorization": "bob"})
        assert browser.open("/secret", headers={"Authorization": "bob"}).status_code == 401
        assert browser.cookies == {}

    def test_switched_off(self, api: Site) -> None:
        """Who is not active is not logged in by that either."""
        api.users["bob"].active = False
        assert api.browser().text("/who", headers={"Authorization": "bob"}) == "nobody"

    def test_the_session_comes_first(self, api: Site) -> None:
        """And a login that ends does not keep the request from speaking for itself."""
        browser = api.browser("alice")
        assert browser.text("/who", headers={"Authorization": "bob"}) == "alice"
        api.users["alice"].active = False
        assert browser.text("/who", headers={"Authorization": "bob"}) == "bob"

    def test_header_loader(self, site: Site) -> None:
        """The deprecated one, with AUTH_HEADER_NAME."""
        site.app.config["AUTH_HEADER_NAME"] = "X-Token"
        with pytest.warns(DeprecationWarning, match="request_loader"):
            site.manager.header_loader(site.users.get)
        assert site.browser().text("/who", headers={"X-Token": "bob"}) == "bob"
        assert site.browser().text("/who", headers={"Authorization": "bob"}) == "nobody"


class TestClient:
    """FlaskLoginClient."""

    @pytest.mark.parametrize("mode", [None, "basic", "strong"])
    @pytest.mark.parametrize("fresh", [True, False])
    def test_is_logged_in(self, make_site: MakeSite, kind: str, mode: str | None, fresh: bool) -> None:
        """#668: it passes every protection, and users who have a hash."""
        site = make_site(kind, SESSION_PROTECTION=mode)
        site.app.test_client_class = FlaskLoginClient
        client = site.app.test_client(user=site.users["alice"], fresh_login=fresh)
        assert client.get("/who").text == "alice"
        assert client.get("/how").text.startswith(f"fresh={fresh}")
        assert site.app.test_client().get("/who").text == "nobody"


class TestCloakroom:
    """``Cloakroom(app)`` has a login manager."""

    def test_loaders(self) -> None:
        """Which is there without being asked for."""
        app = Flask("shop")
        app.config["SESSION_STORE"] = "memory://"
        cloakroom = Cloakroom(app)
        cloakroom.user_loader(User)
        cloakroom.request_loader(lambda request: None)
        app.add_url_rule("/login", "login", lambda: str(login_user(User("alice"))))
        app.add_url_rule("/", "index", lambda: render_template_string("{{ current_user.id }}"))
        client = app.test_client()
        client.get("/login")
        assert client.get("/").text == "alice"
        app.session_interface.store.close()  # type: ignore[attr-defined]

    def test_without_a_loader(self) -> None:
        """Nothing is different: a page with no user, and a ``current_user`` of the application's own."""
        app = Flask("shop")
        app.config["SESSION_STORE"] = "memory://"
        app.context_processor(lambda: {"current_user": "mine"})
        Cloakroom(app)
        app.add_url_rule("/", "index", lambda: render_template_string("{{ current_user }}"))
        response = app.test_client().get("/")
        assert response.text == "mine"
        assert "Vary" not in response.headers
        app.session_interface.store.close()  # type: ignore[attr-defined]

    def test_beside_another_manager(self) -> None:
        """An application's own manager stays, whichever came first."""
        for first in (True, False):
            app = Flask("shop")
            app.config["SESSION_STORE"] = "memory://"
            own = LoginManager(app) if first else LoginManager()
            cloakroom = Cloakroom(app)
            if first:
                assert cloakroom.login_manager is own
            else:
                own.init_app(app)
            own.user_loader(User)
            assert app.login_manager is own  # type: ignore[attr-defined]
            app.add_url_rule("/", "index", lambda: str(current_user.is_anonymous))
            assert app.test_client().get("/").text == "True"
            app.session_interface.store.close()  # type: ignore[attr-defined]

    def test_beside_flask_login(self) -> None:
        """A manager that is not ours is left alone."""
        app = Flask("shop")
        app.config["SESSION_STORE"] = "memory://"
        app.login_manager = theirs = object()  # type: ignore[attr-defined]
        Cloakroom(app)
        assert app.login_manager is theirs  # type: ignore[attr-defined]


def test_errors_say_what_to_do() -> None:
    """No manager, no loader."""
    app = Flask("shop")
    app.secret_key = "a key that is long enough"
    with app.test_request_context(), pytest.raises(RuntimeError, match="init_app"):
        str(current_user)
    LoginManager(app)
    with app.test_request_context(), pytest.raises(RuntimeError, match="Missing user_loader or request_loader"):
        str(current_user)


def test_several_applications() -> None:
    """One manager serves them all, and each has its own settings."""
    manager = LoginManager()
    manager.user_loader(User)
    clients = []
    for number in range(2):
        app = Flask(f"shop{number}")
        app.config.update(SECRET_KEY=f"a key that is long enough {number}", LOGIN_DISABLED=bool(number))
        manager.init_app(app)
        app.add_url_rule("/", "index", login_required(lambda: "in"))
        clients.append(app.test_client())
    assert [client.get("/").status_code for client in clients] == [401, 200]


def test_deprecated_names(site: Site) -> None:
    """They work and warn; private ones that other packages use just work."""
    app = Flask("shop")
    with pytest.warns(DeprecationWarning, match="init_app"):
        LoginManager().setup_app(app)
    with app.app_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        app.login_manager._login_disabled = True  # type: ignore[attr-defined]
        assert app.login_manager._login_disabled  # type: ignore[attr-defined]
    site.work = lambda: site.manager._update_request_context_with_user(User("eve")) or current_user.get_id()
    assert site.browser().text("/work") == "eve"
    assert isinstance(User("eve"), UserMixin)
    assert Browser(site).who == "nobody"
