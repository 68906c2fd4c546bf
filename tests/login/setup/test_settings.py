"""The login settings: their names, their checks, and changes while the application runs."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from flask import Blueprint, Flask, get_flashed_messages

from flask_cloakroom import LoginManager, SettingError, login_required, set_login_view
from flask_cloakroom.login.setup.settings import settings_of
from support.sites.login import MakeSite, Site

WRONG = {
    "AUTH_HEADER_NAME": [None, 5],
    "FORCE_HOST_FOR_REDIRECTS": [5, "http://example.org", "example.org/x", "a b", "user@example.org", "a\nb"],
    "LOGIN_DISABLED": ["False", "0", 0.0, None],
    "LOGOUT_CLEAR_SITE_DATA": ["cache", True, ["everything"], 5],
    "REMEMBER_COOKIE_NAME": ["a b", "", None, "session"],
    "REMEMBER_COOKIE_DURATION": ["123", None, 0, -1, timedelta(0), True],
    "REMEMBER_COOKIE_DOMAIN": ["http://example.org", 5],
    "REMEMBER_COOKIE_PATH": ["x", 5],
    "REMEMBER_COOKIE_SECURE": ["yes", 2],
    "REMEMBER_COOKIE_HTTPONLY": ["no", -1],
    "REMEMBER_COOKIE_SAMESITE": ["lax-ish", 5, "None"],
    "REMEMBER_COOKIE_REFRESH_EACH_REQUEST": ["False", None],
    "SESSION_PROTECTION": ["storng", 5, True],
    "USE_SESSION_FOR_NEXT": ["no", None],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_wrong_values(name: str, value: Any) -> None:
    """Are errors at start that name the setting; none is taken for something else, least of all for "off"."""
    app = Flask("shop")
    app.config[name] = value
    with pytest.raises(SettingError) as caught:
        LoginManager(app)
    assert caught.value.setting == name


def test_what_changes_later_counts(site: Site) -> None:
    """Values that are set after start are read, and checked, too."""
    browser = site.browser()
    assert browser.open("/members").status_code == 401
    site.app.config["LOGIN_DISABLED"] = True
    assert browser.text("/members") == "members"
    site.app.config["LOGIN_DISABLED"] = "False"
    assert browser.open("/members").status_code == 500
    assert settings_of(Flask("shop")) is not settings_of(Flask("shop"))


def test_login_disabled_is_complained_of(caplog: pytest.LogCaptureFixture) -> None:
    """Outside of debug mode and tests it is a warning in the log."""
    for testing in (True, False):
        app = Flask("shop")
        app.config.update(LOGIN_DISABLED=True, TESTING=testing)
        caplog.clear()
        LoginManager(app)
        assert bool(caplog.records) is not testing


def test_a_wrong_mode_of_the_manager(site: Site) -> None:
    """``session_protection`` of the manager is checked as SESSION_PROTECTION is."""
    site.manager.session_protection = "storng"
    assert site.browser("alice").open("/who").status_code == 500


class TestUnauthorized:
    """Where those are sent who are not logged in."""

    def test_401(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """Without a login view; the log says which endpoint was refused, and why."""
        with caplog.at_level(logging.INFO, "flask_cloakroom.login"):
            assert site.browser().open("/members").status_code == 401
            assert site.browser("alice", stale=True).open("/secret").status_code == 401
        assert "members was refused: nobody is logged in" in caplog.text
        assert "secret was refused: the login is not fresh" in caplog.text

    def test_message(self, site: Site) -> None:
        """Flashed in its category, translated if there is a way to."""
        site.manager.login_view = "/login"
        site.manager.login_message_category = "info"
        site.manager.localize_callback = str.upper
        site.app.add_url_rule("/messages", "messages", lambda: str(get_flashed_messages(with_categories=True)))
        browser = site.browser()
        browser.open("/members")
        assert browser.text("/messages") == "[('info', 'PLEASE LOG IN TO ACCESS THIS PAGE.')]"
        site.manager.login_message = None
        browser.open("/members")
        assert browser.text("/messages") == "[]"

    def test_refresh_view(self, site: Site) -> None:
        """The other view, with the other message."""
        site.manager.refresh_view = "/again"
        assert site.browser("alice", stale=True).open("/secret").headers["Location"] == "/again?next=%2Fsecret"

    def test_handlers(self, site: Site) -> None:
        """They answer in the place of all that."""
        site.manager.unauthorized_handler(lambda: ("who are you", 403))
        site.manager.needs_refresh_handler(lambda: ("again please", 403))
        assert site.browser().text("/members") == "who are you"
        assert site.browser("alice", stale=True).text("/secret") == "again please"

    def test_blueprints(self, make_site: MakeSite) -> None:
        """Each has its own view, a blueprint in it too; who has none has the application's."""
        site = make_site()
        outer, inner, other = Blueprint("outer", "outer"), Blueprint("inner", "inner"), Blueprint("other", "other")
        for blueprint in (outer, inner, other):
            blueprint.add_url_rule("/page", "page", login_required(lambda: "x"))
        outer.register_blueprint(inner, url_prefix="/inner")
        site.app.register_blueprint(outer, url_prefix="/outer")
        site.app.register_blueprint(other, url_prefix="/other")
        with site.app.app_context():
            set_login_view("/app-login")
            set_login_view("/outer-login", blueprint=outer)
        for path, login in [("/outer/page", "/outer"), ("/outer/inner/page", "/outer"), ("/other/page", "/app")]:
            assert site.browser().open(path).headers["Location"].startswith(f"{login}-login?")
        assert site.browser().open("/members").headers["Location"].startswith("/app-login?")

    @pytest.mark.parametrize("nothing", [None, ""])
    @pytest.mark.parametrize("by_function", [True, False])
    def test_blueprint_without_a_view(self, make_site: MakeSite, nothing: str | None, by_function: bool) -> None:
        """Its pages are a 401, those of the blueprints in it too; the application's view is for other pages."""
        site = make_site()
        outer, inner, own = Blueprint("outer", "outer"), Blueprint("inner", "inner"), Blueprint("own", "own")
        for blueprint in (outer, inner, own):
            blueprint.add_url_rule("/page", "page", login_required(lambda: "x"))
        outer.register_blueprint(inner, url_prefix="/inner")
        outer.register_blueprint(own, url_prefix="/own")
        site.app.register_blueprint(outer, url_prefix="/outer")
        if by_function:
            with site.app.app_context():
                set_login_view("/app-login")
                set_login_view(nothing, blueprint=outer)
        else:
            site.manager.login_view = "/app-login"
            site.manager.blueprint_login_views["outer"] = nothing
        site.manager.blueprint_login_views["outer.own"] = "/own-login"
        assert site.browser().open("/outer/page").status_code == 401
        assert site.browser().open("/outer/inner/page").status_code == 401
        assert site.browser().open("/outer/own/page").headers["Location"].startswith("/own-login?")
        assert site.browser().open("/members").headers["Location"].startswith("/app-login?")

    def test_no_view_outside_of_blueprints(self, make_site: MakeSite) -> None:
        """set_login_view(None) once a blueprint has its own."""
        site = make_site()
        shop = Blueprint("shop", "shop")
        shop.add_url_rule("/page", "page", login_required(lambda: "x"))
        site.app.register_blueprint(shop, url_prefix="/shop")
        with site.app.app_context():
            set_login_view("/login")
            set_login_view("/shop-login", blueprint=shop)
            set_login_view(None)
        assert site.browser().open("/members").status_code == 401
        assert site.browser().open("/shop/page").headers["Location"].startswith("/shop-login?")

    def test_forced_host(self, make_site: MakeSite) -> None:
        """FORCE_HOST_FOR_REDIRECTS, whatever the request says of its host."""
        site = make_site(FORCE_HOST_FOR_REDIRECTS="good.example")
        site.manager.login_view = "/login"
        response = site.app.test_client().get("/members", base_url="http://evil.example")
        assert response.headers["Location"] == "//good.example/login?next=%2Fmembers"

    def test_options(self, site: Site) -> None:
        """A CORS preflight request passes."""
        assert site.browser().open("/members", method="OPTIONS").status_code == 200
