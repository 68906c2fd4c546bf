"""The ready-made account pages: their contents, their forms, and templates of the application in their place."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_cloakroom import Cloakroom, CSRFClient, UserKind, UserMixin, login_user
from flask_cloakroom.account import TEXTS, account_blueprint

MakeApp = Callable[..., Flask]

#: Every view of the blueprint.
VIEWS = [("GET", ""), ("POST", "/end"), ("POST", "/end-others"), ("GET", "/end-all"), ("POST", "/end-all")]
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class User(UserMixin):
    def __init__(self, user_id: str) -> None:
        self.id = user_id


@pytest.fixture
def make_app(tmp_path: Path) -> MakeApp:
    def make(**arguments: Any) -> Flask:
        app = Flask("site", template_folder=str(tmp_path / "templates"))
        app.config.update(TESTING=True, SESSION_STORE="memory://")
        app.test_client_class = CSRFClient
        cloakroom = Cloakroom(app)
        cloakroom.login_manager.login_view = "log_in"
        cloakroom.login_manager.refresh_view = "confirm"
        cloakroom.user_loader(User)
        app.add_url_rule("/login/<name>", "log_in", lambda name="": str(bool(name) and login_user(User(name))))
        app.add_url_rule("/login", "log_in")
        app.add_url_rule("/confirm", "confirm", lambda: "confirm")
        app.register_blueprint(account_blueprint(**arguments))
        return app

    return make


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app()


def browser(app: Flask, user: str | None = "alice", agent: str = FIREFOX) -> FlaskClient:
    client = app.test_client()
    client.environ_base["HTTP_USER_AGENT"] = agent
    if user is not None:
        assert client.get(f"/login/{user}").text == "True"
    return client


def handles(page: Any) -> list[str]:
    """Return the handles of the page's forms; the one of the present session has another button."""
    return re.findall(r'name="handle" value="([^"]+)">\s*<button[^>]*>Sign out device', page.text)


def test_nobody_sees_it_who_is_not_logged_in(app: Flask) -> None:
    """The page and each of its forms send to the login view."""
    stranger = browser(app, None)
    for method, path in VIEWS:
        response = stranger.open(f"/account{path}", method=method)
        assert response.status_code == 302
        assert response.location.startswith("/login")


def test_it_lists_the_devices(app: Flask) -> None:
    """Each with its browser, and the present one is marked; nothing on the page opens a session."""
    here, there = browser(app), browser(app, agent="<b>odd</b>")
    page = here.get("/account")
    assert len(re.findall(r"<li\b", page.text)) == 2
    assert page.text.count("This device") == 1
    assert "Firefox" in page.text
    assert "&lt;b&gt;odd&lt;/b&gt;" in page.text
    assert "<b>" not in page.text
    for client in (here, there):
        cookie = client.get_cookie("session")
        assert cookie is not None
        assert cookie.value not in page.text
    assert here.get("/account/").status_code == 200


def test_one_device_ends_another(app: Flask) -> None:
    """The other one is nobody at its next click; a second click says that it is over."""
    here, there = browser(app), browser(app)
    (handle,) = handles(here.get("/account"))
    assert TEXTS["ended"] in here.post("/account/end", data={"handle": handle}, follow_redirects=True).text
    assert there.get("/account").status_code == 302
    assert TEXTS["already_ended"] in here.post("/account/end", data={"handle": handle}, follow_redirects=True).text
    assert len(re.findall(r"<li\b", here.get("/account").text)) == 1


def test_nobody_ends_somebody_elses(app: Flask) -> None:
    """A handle of another user's session is answered like one that is over."""
    alice, phone, bob = browser(app), browser(app), browser(app, "bob")
    (handle,) = handles(alice.get("/account"))
    answer = bob.post("/account/end", data={"handle": handle}, follow_redirects=True)
    assert TEXTS["already_ended"] in answer.text
    assert phone.get("/account").status_code == 200
    assert bob.post("/account/end", follow_redirects=True).status_code == 200


@pytest.mark.parametrize(("others", "text"), [(0, "none_ended"), (1, "one_ended"), (3, "others_ended")])
def test_all_others_end(app: Flask, others: int, text: str) -> None:
    """This device stays, and the message counts the others."""
    here, rest = browser(app), [browser(app) for _ in range(others)]
    page = here.post("/account/end-others", follow_redirects=True)
    assert TEXTS[text].format(number=others) in page.text
    assert [client.get("/account").status_code for client in rest] == [302] * others


def test_all_sessions_end_only_after_a_confirmation(app: Flask) -> None:
    """The page has a link and no button for it; the confirmation lists the devices and ends nothing by itself."""
    here, there = browser(app), browser(app, agent="<b>odd</b>")
    assert '<a class="account-button" href="/account/end-all">Sign out everywhere</a>' in here.get("/account").text
    assert 'action="/account/end-all"' not in here.get("/account").text
    confirmation = here.get("/account/end-all").text
    assert "Sign out everywhere?" in confirmation
    assert confirmation.count("<li>") == 2
    assert "&lt;b&gt;odd&lt;/b&gt;" in confirmation
    assert '<form method="post" action="/account/end-all"><input type="hidden" name="csrf_token"' in confirmation
    assert [client.get("/account").status_code for client in (here, there)] == [200, 200]


def test_everything_ends(app: Flask) -> None:
    """This device too, and the answer leads to the login view."""
    here, there = browser(app), browser(app)
    response = here.post("/account/end-all", follow_redirects=True)
    assert response.request.path == "/login"
    assert [client.get("/account").status_code for client in (here, there)] == [302, 302]


def test_its_forms_are_protected(app: Flask) -> None:
    """Another site's form is refused; a client that says nothing needs the token, which the page has."""
    here, there = browser(app), browser(app)
    page = here.get("/account").text
    assert here.post("/account/end-others", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 400
    del here.environ_base["HTTP_SEC_FETCH_SITE"]
    assert here.post("/account/end-others").status_code == 400
    assert there.get("/account").status_code == 200
    token = re.findall(r'name="csrf_token" value="([^"]+)"', page)
    assert len(token) == page.count("<form")
    assert here.post("/account/end-others", data={"csrf_token": token[0]}).status_code == 302
    assert there.get("/account").status_code == 302


def test_only_for_those_who_showed_who_they_are(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``confirm_within`` an old login must be confirmed before the page, and before each form."""
    app = make_app(confirm_within=timedelta(minutes=10))
    here = browser(app)
    assert here.get("/account").status_code == 200
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 601)
    for method, path in VIEWS:
        assert here.open(f"/account{path}", method=method).location.startswith("/confirm")


def test_of_another_kind_of_user(make_app: MakeApp) -> None:
    """The pages of operators show theirs and end theirs, and are no customer's."""
    app = make_app()
    operators = UserKind("operator", app)
    operators.login_view = "log_in"
    operators.user_loader(User)
    app.add_url_rule("/office/<name>", "office", lambda name: str(operators.login_user(User(name))))
    app.register_blueprint(account_blueprint("staff", url_prefix="/staff", kind=operators))
    assert browser(app).get("/staff").status_code == 302
    here, there = browser(app, None), browser(app, None)
    for client in (here, there):
        client.get("/office/alice")
    (handle,) = handles(here.get("/staff"))
    assert here.post("/staff/end", data={"handle": handle}).status_code == 302
    assert there.get("/staff").status_code == 302
    assert here.get("/account").status_code == 302


def test_a_project_has_its_own_templates(make_app: MakeApp, tmp_path: Path) -> None:
    """A layout of the project's stands around the page, and a page of the project's takes its place."""
    own = tmp_path / "templates" / "cloakroom_account"
    own.mkdir(parents=True)
    (own.parent / "layout.html").write_text("<nav>ours</nav>{% block content %}{% endblock %}")
    (own / "base.html").write_text(
        '{% extends "layout.html" %}{% block content %}{% block account %}{% endblock %}{% endblock %}'
    )
    page = browser(make_app()).get("/account").text
    assert page.startswith("<nav>ours</nav>")
    assert "Where you are signed in" in page
    (own / "sessions.html").write_text("{{ user.id }}: {{ sessions | length }}, {{ url_for(pages ~ '.end') }}")
    assert browser(make_app()).get("/account").text == "alice: 1, /account/end"


def test_texts_of_the_project(make_app: MakeApp) -> None:
    """They are flashed instead; a name that there is none of is an error that lists them."""
    app = make_app(texts={"none_ended": "Nirgends sonst."})
    assert "Nirgends sonst." in browser(app).post("/account/end-others", follow_redirects=True).text
    with pytest.raises(ValueError, match=r"unknown names \['non_ended'\]. Use only \['already_ended', .*'ended'"):
        account_blueprint(texts={"non_ended": "?"})


def test_its_style_is_served(app: Flask) -> None:
    """The ready-made layout's style sheet is there, for everybody."""
    response = browser(app, None).get("/account/static/account.css")
    assert response.status_code == 200
    assert "prefers-color-scheme: dark" in response.text
    response.close()
