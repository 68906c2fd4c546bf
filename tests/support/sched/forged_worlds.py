"""The shop as tests of forged requests meet it: how it is run, and who is to be robbed there."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Browser, Page, expect
from sched_site import create_app
from werkzeug.test import TestResponse

from support.sched.browsing import visit
from support.sched.forged import Pages, Recorder


class Shop:
    """An application of the shop, all that came to it, and a page of its own that a test may write."""

    def __init__(self, folder: Path, redis_url: str, **config: object) -> None:
        self.app = create_app(
            {
                "REDIS_URL": redis_url,
                "SESSION_STORE": "memory://",
                "NOTICE_STREAMS": 0,
                "SQLALCHEMY_DATABASE_URI": f"sqlite:///{folder}/accounts.sqlite3",
                **config,
            }
        )
        self.pages = Pages()
        self.pages.put_into(self.app)
        self.seen = Recorder(self.app)


class World(NamedTuple):
    """One way to run the shop."""

    shop: Shop
    #: The other sites' pages.
    elsewhere: Pages
    url: str
    #: Origins of the same site that are not the shop, and of another one.
    sibling: str
    stranger: str
    #: Whether browsers say Sec-Fetch-Site there.
    says_site: bool
    #: Whether a request from another site carries the session's cookie.
    is_lax: bool

    def origin(self, who: str) -> str:
        """Return the origin of the sibling or of the stranger."""
        return self.sibling if who == "sibling" else self.stranger


class Victim:
    """Somebody with a desk bell in the cart, in a browser of their own with one page open."""

    def __init__(self, browser: Browser, world: World) -> None:
        self.context = visit(browser, world, ignore_https_errors=True)
        self._world = world
        self.page = self.context.new_page()
        self.page.goto("/")
        self.page.get_by_role("button", name="Add Desk bell to the cart").click()
        expect(self.page.locator("#cart-count")).to_be_visible()

    def ask(self, method: str, path: str, *, silently: bool = False, **fields: str) -> TestResponse:
        """Ask the shop for something in the victim's session, as its own pages do or as a browser that says nothing."""
        client = self._world.shop.app.test_client(use_cookies=False)
        if silently:
            del client.environ_base["HTTP_SEC_FETCH_SITE"]
        name = self._world.shop.app.config["SESSION_COOKIE_NAME"]
        ticket = next(cookie["value"] for cookie in self.context.cookies() if cookie["name"] == name)
        headers = {"Cookie": f"{name}={ticket}"}
        return client.open(path, method=method, data=fields, headers=headers, base_url=self._world.url)

    def fill_cart(self) -> None:
        """Put something into the cart again."""
        assert self.ask("POST", "/cart/add", product="desk-bell").status_code == 302

    def has_cart(self) -> bool:
        """Ask the shop whether there is something in it."""
        response = self.ask("GET", "/cart")
        assert response.status_code == 200
        return 'id="cart-count"' in response.text

    def post_silently(self, page: Page, path: str, **fields: str) -> int:
        """Post a form of a page as a browser that says nothing of where it comes from; return the status."""
        token = page.locator(f'form[action="{path}"] input[name=csrf_token]').first.get_attribute("value")
        assert token
        return self.ask("POST", path, silently=True, csrf_token=token, **fields).status_code
