"""The site against forged requests, without a browser: tokens in forms, refusals, messages and redirects."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask, flash, render_template, session
from flask.testing import FlaskClient
from sched_site import appointment_forms, create_app, forgery
from sched_site import forms as site_forms
from sched_site.other_site import loopback_name, make_other_site
from werkzeug.test import Client

from flask_cloakroom.csrf.forms import CloakroomCSRF

COOKIE = "sched_session"
FORM = re.compile(r'<form [^>]*method="post"[^>]*action="([^"]+)"[^>]*>(.*?)</form>', re.DOTALL)
TOKEN = re.compile(r'<input(?= [^>]*name="csrf_token")[^>]* value="([^"]+)"')
PAGES = ["/", "/cart", "/session", "/product/desk-bell", "/account", "/account/password", "/confirm", "/login"]


def sign_in(client: FlaskClient) -> None:
    client.post("/cart/add", data={"product": "desk-bell"})
    client.post("/login", data={"username": "mira", "password": "half-past-nine"})


def silent(app: Flask) -> FlaskClient:
    """A visitor whose browser says nothing of where its requests come from."""
    client = app.test_client()
    del client.environ_base["HTTP_SEC_FETCH_SITE"]
    return client


class TestTokens:
    def test_every_form_has_one(self, client: FlaskClient) -> None:
        """Once there is a session, every form of every page carries the token, that of the page's head included."""
        sign_in(client)
        seen = set()
        for path in [page for page in PAGES if page != "/login"]:
            forms = FORM.findall(client.get(path).text)
            assert forms
            assert [action for action, inner in forms if not TOKEN.search(inner)] == []
            seen |= {action.partition("?")[0] for action, _ in forms}
        client.post("/logout")
        client.post("/cart/add", data={"product": "desk-bell"})
        (login,) = [inner for action, inner in FORM.findall(client.get("/login").text) if action == "/login"]
        assert TOKEN.search(login)
        assert {"/logout", "/cart/add", "/cart/change", "/cart/buy", "/cart/empty", "/restock", "/confirm"} <= seen
        assert {"/account/password", "/account/devices/end-others"} <= seen

    @pytest.mark.parametrize("path", ["/", "/cart", "/login", "/session"])
    def test_strangers_get_none(self, client: FlaskClient, path: str) -> None:
        """A page that is shown to a robot begins no session for the sake of a token."""
        response = client.get(path)
        assert "csrf_token" not in response.text
        assert "Set-Cookie" not in response.headers

    def test_message_alone_begins_none(self, client: FlaskClient) -> None:
        """A session that held but a message, which the page has shown, is gone afterwards."""
        sign_in(client)
        client.post("/logout")
        assert "You are signed out" in client.get("/login").text
        with client:
            client.get("/")
            assert dict(session) == {}

    def test_every_form_of_wtforms(self) -> None:
        """All of them are made on the one class that has the token."""
        modules = (site_forms, appointment_forms)
        named = [one for module in modules for one in vars(module).values()]
        made = {one for one in named if isinstance(one, type) and hasattr(one, "Meta")}
        own = [form for form in made if form.__module__ in {module.__name__ for module in modules}]
        assert len(own) == 9
        assert all(issubclass(form, site_forms.SiteForm) for form in own)
        assert site_forms.SiteForm.Meta.csrf_class is CloakroomCSRF

    def test_token_alone(self, app: Flask) -> None:
        """Who says nothing is refused at first, and told what to do; doing that helps, up to the login and beyond."""
        client = silent(app)
        refused = client.post("/cart/add", data={"product": "desk-bell"})
        assert refused.status_code == 400
        assert "open our page again and repeat the action" in refused.text
        assert client.get_cookie(COOKIE) is not None

        def token(path: str) -> str:
            found = TOKEN.search(client.get(path).text)
            assert found
            return found[1]

        added = client.post("/cart/add", data={"product": "desk-bell", "csrf_token": token("/")})
        assert added.location == "/#desk-bell"
        data = {"username": "mira", "password": "half-past-nine", "csrf_token": token("/login")}
        assert client.post("/login", data=data).location == "/"
        data["csrf_token"] = token("/cart")
        assert client.post("/cart/empty", data=data).location == "/cart"
        assert "Your cart is empty." in client.get("/cart").text

    def test_where_tokens_are_demanded(self, make_app: Callable[..., Flask]) -> None:
        """With CSRF_REQUIRE_TOKEN strangers' forms have a token too, and work."""
        client = make_app(CSRF_REQUIRE_TOKEN=True).test_client()
        found = TOKEN.search(client.get("/").text)
        assert found
        assert client.post("/cart/add", data={"product": "desk-bell"}).status_code == 400
        data = {"product": "desk-bell", "csrf_token": found[1]}
        assert client.post("/cart/add", data=data).location == "/#desk-bell"

    def test_secret_is_not_shown(self, client: FlaskClient) -> None:
        """The page that shows the session does not show what tokens are made of."""
        sign_in(client)
        client.get("/")  # whose forms are the session's first
        with client:
            page = client.get("/session").text
            secrets = [session["csrf_token"], session["_login_secret"]]
        assert 'session["csrf_token"]' in page
        assert not any(secret in page for secret in secrets)
        assert "(secret, not shown)" in page


class TestRefusal:
    @pytest.mark.parametrize("site", ["cross-site", "same-site"])
    def test_page(self, app: Flask, client: FlaskClient, site: str) -> None:
        """What another site sends gets a page that says so, changes nothing, and begins no session."""
        sign_in(client)
        headers = {"Sec-Fetch-Site": site}
        links = dict.fromkeys(("/cart/empty", "/logout", "/account/devices/end-others", "/cart/buy"), "/")
        links["/account/password"] = "/account/password"
        for path in links:
            response = client.post(path, headers=headers)
            assert response.status_code == 400
            assert "We blocked this request" in response.text
            assert "Error 400: The request comes from another site." in response.text
            assert "Set-Cookie" not in response.headers
            assert f'<a class="btn btn-primary" href="{links[path]}">' in response.text
            assert "<script" not in response.text.partition("<main")[2].partition("</main>")[0]
        refused = client.post("/register?next=//evil.example", headers=headers)
        assert '<a class="btn btn-primary" href="/register">Open the page again</a>' in refused.text
        assert "evil" not in refused.text
        assert "Sign out</button>" in client.get("/cart").text
        assert 'id="cart-total"' in client.get("/cart").text
        assert "Set-Cookie" not in app.test_client().post("/cart/empty", headers=headers).headers


class TestMessages:
    @pytest.mark.parametrize(
        ("category", "colour", "role", "word"),
        [
            ("success", "success", "status", ""),
            ("info", "info", "status", ""),
            ("warning", "warning", "alert", "Warning: "),
            ("error", "danger", "alert", "Error: "),
            ("message", "info", "status", ""),  # Flask's own, for who names none
        ],
    )
    def test_look(self, app: Flask, category: str, colour: str, role: str, word: str) -> None:
        """Each category has its colour and its role, and what is amiss says so in words; markup in it is text."""
        with app.test_request_context("/cart"):
            flash("<b>Well</b>", category)
            page = render_template("cart.html", lines=[])
        (attributes, inner) = re.findall(r'<div class="alert ([^>]*)>(.*?)</div>', page, re.DOTALL)[0]
        assert attributes.startswith(f"alert-{colour} ")
        assert attributes.endswith(f'role="{role}"')
        assert re.sub(r"<[^>]*>", "", inner).strip() == f"{word}&lt;b&gt;Well&lt;/b&gt;"

    def test_categories_are_known(self) -> None:
        """The site names no other category than these: a merged is a success that can be undone."""
        used = set()
        for call in calls("flash"):
            assert isinstance(call.args[1], ast.Constant)
            used.add(call.args[1].value)
        assert used == {"success", "merged", "info", "warning", "error"}

    def test_each_is_shown_once(self, client: FlaskClient) -> None:
        """Two messages are shown in their order, and not again."""
        for product in ("desk-bell", "sand-timer"):
            client.post("/cart/add", data={"product": product})
        page = client.get("/").text
        assert -1 < page.find("Desk bell: 1 in your cart.") < page.find("Sand timer: 1 in your cart.")
        assert "in your cart." not in client.get("/").text


def calls(name: str) -> list[ast.Call]:
    """Return the calls of a function in the site's code."""
    folder = Path(forgery.__file__).parent
    nodes = [node for path in folder.glob("*.py") for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    return [node for node in nodes if isinstance(node, ast.Call) and getattr(node.func, "id", None) == name]


def test_redirects() -> None:
    """Every redirect of the site goes to a page that it names itself, or through safe_next."""
    found = calls("redirect")
    assert len(found) > 10
    for call in found:
        target = call.args[0]
        assert isinstance(target, ast.Call)
        assert isinstance(target.func, ast.Name)
        assert target.func.id in ("url_for", "safe_next")


class TestAttackPage:
    @pytest.fixture
    def app(self, make_app: Callable[..., Flask]) -> Flask:
        """The site with another one beside it."""
        return make_app(OTHER_SITE_PORT=4711)

    def test_absent_without_another_site(self, make_app: Callable[..., Flask]) -> None:
        """Where nobody runs the other site there is no page of it, no link to it, and nothing is noted down."""
        app = make_app()
        client = app.test_client()
        assert client.get("/attack").status_code == 404
        assert "/attack" not in client.get("/").text
        assert "/attack" not in client.post("/cart/empty", headers={"Sec-Fetch-Site": "cross-site"}).text
        assert forgery.EXTENSION_KEY not in app.extensions

    def test_environment_makes_no_page(self, monkeypatch: pytest.MonkeyPatch, empty_redis: str) -> None:
        """SCHED_ATTACKER_PORT is for the program that starts the other site; another server has no page of it."""
        monkeypatch.setenv("SCHED_ATTACKER_PORT", "4711")
        assert create_app({"REDIS_URL": empty_redis}).test_client().get("/attack").status_code == 404

    @pytest.mark.parametrize(
        ("host", "name"),
        [
            ("127.0.0.1:8000", "127.0.0.1"),
            ("localhost:8000", "localhost"),
            ("a.sched.localhost", "a.sched.localhost"),
            *(
                (host, "127.0.0.1")
                for host in ("shop.example", "localhost.evil.example", "a@localhost", "", "LOCALHOST/x")
            ),
        ],
    )
    def test_leads_to_this_machine_only(self, host: str, name: str) -> None:
        """Whatever the Host header says, links lead to this machine, and to the name that the visitor used."""
        assert loopback_name(host) == name

    def test_link(self, client: FlaskClient) -> None:
        """The page leads to the other site's port, and looking at it begins no session."""
        response = client.get("/attack", base_url="http://localhost:8000")
        assert 'href="http://localhost:4711/"' in response.text
        assert "No requests have been blocked yet." in response.text
        assert "Set-Cookie" not in response.headers

    def test_empty_cart(self, client: FlaskClient) -> None:
        """With nothing to lose the page says so, and offers something for the cart; then it says what is at stake."""
        page = client.get("/attack").text
        assert "an attack has nothing to change" in page
        assert "Your cart has" not in page
        filled = client.post("/attack/fill-cart", follow_redirects=True)
        assert filled.request.path == "/attack"
        assert "Your cart has <strong>1 item</strong>." in " ".join(filled.text.split())
        assert "fill-cart" not in filled.text
        client.post("/cart/empty")
        client.post("/login", data={"username": "mira", "password": "half-past-nine"})
        signed_in = " ".join(client.get("/attack").text.split())
        assert "Your cart is empty, and you are signed in as" in signed_in
        assert "fill-cart" in signed_in

    def test_holds_no_secret_and_has_a_bound(self, app: Flask, client: FlaskClient) -> None:
        """Of a refused request the page shows the address as the site spells it, two headers, cut and as text, and
        whether there was a cookie; so many requests, the last one first."""
        sign_in(client)
        ticket = client.get_cookie(COOKIE)
        assert ticket is not None
        headers = {"Sec-Fetch-Site": "<script>", "Origin": "http://" + "x" * 5_000}
        for number in range(forgery.MAX_REFUSALS + 3):
            client.post(f"/cart/empty?password=a-secret-{number}", data={"csrf_token": "a-token"}, headers=headers)
        client.post("/logout", headers={"Sec-Fetch-Site": "cross-site"})
        page = client.get("/attack").text
        refusals = page.split('<li class="refusal')[1:]
        assert len(refusals) == forgery.MAX_REFUSALS
        assert "POST /logout" in refusals[0]
        assert "Origin:</dt> <dd>not sent" in refusals[0]
        assert "POST /cart/empty" in refusals[1]
        assert all("Session cookie:</dt> <dd>sent<" in refusal for refusal in refusals)
        for missing in ("a-secret", "a-token", "<script>", "x" * 100, ticket.value):
            assert missing not in "".join(refusals)

    def test_accepts_its_own(self, app: Flask, client: FlaskClient) -> None:
        """The form of the page itself, which has no token, is accepted."""
        (inner,) = [
            inner for action, inner in FORM.findall(client.get("/attack").text) if action == "/attack/from-here"
        ]
        assert not TOKEN.search(inner)
        assert "Accepted: your browser reported" in client.post("/attack/from-here", follow_redirects=True).text
        assert silent(app).post("/attack/from-here").status_code == 400

    def test_other_site(self) -> None:
        """The other site has one page, which aims at the shop on this machine whatever the Host header says."""
        client = Client(make_other_site(8000))
        page = client.get("/", base_url="http://localhost:4711")
        assert page.status_code == 200
        assert page.text.count("http://localhost:8000/") == 6
        assert "[[" not in page.text
        other = client.get("/", base_url="http://evil.example").text
        assert "evil.example" not in other
        assert other.count("http://127.0.0.1:8000/") == 6
        assert client.get("/else").status_code == 404
        assert client.post("/").status_code == 404
