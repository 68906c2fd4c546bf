"""What tests in a real browser share: who visits, and how a page looks to them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize

COOKIE = "sched_session"
#: Names that are this machine, and nobody else is spoken to.
RESOLVER = (
    "MAP *.test 127.0.0.1, MAP localhost 127.0.0.1, MAP *.localhost 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
)
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
MOBILE: ViewportSize = {"width": 390, "height": 844}


class Visited(Protocol):
    """What has an address: a :class:`~sched_processes.Site`, or one that a test serves itself."""

    @property
    def url(self) -> str:
        """The origin."""


def visit(browser: Browser, site: Visited, **options: object) -> BrowserContext:
    """A browser of its own for one visitor, who waits no longer than ten seconds for anything."""
    context = browser.new_context(base_url=site.url, **{"viewport": DESKTOP, **options})  # type: ignore[arg-type]
    context.set_default_timeout(10_000)
    return context


def ticket(context: BrowserContext) -> str:
    return next(cookie["value"] for cookie in context.cookies() if cookie["name"] == COOKIE)


def fill_login(page: Page, password: str) -> None:
    page.get_by_label("Username").fill("mira")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


class Looks:
    """Looks at a page: it fits the screen's width, follows the preference for dark, and a picture of it is kept."""

    def __init__(self, page: Page, folder: Path, size: ViewportSize, scheme: str) -> None:
        self._page, self._folder, self._size, self._scheme = page, folder, size, scheme

    def __call__(self, name: str) -> None:
        width = self._size["width"]
        assert self._page.evaluate("document.documentElement.scrollWidth") <= width
        background = self._page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(int(part) for part in background[4:-1].split(",")) / 3
        assert (brightness < 64) == (self._scheme == "dark")
        self._page.screenshot(path=self._folder / f"{name}-{width}-{self._scheme}.png", full_page=True)
