"""Each callback of an application may be async, in front of sync and async views."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import Any

import pytest
from flask import request

from flask_cloakroom import (
    current_user,
    fresh_login_required,
    impersonate,
    login_required,
    login_user,
    permission_required,
)
from support.sites.login import Site

seen: ContextVar[str] = ContextVar("seen", default="")


@pytest.fixture(params=["sync", "async"])
def view(request: pytest.FixtureRequest) -> Any:
    """Return a view of each sort that says who the current user is, and what the loader left in a context variable."""

    def plain() -> str:
        return f"{current_user.get_id()} {seen.get()}"

    async def later() -> str:
        before = f"{current_user.get_id()} {seen.get()}"
        await asyncio.sleep(0)
        assert f"{current_user.get_id()} {seen.get()}" == before
        return before

    return plain if request.param == "sync" else later


@pytest.fixture
def async_site(site: Site) -> Site:
    """A site whose user_loader awaits something, and looks at the request."""

    @site.manager.user_loader
    async def load(user_id: str) -> Any:
        await asyncio.sleep(0)
        assert not current_user.is_authenticated, "while it runs nobody is logged in"
        seen.set(f"{user_id} at {request.path}")
        return site.users.get(user_id)

    return site


def test_loader(async_site: Site, view: Any) -> None:
    """The loader runs within the request; what it sets in a context variable is seen in the view."""
    async_site.app.add_url_rule("/page", "page", view)
    async_site.app.add_url_rule("/closed", "closed", login_required(view))
    browser = async_site.browser("alice")
    for path in ("/page", "/closed"):
        assert browser.text(path) == f"alice alice at {path}"


def test_request_loader_and_remember_cookie(async_site: Site, view: Any) -> None:
    """The other ways to a user."""

    @async_site.manager.request_loader
    async def load(given: Any) -> Any:
        return async_site.users["bob"] if "X-Bob" in given.headers else None

    async_site.app.add_url_rule("/page", "page", view)
    assert async_site.browser().text("/page", headers={"X-Bob": "1"}).startswith("bob ")
    again = async_site.browser("alice", remember=True).copy("remember_token")
    assert again.text("/page") == "alice alice at /page"


@pytest.mark.parametrize(
    ("handler", "guard", "user"),
    [
        ("unauthorized", login_required, None),
        ("needs_refresh", fresh_login_required, "stale"),
        ("forbidden", permission_required(lambda user: False), "alice"),
    ],
)
def test_handlers(async_site: Site, view: Any, handler: str, guard: Any, user: str | None) -> None:
    """An async handler answers; so it does where the login is required by default."""

    async def answer() -> tuple[str, int]:
        await asyncio.sleep(0)
        return handler, 418

    getattr(async_site.manager, f"{handler}_handler")(answer)
    async_site.app.add_url_rule("/page", "page", guard(view))
    browser = async_site.browser(user and "alice", stale=user == "stale")
    response = browser.open("/page")
    assert (response.text, response.status_code) == (handler, 418)


def test_a_predicate_and_a_rule(async_site: Site, view: Any) -> None:
    """Their answer counts, and not their coroutine."""

    async def is_bob(user: Any) -> bool:
        return bool(user.id == "bob")

    async def never(operator: Any, user: Any) -> bool:
        return False

    async_site.manager.impersonation_allowed(never)
    async_site.work = lambda: impersonate(async_site.users["alice"])
    async_site.app.add_url_rule("/page", "page", permission_required(is_bob)(view))
    assert async_site.browser("alice").open("/page").status_code == 403
    bob = async_site.browser("bob")
    assert bob.text("/page").startswith("bob")
    assert bob.open("/work").status_code == 403


def test_login_in_an_async_view(async_site: Site) -> None:
    """As in any other."""

    async def enter() -> str:
        await asyncio.sleep(0)
        login_user(async_site.users["alice"])
        return str(current_user.get_id())

    async_site.app.add_url_rule("/enter", "enter", enter)
    browser = async_site.browser()
    assert browser.text("/enter") == "alice"
    assert browser.who == "alice"


def test_a_loader_that_fails(async_site: Site, view: Any) -> None:
    """Its exception is the view's, from the other thread too."""

    @async_site.manager.user_loader
    async def fail(user_id: str) -> Any:
        raise OSError("the database is down")

    async_site.app.testing = True
    async_site.app.add_url_rule("/page", "page", view)
    browser = async_site.browser("alice")
    with pytest.raises(OSError, match="the database is down"):
        browser.open("/page")


def test_at_the_same_time(async_site: Site, view: Any) -> None:
    """Requests in several threads have each their own user."""
    async_site.app.add_url_rule("/page", "page", view)
    browsers = {name: async_site.browser(name) for name in ("alice", "bob")}
    answers: dict[str, set[str]] = {name: set() for name in browsers}

    def ask(name: str) -> None:
        for _ in range(20):
            answers[name].add(browsers[name].text("/page"))

    threads = [threading.Thread(target=ask, args=(name,)) for name in browsers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {name: {f"{name} {name} at /page"} for name in browsers}
