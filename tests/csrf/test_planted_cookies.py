"""A sibling domain plants a cookie whose name only looks like a name of this package."""

from __future__ import annotations

import pytest
from flask import Flask

from flask_cloakroom import Cloakroom, SeaSurf, UserMixin, current_user, login_user

HTTPS = "https://site.test"


class User(UserMixin):
    """Somebody who may log in."""

    def __init__(self, name: str) -> None:
        self.id = name


def make_site() -> Flask:
    app = Flask("site")
    app.config.update(
        SECRET_KEY="a key that is long enough",
        SESSION_STORE="memory://",
        SESSION_COOKIE_NAME="__Host-session",
        REMEMBER_COOKIE_NAME="__Host-remember",
    )
    Cloakroom(app).user_loader(User)
    app.add_url_rule("/login", "login", lambda: str(login_user(User("mallory"), remember=True)))
    app.add_url_rule("/who", "who", lambda: str(getattr(current_user, "id", "nobody")))
    return app


@pytest.mark.parametrize("sign", ["\xa0", "\x85", "\x0b", "\x0c", "\x1c", "\x1f"])
@pytest.mark.parametrize("name", ["__Host-session", "__Host-remember"])
@pytest.mark.parametrize("before", ["", "a=b; ", "a=b;"])
def test_no_login_by_it(sign: str, name: str, before: str) -> None:
    """Neither the session nor the remember token of the attacker makes a victim the attacker."""
    app = make_site()
    mallory = app.test_client()
    mallory.get("/login", base_url=HTTPS)
    planted = mallory.get_cookie(name, domain="site.test")
    assert planted is not None
    victim = app.test_client(use_cookies=False)
    for blank, who in ((sign, "nobody"), ("", "mallory")):
        header = f"{before}{blank}{name}={planted.value}"
        assert victim.get("/who", base_url=HTTPS, headers={"Cookie": header}).text == who


@pytest.mark.parametrize("sign", ["\xa0", "\x85"])
def test_no_csrf_cookie_by_it(sign: str) -> None:
    """SeaSurf gives a browser its token although there is a cookie that looks like it; and the bytes are no error."""
    app = Flask("site")
    app.config.update(SECRET_KEY="a key that is long enough", SESSION_STORE="memory://")
    SeaSurf(app)
    Cloakroom(app)
    app.add_url_rule("/page", "page", lambda: "page")
    client = app.test_client(use_cookies=False)

    def tokens(header: str) -> list[str]:
        response = client.get("/page", headers={"Cookie": header})
        assert response.status_code == 200
        return [line for line in response.headers.getlist("Set-Cookie") if line.startswith("_csrf_token=")]

    assert tokens("a=b")
    assert tokens(f"{sign}_csrf_token=planted")
    assert not tokens("_csrf_token=present")
