"""axe checks every page: the rules of WCAG and good practice that a program can check.

The script comes with the package axe-playwright-python, which ``tests/requirements.txt`` pins: nothing is downloaded
by the tests. The browser's debugger puts it into each page, of which the site's policy for scripts says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sched_site import create_app

from flask_cloakroom import Cloakroom, UserMixin, login_user
from flask_cloakroom.account import TEXTS, account_blueprint
from support.sched.browsing import Scheme, paths_of, put_into_cart, sign_in, visit
from support.sched.forged import served
from support.sched.processes import Site

pytestmark = pytest.mark.browser

#: How each page is looked at: four widths, and both schemes. Each combination would take four times as long.
LOOKS: tuple[tuple[int, Scheme], ...] = ((320, "light"), (390, "dark"), (768, "light"), (1280, "dark"))
OPERATOR_PAGES = ("/operator", "/operator/users/1/end-all")
ACCOUNTS = {"Mira": ("Mira", "half-past-nine"), "Vera": ("Vera", "a-quarter-to-six")}


class Somebody(UserMixin):
    """A user of a site that has the ready-made account pages."""

    def __init__(self, user_id: str) -> None:
        self.id = user_id


@pytest.fixture(scope="module")
def site(redis_of_module: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site, for all pages."""
    with Site(REDIS_URL=redis_of_module, SCHED_INSTANCE_PATH=str(tmp_path_factory.mktemp("site"))) as site:
        yield site


def found_on(page: Page) -> list[str]:
    """Return every finding of axe, of whatever grade, at four widths, in the light and in the dark."""
    found = []
    for width, scheme in LOOKS:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        result = page.evaluate("axe.run()")
        assert result["passes"], "axe has looked at something"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url
        found += [
            f"{page.url} ({width}, {scheme}): {rule['id']} ({rule['impact']}), {node['html']}: {node['failureSummary']}"
            for rule in result["violations"]
            for node in rule["nodes"]
        ]
    return found


def checked(context: BrowserContext) -> BrowserContext:
    """Let every page of the visitor have axe."""
    context.add_init_script(AXE_SCRIPT)
    return context


def paths_of_all_pages(site: Site) -> list[str]:
    """Return the paths of all pages, with those of the attack."""
    return paths_of(create_app({"REDIS_URL": site.settings["REDIS_URL"], "OTHER_SITE_PORT": 1}))


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


@pytest.mark.parametrize("who", ["a visitor", "Mira", "Vera"])
def test_pages(browser: Browser, site: Site, who: str) -> None:
    """Every page, with a cart and messages, signed in or not."""
    found = []
    with checked(visit(browser, site)) as context:
        page = context.new_page() if who == "a visitor" else sign_in(context, *ACCOUNTS[who])
        put_into_cart(page, "Desk bell", "Fountain pen")
        found += found_on(page)
        # An operator has pages and a badge that others have not. The rest is as on Mira's pages.
        paths = ["/", "/account", *OPERATOR_PAGES] if who == "Vera" else paths_of_all_pages(site)
        seen = set()
        for path in paths:
            response = page.goto(path)
            assert response is not None
            assert response.headers["content-type"].startswith("text/html"), path
            # A visitor's requests for most pages end at the login.
            if (shown := page.url.partition("?")[0]) not in seen:
                seen.add(shown)
                found += found_on(page)
    assert found == []


def test_ready_made_account_pages(browser: Browser) -> None:
    """The list of devices and the confirmation of the package, in its own layout, which scroll nowhere sideways."""
    app = Flask("site")
    app.config["SESSION_STORE"] = "memory://"
    cloakroom = Cloakroom(app)
    cloakroom.user_loader(Somebody)
    app.add_url_rule("/login", view_func=lambda: str(login_user(Somebody("1"))), endpoint="login")
    app.register_blueprint(account_blueprint())
    found = []
    with served(app) as port:
        origin = f"http://127.0.0.1:{port}"
        with browser.new_context(base_url=origin) as phone, checked(browser.new_context(base_url=origin)) as context:
            phone.new_page().goto("/login")
            page = context.new_page()
            page.goto("/login")
            page.goto("/account")
            page.get_by_role("button", name="Sign out device").click()
            expect(page.get_by_role("status")).to_have_text(TEXTS["ended"])
            found += found_on(page)
            page.get_by_role("link", name="Sign out everywhere").click()
            expect(page.get_by_role("heading", level=1)).to_have_text("Sign out everywhere?")
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
        page.get_by_label("Repeat the new password").fill("shorter")
        page.evaluate("document.querySelector('main form').noValidate = true")
        page.get_by_role("button", name="Change password").click()
        expect(page.get_by_text("Use at least")).to_be_visible()
        found += found_on(page)
    assert found == []
