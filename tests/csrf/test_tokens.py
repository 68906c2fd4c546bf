"""CSRF tokens: their session, their changes, and the places in a request that may carry them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from flask import Flask, g, render_template_string, session
from flask.testing import FlaskClient

from flask_cloakroom import CSRFError, LoginManager, UserMixin, generate_csrf, login_user, logout_user, validate_csrf
from support.sites.csrf import make_app, post, reason_of


def test_form_and_token(client: FlaskClient) -> None:
    """A page's token passes for a client that says nothing else, as often as wanted; without it the post is refused."""
    token = client.get("/form").text
    assert post(client, token).text == "changed"
    assert post(client, token).text == "changed"
    assert reason_of(post(client)) == "The CSRF token is missing."
    assert reason_of(post(client, "x" * 72)) == "The CSRF tokens do not match."
    assert reason_of(post(client, "short")) == "The CSRF token is invalid."


def test_tokens_differ_each_time(client: FlaskClient) -> None:
    """In all of their characters, so a compressed page tells nothing (BREACH); each one is good."""
    tokens = [client.get("/form").text for _ in range(20)]
    assert len(set(tokens)) == 20
    assert all(len({token[place] for token in tokens}) > 1 for place in (*range(20), *range(30, 72)))
    assert all(post(client, token).status_code == 200 for token in tokens)


def test_a_token_does_not_hold_the_secret(app: Flask) -> None:
    """Neither of two tokens, nor what they differ by, contains what lies in the session."""
    with app.test_request_context():
        token = generate_csrf()
        secret = session["csrf_token"].partition(".")[0]
        assert len(secret) == 43
        assert secret not in token


def test_one_token_a_request(app: Flask) -> None:
    """Each form of a page has the same, and it is on ``g``, where tests look for it."""
    with app.test_request_context():
        assert generate_csrf() == generate_csrf() == g.csrf_token
        assert render_template_string("{{ csrf_token() }}") == g.csrf_token


def test_token_in_macros(app: Flask) -> None:
    """An imported macro sees no context, and can render the token all the same."""
    source = "{% macro field() %}{{ csrf_token() }}{{ csrf_meta_tag()|length > 80 }}{% endmacro %}{{ field() }}"
    with app.test_request_context():
        rendered = app.jinja_env.from_string(source).module.field()  # type: ignore[attr-defined]
        assert rendered == f"{g.csrf_token}True"


def test_meta_tag(app: Flask) -> None:
    """As Flask-WTF 1.3 has it, with its name escaped."""
    app.config["WTF_CSRF_META_NAME"] = 'a"b'
    with app.test_request_context():
        tag = render_template_string("{{ csrf_meta_tag() }}")
        assert tag == f'<meta name="a&#34;b" content="{g.csrf_token}">'
        assert 'name="x"' in render_template_string("{{ csrf_meta_tag(name='x') }}")


def test_another_sessions_token(app: Flask) -> None:
    """Is of no use: neither in a session that has a secret nor in one that has none."""
    alice, mallory = app.test_client(), app.test_client()
    stolen = mallory.get("/form").text
    assert reason_of(post(alice, stolen)) == "The CSRF session token is missing."
    alice.get("/form")
    assert reason_of(post(alice, stolen)) == "The CSRF tokens do not match."


@pytest.mark.parametrize("kind", ["server", "cookie"])
@pytest.mark.parametrize("by_hand", [True, False])
def test_changed_at_login_and_logout(kind: str, by_hand: bool) -> None:
    """A page from before a login or logout is void, whoever wrote the login; the page after it works."""
    app = make_app(kind, SECRET_KEY="a key that is long enough")
    manager = LoginManager(app)

    class User(UserMixin):
        id = "7"

    manager.user_loader(lambda user_id: User())

    @app.get("/in")
    def log_in() -> str:
        if by_hand:
            session["_user_id"] = "7"
        else:
            generate_csrf()  # the form that the login came by, say
            login_user(User())
        return generate_csrf()

    @app.get("/out")
    def log_out() -> str:
        if by_hand:
            session.pop("_user_id")
        else:
            logout_user()
        return generate_csrf()

    client = app.test_client()
    before = client.get("/form").text
    at_login = client.get("/in").text
    assert post(client, before).status_code == 400
    assert post(client, at_login).status_code == 200
    later = client.get("/form").text
    assert post(client, later).status_code == post(client, at_login).status_code == 200
    at_logout = client.get("/out").text
    assert post(client, later).status_code == post(client, before).status_code == 400
    assert post(client, at_logout).status_code == 200


def test_changed_at_another_users_login(client: FlaskClient) -> None:
    """From one user to the next, too."""
    client.get("/login/7")
    token = client.get("/form").text
    client.get("/login/8")
    assert post(client, token).status_code == 400
    assert post(client, client.get("/form").text).status_code == 200


def test_changed_by_rotate() -> None:
    """A login that is the application's own calls ``rotate()``; the data stays, and the secret goes."""
    app = make_app()

    @app.get("/rotate")
    def rotate() -> str:
        session["cart"] = "tea"
        session.rotate()  # type: ignore[attr-defined]
        return generate_csrf()

    app.add_url_rule("/cart", "cart", lambda: session["cart"])
    client = app.test_client()
    before = client.get("/form").text
    after = client.get("/rotate").text
    assert post(client, before).status_code == 400
    assert post(client, after).status_code == 200
    assert client.get("/cart").text == "tea"


def test_renewal_changes_nothing() -> None:
    """A ticket that is renewed because it is old (SESSION_RENEW_EVERY) leaves open pages as they are."""
    app = make_app(SESSION_RENEW_EVERY=1)
    app.add_url_rule("/read", "read", lambda: str(len(session)))
    client = app.test_client()
    token = client.get("/form").text
    ticket = client.get_cookie("session")
    deadline = time.monotonic() + 10
    while client.get_cookie("session") == ticket and time.monotonic() < deadline:
        time.sleep(0.2)
        client.get("/read")
    assert client.get_cookie("session") != ticket
    assert post(client, token).status_code == 200


def test_planted_session() -> None:
    """Somebody who knows the secret of a session that they planted in a browser has none of it after the login."""
    app = make_app("cookie")
    attacker, victim = app.test_client(), app.test_client()
    token = attacker.get("/form").text
    planted = attacker.get_cookie("session")
    assert planted is not None
    victim.set_cookie("session", planted.value)
    victim.get("/login/7")
    assert reason_of(post(victim, token)) == "The CSRF session token is missing."
    victim.get("/form")
    assert reason_of(post(victim, token)) == "The CSRF tokens do not match."


def test_secret_key_fallbacks() -> None:
    """Tokens are good while the key that signs Flask's cookie is replaced."""
    old, new = "the old key, long enough", "the new key, long enough"
    app = make_app("cookie")
    app.secret_key = old
    client = app.test_client()
    token = client.get("/form").text
    app.secret_key = new
    app.config["SECRET_KEY_FALLBACKS"] = [old]
    assert post(client, token).status_code == 200
    with client.session_transaction() as kept:
        kept["touched"] = 1  # signed with the new key from here on
    app.config["SECRET_KEY_FALLBACKS"] = []
    assert post(client, token).status_code == 200


class TestTime:
    """A token is good for as long as its session, unless a limit is set."""

    def test_no_clock(self, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        """Flask-WTF's hour is none here: a tab may stay open over lunch."""
        token = client.get("/form").text
        now = time.time()
        monkeypatch.setattr("flask_cloakroom.csrf.session_tokens.time.time", lambda: now + 86400)
        assert post(client, token).status_code == 200

    def test_limit(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """With WTF_CSRF_TIME_LIMIT, also set later; a token cannot be made to look younger."""
        app = make_app(kind)
        client = app.test_client()
        token = client.get("/form").text
        app.config["WTF_CSRF_TIME_LIMIT"] = 60
        now = time.time()
        monkeypatch.setattr("flask_cloakroom.csrf.session_tokens.time.time", lambda: now + 50)
        assert post(client, token).status_code == 200
        younger = client.get("/form").text
        monkeypatch.setattr("flask_cloakroom.csrf.session_tokens.time.time", lambda: now + 70)
        assert reason_of(post(client, token)) == "The CSRF token has expired."
        assert post(client, younger).status_code == 200
        forged = token[:22] + younger[22:30] + token[30:]
        assert reason_of(post(client, forged)) == "The CSRF tokens do not match."


class TestPlaces:
    """Where a token may stand."""

    @pytest.mark.parametrize("header", ["X-CSRFToken", "X-CSRF-Token", "x-csrf-token"])
    def test_headers(self, client: FlaskClient, header: str) -> None:
        """Those of WTF_CSRF_HEADERS."""
        token = client.get("/form").text
        assert client.post("/change", headers={header: token}).status_code == 200

    def test_headers_of_ones_own(self, kind: str) -> None:
        """And no others then."""
        client = make_app(kind, WTF_CSRF_HEADERS=["X-XSRF-TOKEN"]).test_client()
        token = client.get("/form").text
        assert client.post("/change", headers={"X-XSRF-TOKEN": token}).status_code == 200
        assert client.post("/change", headers={"X-CSRFToken": token}).status_code == 400

    def test_json(self, client: FlaskClient) -> None:
        """In an object, as text."""
        token = client.get("/form").text
        assert client.post("/change", json={"csrf_token": token, "n": 1}).status_code == 200
        for body in ([token], token, {"csrf_token": [token]}, {"x": {"csrf_token": token}}, {"csrf_token": 5}, None):
            assert reason_of(client.post("/change", json=body)) == "The CSRF token is missing."

    def test_json_that_is_none(self, client: FlaskClient) -> None:
        """Text that another site's form could send, broken JSON, and JSON that is only there to be deep."""
        token = client.get("/form").text
        good = f'{{"csrf_token": "{token}"}}'
        assert client.post("/change", data=good, content_type="text/plain").status_code == 400
        for body in ("{", "[" * 100_000, "\xff", '{"csrf_token": "\\ud800"}'):
            assert client.post("/change", data=body, content_type="application/json").status_code == 400

    def test_multipart(self, client: FlaskClient) -> None:
        """A form with a file."""
        token = client.get("/form").text
        form = {"csrf_token": token}
        assert client.post("/change", data=form, content_type="multipart/form-data").status_code == 200

    @pytest.mark.parametrize("name", ["prefix-csrf_token", "xcsrf_token", "csrf_token[]", "CSRF_TOKEN", "csrf_token "])
    def test_fields_of_similar_names(self, client: FlaskClient, name: str) -> None:
        """Are other fields: a user may be able to name one."""
        token = client.get("/form").text
        assert client.post("/change", data={name: token}).status_code == 400

    def test_url(self, client: FlaskClient) -> None:
        """Never in the URL, which is logged and sent on as Referer; nor in a cookie, which a sibling domain can set."""
        token = client.get("/form").text
        client.set_cookie("csrf_token", token)
        assert client.post(f"/change?csrf_token={token}").status_code == 400

    def test_field_of_ones_own(self, kind: str) -> None:
        """WTF_CSRF_FIELD_NAME is the field, and the key in the session."""
        app = make_app(kind, WTF_CSRF_FIELD_NAME="_csrf")
        client = app.test_client()
        token = client.get("/form").text
        assert client.post("/change", data={"_csrf": token}).status_code == 200
        assert post(client, token).status_code == 400
        with client.session_transaction() as kept:
            assert list(kept) == ["_csrf"]


class TestCookie:
    """CSRF_COOKIE, for scripts."""

    def test_set_with_a_rendered_token(self, kind: str) -> None:
        """Readable, no older than the session, on no page that renders none, and again only when it is of no use."""
        app = make_app(kind, CSRF_COOKIE="XSRF-TOKEN", SESSION_COOKIE_SECURE=False)
        client = app.test_client()
        assert "Set-Cookie" not in client.get("/plain").headers
        response = client.get("/form")
        (header,) = [value for value in response.headers.getlist("Set-Cookie") if value.startswith("XSRF-TOKEN=")]
        assert "HttpOnly" not in header
        assert "SameSite=Lax" in header
        assert "Max-Age" not in header
        assert response.cache_control.no_store
        assert "Cookie" in response.headers["Vary"]
        cookie = client.get_cookie("XSRF-TOKEN")
        assert cookie is not None
        assert cookie.value == response.text
        assert client.post("/change", headers={"X-CSRFToken": cookie.value}).status_code == 200
        assert post(client).status_code == 400
        assert "XSRF" not in str(client.get("/form").headers)
        client.get("/login/7")
        assert "XSRF-TOKEN" in str(client.get("/form").headers)

    def test_rendered_before_a_login(self, kind: str) -> None:
        """A token that a login in the very same request made void is no cookie."""
        app = make_app(kind, CSRF_COOKIE="XSRF-TOKEN")
        app.add_url_rule("/in", "in", lambda: generate_csrf() + str(session.update(_user_id="7")))
        assert "XSRF-TOKEN" not in str(app.test_client().get("/in").headers)

    def test_planted(self, kind: str) -> None:
        """A cookie that a sibling domain set, and its value in the header, are not the session's token."""
        client = make_app(kind, CSRF_COOKIE="XSRF-TOKEN").test_client()
        client.get("/form")
        client.set_cookie("XSRF-TOKEN", "x" * 72)
        assert client.post("/change", headers={"X-CSRFToken": "x" * 72}).status_code == 400

    def test_has_the_sessions_attributes(self) -> None:
        """It is sent where the session's is."""
        app = make_app(
            CSRF_COOKIE="XSRF-TOKEN",
            SESSION_COOKIE_SECURE=True,
            SESSION_COOKIE_SAMESITE="Strict",
            SESSION_COOKIE_PATH="/shop",
            SESSION_COOKIE_DOMAIN="shop.example",
        )
        (header,) = [
            value
            for value in app.test_client().get("/form").headers.getlist("Set-Cookie")
            if value.startswith("XSRF-TOKEN=")
        ]
        assert {"Secure", "SameSite=Strict", "Path=/shop", "Domain=shop.example"} <= set(header.split("; "))


@pytest.mark.parametrize("value", [5, b"x", ["x"], "no separator", "", None])
def test_session_value_of_another_kind(app: Flask, value: Any) -> None:
    """What lies under the key and is no secret of ours is replaced by one, and passes nothing."""
    with app.test_request_context():
        session["csrf_token"] = value
        with pytest.raises(CSRFError, match="session token is missing"):
            validate_csrf("x" * 72)
        validate_csrf(generate_csrf())


def test_flask_wtfs_key(app: Flask) -> None:
    """WTF_CSRF_SECRET_KEY, or an argument, makes tokens that are good with the same key only."""
    with app.test_request_context():
        token = generate_csrf(secret_key="one")
        validate_csrf(token, secret_key="one")
        with pytest.raises(CSRFError, match="do not match"):
            validate_csrf(token, secret_key=b"two")
        with pytest.raises(CSRFError, match="do not match"):
            validate_csrf(token)
        app.config["WTF_CSRF_SECRET_KEY"] = "one"
        validate_csrf(token)


def test_another_key_of_the_session(app: Flask) -> None:
    """``token_key`` has a secret of its own."""
    with app.test_request_context():
        token = generate_csrf(token_key="oauth")
        assert {"oauth"} == set(session)
        assert g.oauth == token
        validate_csrf(token, token_key="oauth")
        generate_csrf()
        with pytest.raises(CSRFError, match="do not match"):
            validate_csrf(token)
