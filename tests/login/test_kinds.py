"""Several kinds of user side by side: each has its own session, and a login of one is no login of another."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import Blueprint, Flask, render_template_string, request, session
from flask.sessions import SecureCookieSession, SessionInterface

from flask_cloakroom import (
    CloakroomError,
    Session,
    SettingError,
    StoreError,
    UserKind,
    active_sessions,
    current_user,
    encode_cookie,
    login_user,
    logout_everybody,
    logout_everywhere,
    public,
    require_login,
    revoke_session,
)
from flask_cloakroom.cli import sessions
from flask_cloakroom.context import this_request
from support.sites.login import MakeSite, Site, User

NAMES = ("session", "remember_token", "session_operator", "remember_token_operator")


class Broken:
    """A store that is down."""

    def load(self, key: bytes) -> Any:
        raise StoreError("down")

    create = replace = touch = delete = load


class Shop:
    """A site with customers and operators. There is an "alice" of both kinds."""

    def __init__(self, site: Site) -> None:
        self.site, self.app = site, site.app
        self.staff: dict[str, Any] = {name: User(name) for name in ("alice", "root")}
        self.operators = UserKind("operator", site.app)
        self.operators.user_loader(self.staff.get)
        app, operators = self.app, self.operators

        @app.route("/staff/login/<name>")
        def staff_login(name: str) -> str:
            return str(operators.login_user(self.staff[name], remember="remember" in request.args))

        @app.route("/staff/logout")
        def staff_logout() -> str:
            return str(operators.logout_user())

        @app.route("/both")
        def both() -> str:
            return f"{current_user.get_id()} {operators.current_user.get_id()}"

        @app.route("/page")
        def page() -> str:
            return render_template_string("{{ current_user.get_id() }} {{ current_operator.get_id() }}")

        @app.route("/staff/page")
        @operators.login_required
        def staff_page() -> str:
            return "staff"

        @app.route("/staff/vault")
        @operators.fresh_login_required(max_age=600)
        async def staff_vault() -> str:
            return f"fresh={operators.login_fresh()} source={operators.login_source()}"

        @app.route("/staff/root")
        @operators.permission_required(lambda user: user.id == "root")
        def root() -> str:
            return "root"

    def browser(self, user: str | None = None, operator: str | None = None) -> Any:
        browser = self.site.browser(user)
        if operator is not None:
            assert browser.text(f"/staff/login/{operator}") == "True"
        return browser


def cookies(browser: Any) -> dict[str, str]:
    found = {name: browser.client.get_cookie(name) for name in NAMES}
    return {name: cookie.value for name, cookie in found.items() if cookie is not None}


@pytest.fixture
def shop(site: Site) -> Shop:
    return Shop(site)


@pytest.fixture
def server_shop(server_site: Site) -> Shop:
    return Shop(server_site)


def test_side_by_side(shop: Shop) -> None:
    """Both are logged in in one browser, in code and in templates, each by a cookie of its own."""
    browser = shop.browser("bob", "root")
    assert browser.text("/both") == "bob root"
    assert browser.text("/page") == "bob root"
    assert set(cookies(browser)) == {"session", "session_operator"}


def test_a_logout_leaves_the_other(shop: Shop) -> None:
    """In both directions."""
    browser = shop.browser("bob", "root")
    browser.open("/staff/logout")
    assert browser.text("/both") == "bob None"
    browser.open("/staff/login/root")
    browser.open("/logout")
    assert browser.text("/both") == "None root"


def test_a_logout_ends_the_session(server_shop: Shop) -> None:
    """Copies of the operator's ticket are dead at once."""
    browser = server_shop.browser("bob", "root")
    thief = server_shop.site.browser()
    thief.client.set_cookie("session_operator", cookies(browser)["session_operator"])
    assert thief.text("/both") == "None root"
    browser.open("/staff/logout")
    assert thief.text("/both") == "None None"


def test_one_is_worth_nothing_as_the_other(shop: Shop) -> None:
    """A customer's ticket or remember token under the name of the operator's, and the other way round, though both
    have a user of that id."""
    browser = shop.browser()
    browser.login("alice", remember=True)
    browser.open("/staff/login/alice?remember=1")
    own = cookies(browser)
    assert set(own) == set(NAMES)
    for name, other in (("session", "session_operator"), ("remember_token", "remember_token_operator")):
        for source, target in ((name, other), (other, name)):
            thief = shop.site.browser()
            thief.client.set_cookie(target, own[source])
            assert thief.text("/both") == "None None", f"{source} as {target}"
            thief.client.set_cookie(source, own[source])
            assert sorted(thief.text("/both").split()) == ["None", "alice"]


def test_two_kinds_beside_the_application(shop: Shop) -> None:
    """Nor is one kind's worth anything as another's."""
    auditors = UserKind("auditor", shop.app)
    auditors.user_loader(shop.staff.get)
    shop.app.add_url_rule("/auditor", "auditor", lambda: str(auditors.current_user.get_id()))
    shop.app.add_url_rule("/auditor/in", "auditor_in", lambda: str(auditors.login_user(shop.staff["alice"], True)))
    browser = shop.browser()
    browser.open("/staff/login/alice?remember=1")
    browser.open("/auditor/in")
    assert (browser.text("/auditor"), browser.text("/both")) == ("alice", "None alice")
    for name in ("session", "remember_token"):
        thief = shop.site.browser()
        thief.client.set_cookie(f"{name}_auditor", cookies(browser)[f"{name}_operator"])
        assert thief.text("/auditor") == "None"


def test_remembering(shop: Shop) -> None:
    """Each kind has its own cookie; a logout of the operator ends theirs alone."""
    browser = shop.browser()
    browser.login("bob", remember=True)
    browser.open("/staff/login/root?remember=1")
    again = shop.site.browser()
    for name in ("remember_token", "remember_token_operator"):
        again.client.set_cookie(name, cookies(browser)[name])
    assert again.text("/both") == "bob root"
    again.open("/staff/logout")
    assert "remember_token_operator" not in cookies(again)
    assert again.text("/both") == "bob None"
    assert "remember_token" in cookies(again)


def test_views(shop: Shop) -> None:
    """The kind's own decorators let in operators, and no customer, also of the same id."""
    customer, operator, root = shop.browser("alice"), shop.browser(None, "alice"), shop.browser(None, "root")
    for path in ("/staff/page", "/staff/vault", "/staff/root"):
        assert customer.open(path).status_code == 401
    assert operator.text("/staff/page") == "staff"
    assert operator.text("/staff/vault") == "fresh=True source=session"
    assert operator.open("/staff/root").status_code == 403
    assert root.text("/staff/root") == "root"
    assert operator.open("/members").status_code == 401


def test_login_views_messages_and_handlers(shop: Shop) -> None:
    """Are the kind's own."""
    shop.site.manager.login_view, shop.operators.login_view = "/login", "/staff/enter"
    assert shop.browser().open("/members").location.startswith("/login?")
    assert shop.browser().open("/staff/page").location.startswith("/staff/enter?")
    shop.operators.unauthorized_handler(lambda: ("operators only", 418))
    assert shop.browser().open("/staff/page").status_code == 418
    assert shop.browser().open("/members").status_code == 302


def test_costs_nothing_unless_asked(server_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that asks for no operator opens no operator's session, whatever cookies come; one that does makes one
    store command."""
    browser = server_shop.browser("bob", "root")
    store = server_shop.app.session_interface.store  # type: ignore[attr-defined]
    loads: list[bytes] = []
    load = store.load
    monkeypatch.setattr(store, "load", lambda key: loads.append(key) or load(key))
    response = browser.open("/alone")
    assert ("Vary" in response.headers, len(loads)) == (False, 0)
    browser.open("/who")
    assert len(loads) == 1
    assert browser.open("/staff/page").headers["Vary"] == "Cookie"
    assert len(loads) == 2


def test_is_in_the_same_store(server_shop: Shop) -> None:
    """And nothing is opened twice; the operator's session sees none of the customer's contents."""
    interface = server_shop.operators.interface_for(server_shop.app)
    assert interface.store is server_shop.app.session_interface.store  # type: ignore[attr-defined, union-attr]
    browser = server_shop.browser("bob", "root")
    browser.open("/cart/apple")
    with server_shop.app.test_request_context(environ_overrides={"HTTP_COOKIE": header_of(browser)}):
        own = server_shop.operators.session_of(this_request())
        assert own["_user_id"] == "root"
        assert "cart" not in own
        assert session["_user_id"] == "bob"


def header_of(browser: Any) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies(browser).items())


def test_vary_and_caches(shop: Shop) -> None:
    """A page for an operator says ``Vary: Cookie`` once and ``no-store``."""
    browser = shop.browser(None, "root")
    response = browser.open("/staff/page")
    assert response.headers.getlist("Vary") == ["Cookie"]
    assert response.headers["Cache-Control"] == "no-store"


def test_an_operator_alone_is_no_customer(shop: Shop) -> None:
    """And stores no session for one; nor does an operator who is not there store any."""
    browser = shop.browser(None, "root")
    assert browser.who == "nobody"
    assert set(cookies(browser)) == {"session_operator"}
    stranger = shop.browser()
    assert stranger.text("/both") == "None None"
    assert cookies(stranger) == {}


def test_rotation(server_shop: Shop) -> None:
    """Promise 7 holds for each kind: the operator's id changes at the login, and the customer's does not."""
    browser = server_shop.browser("bob", "root")
    before = cookies(browser)
    browser.open("/staff/login/root")
    after = cookies(browser)
    assert before["session_operator"] != after["session_operator"]
    assert before["session"] == after["session"]


def test_the_store_is_down(server_shop: Shop) -> None:
    """Promise 10: a page for operators is a 503 and no redirect to a login; nobody is logged out by it."""
    browser = server_shop.browser("bob", "root")
    repository = server_shop.operators.interface_for(server_shop.app).repository  # type: ignore[union-attr]
    store, repository.store = repository.store, Broken()  # type: ignore[assignment]
    for path in ("/staff/page", "/both", "/staff/logout", "/staff/login/alice"):
        response = browser.open(path)
        assert response.status_code == 503
        assert response.headers["Retry-After"]
        assert "Set-Cookie" not in response.headers
    assert browser.text("/members") == "members"
    repository.store = store
    assert browser.text("/both") == "bob root"


def test_the_store_fails_at_the_end(server_shop: Shop) -> None:
    """A login of an operator that can't be saved is a 503 that sets no cookie, not even the remember cookie."""
    browser = server_shop.browser("bob")
    store = server_shop.operators.interface_for(server_shop.app).repository.store  # type: ignore[union-attr]

    def fail(*arguments: Any) -> Any:
        raise StoreError("down")

    create, store.create = store.create, fail  # type: ignore[method-assign]
    response = browser.open("/staff/login/root?remember=1")
    store.create = create  # type: ignore[method-assign]
    assert response.status_code == 503
    assert "Set-Cookie" not in response.headers
    assert browser.text("/both") == "bob None"


def test_sessions_of_a_user(server_shop: Shop) -> None:
    """A list, a limit and a logout everywhere are of one kind: users of the same id are two."""
    shop = server_shop
    browsers = [shop.browser("alice", "alice") for _ in range(2)]
    ended: list[int] = []
    with shop.app.app_context():
        assert len(active_sessions(shop.site.users["alice"])) == 2
        listed = shop.operators.active_sessions(shop.staff["alice"])
        assert len(listed) == 2
    shop.site.work = lambda: ended.append(logout_everywhere())
    browsers[0].open("/work")
    assert ended == [2]
    assert [one.text("/both") for one in browsers] == ["None alice"] * 2
    shop.site.work = lambda: ended.append(shop.operators.revoke_session(listed[1].handle))
    browsers[0].open("/work")
    shop.site.work = lambda: ended.append(shop.operators.logout_everywhere(keep_current=True))
    left = next(one for one in browsers if one.text("/both") == "None alice")
    left.open("/work")
    assert ended == [2, True, 0]
    assert sorted(one.text("/both") for one in browsers) == ["None None", "None alice"]


def test_a_handle_of_the_other_kind(server_shop: Shop) -> None:
    """Is nobody's: a customer's function ends no operator's session."""
    browser = server_shop.browser("alice", "alice")
    answers: list[bool] = []
    with server_shop.app.app_context():
        handle = server_shop.operators.active_sessions(server_shop.staff["alice"])[0].handle
    server_shop.site.work = lambda: answers.append(revoke_session(handle))
    browser.open("/work")
    assert answers == [False]
    assert browser.text("/both") == "alice alice"


def test_a_limit_is_for_each_kind(make_site: MakeSite) -> None:
    """SESSION_LIMIT_PER_USER: a customer and an operator of one id don't push each other out."""
    shop = Shop(make_site(SESSION_LIMIT_PER_USER=1))
    first = shop.browser("alice", "alice")
    assert first.text("/both") == "alice alice"
    shop.browser(None, "alice")
    assert first.text("/both") == "alice None"


def test_closed_by_default(shop: Shop) -> None:
    """A blueprint for operators in an application for customers: its pages want an operator and no customer, and the
    login page of either is open to all."""
    office = Blueprint("office", __name__, url_prefix="/office")
    office.add_url_rule("/", "index", lambda: "office")
    office.add_url_rule("/enter", "enter", lambda: "enter")
    shop.operators.require_login(office)
    shop.operators.login_view = "office.enter"
    shop.site.manager.login_view = "login"
    require_login(shop.app)
    shop.app.register_blueprint(office)
    stranger = shop.site.browser()
    assert stranger.open("/office/").location.startswith("/office/enter?")
    assert stranger.text("/office/enter") == "enter"
    assert stranger.open("/alone").location.startswith("/login?")
    public(shop.app.view_functions["staff_login"])
    operator, customer = shop.browser(None, "root"), shop.browser("bob")
    assert operator.text("/office/") == "office"
    assert operator.open("/alone").status_code == 302
    assert customer.open("/office/").status_code == 302
    assert customer.text("/alone") == "alone"


def test_authenticators_of_a_kind(shop: Shop) -> None:
    """A header that is an operator's is no customer's."""
    shop.operators.authenticator("Bearer")(lambda request: shop.staff.get(request.authorization.token))
    browser = shop.browser("bob")
    assert browser.text("/both", headers={"Authorization": "Bearer root"}) == "bob root"
    assert browser.open("/both", headers={"Authorization": "Bearer bob"}).status_code == 401
    assert browser.who == "bob"


def test_a_changed_password(shop: Shop) -> None:
    """Ends the operator's login, and not that of the customer of the same id."""
    browser = shop.browser("alice", "alice")
    shop.staff["alice"].password_hash = "argon2:second"
    assert browser.text("/both") == "alice None"


def test_set_up_before_the_sessions(make_site: MakeSite) -> None:
    """The order of ``init_app`` and ``Session(app)`` makes no difference: what the application has then counts."""
    site = make_site("cookie")
    shop = Shop(site)
    Session(site.app)
    browser = shop.browser("bob", "root")
    assert browser.text("/both") == "bob root"
    assert len(cookies(browser)["session_operator"]) == 43
    site.app.session_interface.store.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["", "Operator", "1st", "an operator", "a-b", "user", "é", 5, "a;b"])
def test_names(name: Any) -> None:
    """A name goes into cookies and templates: anything else is an error at once."""
    with pytest.raises(ValueError, match="is no name of a user kind"):
        UserKind(name)


def test_two_of_one_name(shop: Shop) -> None:
    """Is a clear error; the same one twice is none, and its cookies are set once."""
    shop.operators.init_app(shop.app)
    with pytest.raises(ValueError, match="another UserKind"):
        UserKind("operator", shop.app)
    assert isinstance(UserKind("operator_2", shop.app), UserKind)
    response = shop.app.test_client().get("/staff/login/root?remember=1")
    assert len({line.partition("=")[0] for line in response.headers.getlist("Set-Cookie")}) == 2
    assert len(response.headers.getlist("Set-Cookie")) == 2


def test_a_cookie_that_is_taken(make_site: MakeSite) -> None:
    """By the remember cookie of the application."""
    site = make_site(REMEMBER_COOKIE_NAME="session_operator")
    with pytest.raises(SettingError, match="is taken by the cookies of UserKind"):
        UserKind("operator", site.app)


def test_where_it_was_not_set_up(site: Site) -> None:
    """Each use says what to do, instead of a session that is never saved. Outside of requests there is no user."""
    kind = UserKind("operator")
    kind.user_loader(lambda user_id: None)
    assert not kind.current_user
    site.app.testing = True
    site.app.add_url_rule("/page", "page", kind.login_required(lambda: "in"))
    kind.require_login(site.app)
    for path in ("/page", "/who"):
        with pytest.raises(RuntimeError, match="init_app"):
            site.browser().open(path)


def test_sessions_of_somebody_else(make_site: MakeSite) -> None:
    """Cannot be side by side, and an error says so; the application's own users are not concerned."""

    class Other(SessionInterface):
        def open_session(self, app: Flask, request: Any) -> SecureCookieSession:
            return SecureCookieSession()

        def save_session(self, *arguments: Any) -> None:
            pass

    shop = Shop(make_site("cookie"))
    shop.app.testing = True
    shop.app.session_interface = Other()
    assert shop.site.browser().who == "nobody"
    with pytest.raises(CloakroomError, match="session interface is"):
        shop.site.browser().open("/staff/page")


def test_several_applications(make_site: MakeSite) -> None:
    """One kind serves two applications, whose operators are apart."""
    first, second = make_site("server"), make_site("cookie")
    kind = UserKind("operator")
    kind.user_loader(lambda user_id: User(user_id))
    for site in (first, second):
        kind.init_app(site.app)
        site.app.add_url_rule("/op", "op", lambda: str(kind.current_user.get_id()))
        site.app.add_url_rule("/in", "in", lambda: str(kind.login_user(User("root"))))
    browser = first.browser()
    browser.open("/in")
    assert browser.text("/op") == "root"
    other = second.browser()
    other.client.set_cookie("session_operator", cookies(browser)["session_operator"])
    assert other.text("/op") == "None"


def test_refusals_in_the_log(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Name the operator's session by its public id, and neither ticket nor user."""
    caplog.set_level(logging.INFO, "flask_cloakroom.login")
    browser = shop.browser(None, "alice")
    browser.open("/staff/root")
    assert "root was refused: the user has no permission" in caplog.text
    assert "alice" not in caplog.text
    assert cookies(browser)["session_operator"] not in caplog.text


def test_both_logins_in_one_request(shop: Shop) -> None:
    """A request may log in one of each kind; both are saved."""

    @shop.app.route("/twice")
    def twice() -> str:
        login_user(shop.site.users["bob"])
        shop.operators.login_user(shop.staff["root"])
        return "ok"

    browser = shop.browser()
    browser.open("/twice")
    assert browser.text("/both") == "bob root"


def test_no_secret_key(make_site: MakeSite) -> None:
    """Over Flask's cookie session nobody is logged in without a key, and a login is Flask's clear error."""
    shop = Shop(make_site("cookie", SECRET_KEY=None))
    shop.app.testing = True
    assert shop.site.browser().open("/staff/page").status_code == 401
    with pytest.raises(RuntimeError, match="secret key"):
        shop.browser(None, "root")


def test_flask_logins_cookie_is_no_operators(make_site: MakeSite, kind: str) -> None:
    """REMEMBER_COOKIE_ACCEPT_LEGACY: there was one kind of user, and an operator may have a customer's id."""
    shop = Shop(make_site(kind, REMEMBER_COOKIE_ACCEPT_LEGACY=True))
    with shop.app.app_context():
        cookie = encode_cookie("alice")
    thief = shop.site.browser()
    thief.client.set_cookie("remember_token_operator", cookie)
    assert thief.text("/both") == "None None"
    thief.client.set_cookie("remember_token", cookie)
    assert thief.text("/both") == "alice None"


def test_everybody_of_one_kind(server_shop: Shop) -> None:
    """Ends with what remembers them; the others, who are in the same store, stay."""
    browser = server_shop.browser("bob")
    browser.open("/staff/login/root?remember=1")
    token = cookies(browser)["remember_token_operator"]
    with server_shop.app.app_context():
        assert server_shop.operators.logout_everybody() == 1
    assert browser.text("/both") == "bob None"
    thief = server_shop.site.browser()
    thief.client.set_cookie("remember_token_operator", token)
    assert thief.text("/both") == "None None"
    browser.open("/staff/login/root")
    with server_shop.app.app_context():
        assert logout_everybody() == 2, "the function is of all kinds"
    assert browser.text("/both") == "None None"


def test_the_command_ends_everybody(server_shop: Shop) -> None:
    """``flask sessions end --everybody`` ends the logins of every kind of user."""
    browser = server_shop.browser("bob")
    browser.open("/staff/login/root")
    result = server_shop.app.test_cli_runner().invoke(sessions, ["end", "--everybody"])
    assert result.output == "Sessions ended: 2.\n"
    assert browser.text("/both") == "None None"
