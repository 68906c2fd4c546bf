"""What axe says of every page: the rules of WCAG and good practice that a program can check.

The script comes with the package axe-playwright-python, which ``tests/requirements.txt`` pins: nothing is downloaded
by the tests. The browser's debugger puts it into each page, of which the site's policy for scripts says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sched_site import create_app

from support.sched.browsing import SCHEMES, put_into_cart, sign_in, visit
from support.sched.processes import Site

pytestmark = pytest.mark.browser

#: What is reported. The others, "minor" and "moderate", are matters of taste or of a page's frame.
GRAVE = ("serious", "critical")
ACCOUNTS = {"Mira": ("Mira", "half-past-nine"), "Vera": ("Vera", "a-quarter-to-six")}
#: Views that show no page: a stream, a line for programs, a style sheet, a part of a page.
NO_PAGES = {"/notices", "/health", "/health/ready", "/dark.css", "/operator/charts"}


@pytest.fixture(scope="module")
def site(redis_of_module: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site, for all pages."""
    with Site(REDIS_URL=redis_of_module, SCHED_INSTANCE_PATH=str(tmp_path_factory.mktemp("site"))) as site:
        yield site


def found_on(page: Page) -> list[str]:
    """Return what axe has against the page in the light and in the dark, in words."""
    found = []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        result = page.evaluate("axe.run()")
        assert result["passes"], "axe has looked at something"
        found += [
            f"{page.url} ({scheme}): {rule['id']}, {node['html']}: {node['failureSummary']}"
            for rule in result["violations"]
            if rule["impact"] in GRAVE
            for node in rule["nodes"]
        ]
    return found


def checked(context: BrowserContext) -> BrowserContext:
    """Let every page of the visitor have axe."""
    context.add_init_script(AXE_SCRIPT)
    return context


def paths_of(site: Site) -> list[str]:
    """Return the addresses of all pages, and of one that there is not."""
    app = create_app({"REDIS_URL": site.settings["REDIS_URL"], "OTHER_SITE_PORT": 1})
    rules = [rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())]
    named = [re.sub("<[^>]*>", "1", rule.replace("<slug>", "desk-bell")) for rule in rules if "static" not in rule]
    return ["/nothing-here", *(path for path in named if path not in NO_PAGES)]


def test_axe_sees_what_is_amiss(browser: Browser, site: Site) -> None:
    """A page with a picture without words, and faint words, is reported: the check can fail."""
    with checked(visit(browser, site)) as context:
        page = context.new_page()
        page.goto("/")
        page.evaluate("document.querySelector('main').innerHTML = '<img src=\"/static/favicon.svg\">'")
        assert any("image-alt" in found for found in found_on(page))
        page.goto("/")
        page.evaluate("document.querySelector('main p').style = 'color: #999; background: #aaa'")
        assert any("color-contrast" in found for found in found_on(page))


@pytest.mark.parametrize("who", ["a visitor", "Mira", "Vera on a phone"])
def test_pages(browser: Browser, site: Site, who: str) -> None:
    """Every page, with a cart and messages, signed in or not, on a desk and on a phone."""
    size = {"width": 390, "height": 844} if "phone" in who else {"width": 1280, "height": 800}
    found = []
    with checked(visit(browser, site, viewport=size)) as context:
        page = context.new_page() if who == "a visitor" else sign_in(context, *ACCOUNTS[who.split()[0]])
        found += found_on(page) if page.url != "about:blank" else []
        put_into_cart(page, "Desk bell", "Fountain pen")
        found += found_on(page)
        for path in paths_of(site):
            response = page.goto(path)
            assert response is not None
            assert response.headers["content-type"].startswith("text/html"), path
            found += found_on(page)
    assert found == []


def test_what_comes_of_forms(browser: Browser, site: Site, pictures: Path) -> None:
    """What is amiss with a form, what a login brought along, and what was refused."""
    found = []
    with checked(visit(browser, site)) as context:
        page = context.new_page()
        put_into_cart(page, "Desk bell")
        page.goto("/login")
        page.get_by_label("Username").fill("mira")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_label("Password").fill("wrong")
        page.evaluate("document.querySelector('main form').noValidate = true")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_be_visible()
        found += found_on(page)
        page.get_by_label("Password").fill("half-past-nine")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("button", name="Undo")).to_be_visible()
        found += found_on(page)
        page.screenshot(path=pictures / "merged.png")
        page.goto("/cart")
        page.get_by_label("Quantity of Desk bell").fill("50")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Buy").click()
        expect(page.get_by_role("alert")).to_contain_text("Nothing was bought")
        found += found_on(page)
        page.screenshot(path=pictures / "cart-brought.png", full_page=True)
        page.goto("/account/password")
        page.get_by_label("New password", exact=True).fill("short")
        page.get_by_label("The new password again").fill("shorter")
        page.evaluate("document.querySelector('main form').noValidate = true")
        page.get_by_role("button", name="Change it").click()
        expect(page.get_by_text("Take at least")).to_be_visible()
        found += found_on(page)
    assert found == []
