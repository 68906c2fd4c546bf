"""``permission_required``: only True from the predicate lets a user pass."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from flask_cloakroom import permission_required
from support.sites.login import Site


def add(site: Site, predicate: Any, rule: str = "/page") -> None:
    site.app.testing = True
    site.app.add_url_rule(rule, rule, permission_required(predicate)(lambda **parts: "in"))


def test_decides(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A stranger is sent to log in and the function is not asked; the user it refuses gets a 403, and the log a line
    that names no user."""
    caplog.set_level(logging.INFO, "flask_cloakroom.login")
    asked: list[str] = []

    def is_alice(user: Any) -> bool:
        asked.append(user.id)
        return bool(user.id == "alice")

    add(site, is_alice)
    assert site.browser().open("/page").status_code == 401
    assert asked == []
    assert site.browser("alice").text("/page") == "in"
    assert site.browser("bob").open("/page").status_code == 403
    assert asked == ["alice", "bob"]
    assert "/page was refused: the user has no permission" in caplog.text
    assert "bob" not in caplog.text


@pytest.mark.parametrize("async_view", [False, True])
def test_async(site: Site, async_view: bool) -> None:
    """An async function is awaited, in front of both kinds of view."""

    async def is_alice(user: Any) -> bool:
        return bool(user.id == "alice")

    async def later() -> str:
        return "in"

    guard = permission_required(is_alice)
    site.app.add_url_rule("/page", "page", guard(later) if async_view else guard(lambda: "in"))
    assert site.browser("alice").text("/page") == "in"
    assert site.browser("bob").open("/page").status_code == 403


class AsyncCall:
    async def __call__(self, user: Any) -> bool:
        return False


@pytest.mark.parametrize(
    ("predicate", "problem"),
    [
        (lambda user: user.get_id, "returned a function"),
        (lambda user: AsyncCall()(user), "returned a coroutine"),
        (AsyncCall(), "returned a coroutine"),
        (lambda user, number: True, "number"),
    ],
)
def test_what_is_no_decision(site: Site, predicate: Any, problem: str) -> None:
    """A method that was not called and a coroutine that nobody awaited count as true in Python. Here as errors."""
    add(site, predicate)
    with pytest.raises(TypeError, match=problem):
        site.browser("alice").open("/page")


@pytest.mark.parametrize("said", [None, 0, "", [], False])
def test_everything_false_is_a_no(site: Site, said: Any) -> None:
    """Also None, as of a function without a ``return``."""
    add(site, lambda user: said)
    assert site.browser("alice").open("/page").status_code == 403


def test_parts_of_the_url(site: Site) -> None:
    """A parameter of the name of one is given it, others keep their default, and the query is not looked at."""
    add(site, lambda user, number, kind="x": (number, kind) == (7, "x"), "/page/<int:number>/<other>")
    browser = site.browser("alice")
    assert browser.text("/page/7/y") == "in"
    assert browser.open("/page/8/y?number=7&kind=x").status_code == 403


def test_forbidden_handler(site: Site) -> None:
    """Makes the response in the place of the 403."""
    site.manager.forbidden_handler(lambda: ("not for you", 404))
    add(site, lambda user: False)
    response = site.browser("alice").open("/page")
    assert (response.text, response.status_code) == ("not for you", 404)


def test_options_and_login_disabled(site: Site) -> None:
    """As with login_required."""
    add(site, lambda user: False)
    assert site.browser().open("/page", method="OPTIONS").status_code == 200
    site.app.config["LOGIN_DISABLED"] = True
    assert site.browser().text("/page") == "in"


def test_a_name_is_no_permission() -> None:
    """Neither is the name of a flag: a mistyped one would be a riddle."""
    with pytest.raises(TypeError, match=r"a function \(user\) -> bool, not str"):
        permission_required("is_admin")  # type: ignore[arg-type]
