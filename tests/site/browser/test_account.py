"""Logins in a real browser: remembered or not, on several devices, and the change of the password."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from support.sched.browsing import MOBILE, Looks, fill_login, visit
from support.sched.processes import Site

pytestmark = pytest.mark.browser

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
PHONE = (
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 "
    "Mobile Safari/537.36"
)


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site as it runs when nothing is set, with accounts that nobody has changed yet."""
    with Site(SCHED_INSTANCE_PATH=str(tmp_path_factory.mktemp("site"))) as site:
        yield site


def sign_in(context: BrowserContext, *, remember: bool = False, path: str = "/login") -> Page:
    """Sign mira in, and return the page on which that ends."""
    page = context.new_page()
    page.goto(path)
    if remember:
        page.get_by_label("Remember me").check()
    fill_login(page, "half-past-nine")
    expect(page.get_by_role("status")).to_contain_text("Welcome, Mira.")
    return page


def restarted(browser: Browser, site: Site, context: BrowserContext, **options: object) -> BrowserContext:
    """The same browser after it was closed and started again: cookies without a date are gone."""
    kept = [cookie for cookie in context.cookies() if cookie["expires"] != -1]
    again = visit(browser, site, **options)
    again.add_cookies(kept)  # type: ignore[arg-type]
    return again


def end_session(context: BrowserContext) -> None:
    """Leave of a browser's cookies only what remembers it."""
    context.clear_cookies(name="sched_session")


def test_remember_me(browser: Browser, site: Site) -> None:
    """After a restart of the browser who wanted to be remembered is signed in, and who did not is not."""
    with visit(browser, site) as context:
        sign_in(context, remember=True)
        with restarted(browser, site, context) as again:
            page = again.new_page()
            page.goto("/")
            expect(page.get_by_role("button", name="Sign out")).to_be_visible()
            end_session(again)
            page.reload()
            expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    with visit(browser, site) as context:
        sign_in(context)
        with restarted(browser, site, context) as again:
            assert again.cookies() == []
            page = again.new_page()
            page.goto("/")
            expect(page.get_by_role("link", name="Sign in")).to_be_visible()


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no javascript"])
def test_devices(browser: Browser, site: Site, javascript: bool) -> None:
    """Two browsers are listed in words; the button of the other ends it, and its next click is a stranger's."""
    with (
        visit(browser, site, user_agent=FIREFOX, java_script_enabled=javascript) as desk,
        visit(browser, site, user_agent=PHONE) as phone,
    ):
        other = sign_in(phone)
        page = sign_in(desk, path="/account")
        expect(page.get_by_role("heading", level=1)).to_have_text("Your account")
        devices = page.get_by_role("region", name="Where you are signed in").get_by_role("listitem")
        expect(devices).to_have_count(2)
        mine = devices.filter(has_text="This device")
        expect(mine.get_by_role("heading", level=3)).to_contain_text("Firefox 140 on Windows 10")
        lost = devices.filter(has_text="Chrome Mobile 138 on Android 15")
        button = lost.get_by_role("button", name="Sign out device")
        expect(button).to_have_accessible_description("Chrome Mobile 138 on Android 15")
        button.click()
        expect(page.get_by_role("status")).to_have_text("The device was signed out.")
        expect(devices).to_have_count(1)
        other.get_by_role("link", name="Your account").click()
        expect(other).to_have_url(f"{site.url}/login?next=%2Faccount")
        expect(other.get_by_text("Please sign in to see this page.")).to_be_visible()
        mine.get_by_role("button", name="Sign out here").click()
        expect(page.get_by_role("status")).to_contain_text("You are signed out")


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no javascript"])
def test_change_of_the_password(browser: Browser, site: Site, javascript: bool) -> None:
    """Who is only remembered is asked who they are; the new password ends the other device and keeps this one."""
    with visit(browser, site, java_script_enabled=javascript) as desk, visit(browser, site) as phone:
        other = sign_in(phone, remember=True)
        sign_in(desk, remember=True)
        end_session(desk)
        page = desk.new_page()
        page.goto("/account")
        page.get_by_role("link", name="Change password").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Confirm your password")
        field = page.get_by_label("Your password")
        field.fill("tea-at-four")  # another one's
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("Incorrect password.")
        expect(field).to_have_accessible_description("Incorrect password.")
        field.fill("half-past-nine")
        page.keyboard.press("Enter")

        expect(page.get_by_role("heading", level=1)).to_have_text("Change password")
        new = page.get_by_label("New password", exact=True)
        expect(new).to_have_accessible_description(
            "At least 8 characters of any kind. A few words make a good password."
        )
        new.fill("a quarter to ten")
        again = page.get_by_label("Repeat the new password")
        again.fill("a quarter past ten")
        page.get_by_role("button", name="Change password").click()
        expect(again).to_have_accessible_description("The passwords do not match.")
        expect(new).to_have_value("")
        new.fill("a quarter to ten")
        again.fill("a quarter to ten")
        page.get_by_role("button", name="Change password").click()
        expect(page.get_by_role("status")).to_contain_text("Your password was changed.")
        expect(page.get_by_role("listitem").filter(has_text="This device")).to_contain_text("Remembered")

        other.reload()
        expect(other.get_by_role("link", name="Sign in")).to_be_visible()
        end_session(phone)
        other.reload()
        expect(other.get_by_role("link", name="Sign in")).to_be_visible()
        end_session(desk)
        page.reload()
        expect(page.get_by_role("heading", level=1)).to_have_text("Your account")


def test_looks(browser: Browser, site: Site, pictures: Path) -> None:
    """Every page of the account fits the screen's width, and follows the reader's preference for dark."""
    with (
        visit(browser, site, viewport=MOBILE, user_agent=FIREFOX) as context,
        visit(browser, site, user_agent=PHONE) as phone,
        visit(browser, site, user_agent="Unheard-of/1.0 " + "(a-name-without-an-end;x)" * 6) as strange,
    ):
        sign_in(phone, remember=True)
        sign_in(strange)
        page = context.new_page()
        look = Looks(page, pictures)
        page.goto("/account/password")
        look("login-next")
        page.get_by_label("Remember me").check()
        fill_login(page, "half-past-nine")
        expect(page.get_by_role("heading", level=1)).to_have_text("Change password")
        look("password")
        page.get_by_label("New password", exact=True).fill("a quarter to ten")
        page.get_by_label("Repeat the new password").fill("a quarter past ten")
        page.get_by_role("button", name="Change password").click()
        look("password-wrong")
        page.goto("/account")
        look("account")
        page.get_by_role("button", name="Sign out device").first.click()
        expect(page.get_by_role("status")).to_be_visible()
        look("account-ended")
        end_session(context)
        page.goto("/account/password")
        look("confirm")
        for _ in range(10):
            page.get_by_label("Your password").fill("wrong")
            page.get_by_role("button", name="Confirm").click()
            expect(page.get_by_role("alert")).to_be_visible()
        look("confirm-wrong")
        page.get_by_label("Your password").fill("wrong")
        page.get_by_role("button", name="Confirm").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Too many attempts")
        look("too-many")
