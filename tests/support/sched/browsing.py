"""What tests in a real browser share: who visits, and how a page looks to them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Literal, Protocol

from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect

COOKIE = "sched_session"
#: Names that are this machine, and nobody else is spoken to.
RESOLVER = (
    "MAP *.test 127.0.0.1, MAP localhost 127.0.0.1, MAP *.localhost 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
)
ARGUMENTS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    f"--host-resolver-rules={RESOLVER}",
)
#: Views that show no page: a stream, a line for programs, a style sheet, a part of a page.
NO_PAGES = {"/notices", "/health", "/health/ready", "/dark.css", "/operator/charts"}
#: Milliseconds that a browser waits for anything, at most.
LONGEST_WAIT = 10_000
expect.set_options(timeout=LONGEST_WAIT)
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
MOBILE: ViewportSize = {"width": 390, "height": 844}
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
#: Widths of a small phone, a phone, a tablet and a desk, in CSS pixels.
WIDTHS = (320, 390, 768, 1280)


def chromium() -> str | None:
    """Where the system has Chromium, if it does."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Visited(Protocol):
    """What has an address: a :class:`~support.sched.processes.Site`, or one that a test serves itself."""

    @property
    def url(self) -> str:
        """The origin."""


def visit(browser: Browser, site: Visited, **options: object) -> BrowserContext:
    """A browser of its own for one visitor, who waits no longer than ten seconds for anything."""
    context = browser.new_context(base_url=site.url, **{"viewport": DESKTOP, **options})  # type: ignore[arg-type]
    context.set_default_timeout(LONGEST_WAIT)
    return context


def visit_from(folder: Path, browser: Browser, site: Visited) -> BrowserContext:
    """A browser that keeps its profile in the folder, as people's do: closing it ends a program, and the next one has
    the cookies that have a date."""
    context = browser.browser_type.launch_persistent_context(
        folder, executable_path=chromium(), args=ARGUMENTS, base_url=site.url, viewport=DESKTOP
    )
    context.set_default_timeout(LONGEST_WAIT)
    return context


def ticket(context: BrowserContext) -> str:
    return next(cookie["value"] for cookie in context.cookies() if cookie["name"] == COOKIE)


def fill_login(page: Page, password: str) -> None:
    page.get_by_label("Username").fill("mira")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def sign_in(context: BrowserContext, name: str = "Mira", password: str = "half-past-nine", **kept: bool) -> Page:
    """Sign somebody in, ``remember`` or not, and return the page on which that ends."""
    page = context.new_page()
    page.goto("/login")
    page.get_by_label("Username").fill(name.lower())
    page.get_by_label("Password").fill(password)
    page.get_by_label("Remember me").set_checked(kept.get("remember", False))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("status")).to_contain_text(f"Welcome, {name}.")
    return page


def paths_of(app: Flask) -> list[str]:
    """Return the paths of all pages of the site, and of a page that does not exist. Ids in them are 1."""
    rules = [rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())]
    named = [re.sub("<[^>]*>", "1", rule.replace("<slug>", "desk-bell")) for rule in rules if "static" not in rule]
    return ["/nothing-here", *(path for path in named if path not in NO_PAGES)]


def put_into_cart(page: Page, *names: str) -> None:
    """Press the buttons of products on the shelf, one after the other."""
    page.goto("/")
    for name in names:
        page.get_by_role("button", name=f"Add {name} to the cart").click()
        expect(page.get_by_role("status")).to_contain_text(f"{name}: ")


def cart_of(page: Page) -> dict[str, int]:
    """Go to the cart, and return what it says is in it."""
    page.goto("/cart")
    expect(page.get_by_role("heading", name="Your cart")).to_be_visible()
    fields = page.get_by_label("Quantity of ").all()
    labels = [page.locator(f"label[for={field.get_attribute('id')}]").inner_text() for field in fields]
    return {
        label.removeprefix("Quantity of "): int(field.input_value())
        for label, field in zip(labels, fields, strict=True)
    }


class Looks:
    """Looks at a page on a desk and on a phone, in the light and in the dark: each time it fits the screen's width and
    follows the preference for dark, and a picture of it is kept. The page is a phone's again afterwards, in the light.
    """

    def __init__(self, page: Page, folder: Path) -> None:
        self._page, self._folder = page, folder

    def __call__(self, name: str, *, whole: bool = True) -> None:
        """Look. ``whole``: the picture shows all of the page, and not only what fits on the screen."""
        for size in (DESKTOP, MOBILE):
            self._page.set_viewport_size(size)
            for scheme in SCHEMES:
                # With no motion, because a picture would show colours on their way from light to dark.
                self._page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                self._look(f"{name}-{size['width']}-{scheme}.png", size["width"], scheme, whole)
        self._page.emulate_media(color_scheme="light")

    def _look(self, file: str, width: int, scheme: str, whole: bool) -> None:
        assert self._page.evaluate("document.documentElement.scrollWidth") <= width
        background = self._page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(int(part) for part in background[4:-1].split(",")) / 3
        assert (brightness < 64) == (scheme == "dark")
        self._page.screenshot(path=self._folder / file, full_page=whole)
