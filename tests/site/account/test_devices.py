"""A visitor's day with several browsers: one cart on all devices, logins that end where they should, and a server that
is restarted and killed meanwhile. Each browser has a profile of its own, as two devices do."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect
from redis import Redis
from sched_site import create_app

from support.sched.browsing import cart_of, fill_login, put_into_cart, sign_in, visit, visit_from
from support.sched.forged import Pages, served
from support.sched.processes import Site

pytestmark = pytest.mark.browser

BELL, TEA, TIMER = "Desk bell", "Tea for two", "Sand timer"


@pytest.fixture(scope="module")
def one_site(redis_of_module: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(REDIS_URL=redis_of_module, SCHED_INSTANCE_PATH=str(tmp_path_factory.mktemp("site"))) as site:
        yield site


@pytest.fixture
def site(one_site: Site) -> Site:
    """The site, with no session and no cart yet."""
    with Redis.from_url(one_site.settings["REDIS_URL"]) as client:
        client.flushall()
    return one_site


def is_signed_in(page: Page, name: str = "Mira") -> None:
    expect(page.get_by_role("link", name=f"signed in as {name}")).to_be_visible()


def is_a_stranger(page: Page) -> None:
    expect(page.get_by_role("button", name="Sign out")).to_have_count(0)
    expect(page.get_by_role("link", name="signed in as")).to_have_count(0)


def test_union(browser: Browser, site: Site) -> None:
    """A visitor fills a cart and logs in on one device, then on another: the carts are one, on both."""
    with visit(browser, site) as desk, visit(browser, site) as phone:
        at_desk = desk.new_page()
        put_into_cart(at_desk, BELL, BELL, TEA)
        expect(at_desk.get_by_role("link", name="Sign in")).to_be_visible()
        at_desk.get_by_role("link", name="Sign in").click()
        fill_login(at_desk, "half-past-nine")
        expect(at_desk.get_by_role("status")).to_contain_text("3 items from this browser were added to your cart.")
        assert cart_of(at_desk) == {BELL: 2, TEA: 1}

        on_phone = phone.new_page()
        put_into_cart(on_phone, BELL, TIMER)
        assert cart_of(on_phone) == {BELL: 1, TIMER: 1}
        on_phone.get_by_role("link", name="Sign in").click()
        fill_login(on_phone, "half-past-nine")
        expect(on_phone.get_by_role("status")).to_contain_text("2 items from this browser were added to your cart.")
        assert cart_of(on_phone) == cart_of(at_desk) == {BELL: 3, TEA: 1, TIMER: 1}


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no javascript"])
def test_undo(browser: Browser, site: Site, javascript: bool) -> None:
    """What a login brought is taken out by the button beside the message, and what was there before stays."""
    with visit(browser, site) as desk, visit(browser, site, java_script_enabled=javascript) as phone:
        at_desk = sign_in(desk)
        put_into_cart(at_desk, TEA)
        on_phone = phone.new_page()
        put_into_cart(on_phone, BELL)
        sign_in(phone).get_by_role("button", name="Undo").click()
        (_, on_phone) = phone.pages
        expect(on_phone.get_by_role("status")).to_have_text(
            "The items that were added when you signed in were removed."
        )
        expect(on_phone.get_by_role("button", name="Undo")).to_have_count(0)
        assert cart_of(on_phone) == cart_of(at_desk) == {TEA: 1}


def test_two_devices_add_at_once(browser: Browser, site: Site) -> None:
    """What three devices add in the same moment is all there."""
    with visit(browser, site) as one, visit(browser, site) as two, visit(browser, site) as three:
        pages = [sign_in(context) for context in (one, two, three)]
        for _ in range(3):
            for page in pages:
                page.goto("/")
            for page, name in zip(pages, (BELL, TIMER, BELL), strict=True):
                page.get_by_role("button", name=f"Add {name} to the cart").click(no_wait_after=True)
            for page, name in zip(pages, (BELL, TIMER, BELL), strict=True):
                expect(page.get_by_role("status")).to_contain_text(f"{name}: ")
        assert [cart_of(page) for page in pages] == [{BELL: 6, TIMER: 3}] * 3


def test_revoked(browser: Browser, site: Site) -> None:
    """One device ends the other, whose next click is a stranger's and shows nothing of the user; the cart is kept."""
    with visit(browser, site) as desk, visit(browser, site) as phone:
        at_desk, on_phone = sign_in(desk), sign_in(phone)
        put_into_cart(on_phone, BELL)
        at_desk.goto("/account")
        at_desk.get_by_role("button", name="Sign out device").click()
        expect(at_desk.get_by_role("status")).to_have_text("The device was signed out.")
        on_phone.get_by_role("link", name="Cart").click()
        is_a_stranger(on_phone)
        expect(on_phone.get_by_text("Your cart is empty.")).to_be_visible()
        assert cart_of(at_desk) == {BELL: 1}


def test_new_password_ends_the_others(browser: Browser, site: Site) -> None:
    """Two other devices, one of them remembered, are signed out by it; the one that changed it is not."""
    with visit(browser, site) as desk, visit(browser, site) as phone, visit(browser, site) as tablet:
        who = ("June", "noon-sharp")
        at_desk, others = sign_in(desk, *who), [sign_in(phone, *who), sign_in(tablet, *who, remember=True)]
        at_desk.goto("/account/password")
        at_desk.get_by_label("New password", exact=True).fill("a quarter to one")
        at_desk.get_by_label("Repeat the new password").fill("a quarter to one")
        at_desk.get_by_role("button", name="Change password").click()
        expect(at_desk.get_by_role("status")).to_contain_text("You were signed out on 2 other devices.")
        for page in others:
            page.get_by_role("link", name="Cart").click()
            expect(page.get_by_role("link", name="Sign in")).to_be_visible()
        at_desk.reload()
        is_signed_in(at_desk, "June")


def test_remember_me_survives_a_restart(browser: Browser, site: Site, tmp_path: Path) -> None:
    """A browser that is closed and started again is signed in if it is remembered, and finds the cart; else not."""
    with visit_from(tmp_path / "remembered", browser, site) as context:
        put_into_cart(sign_in(context, remember=True), TEA)
    with visit_from(tmp_path / "remembered", browser, site) as context:
        # As after a month: the session is over, and only what remembers is left.
        context.clear_cookies(name="sched_session")
        page = context.new_page()
        assert cart_of(page) == {TEA: 1}
        is_signed_in(page)
    with visit_from(tmp_path / "forgotten", browser, site) as context:
        sign_in(context)
    with visit_from(tmp_path / "forgotten", browser, site) as context:
        assert context.cookies() == []
        page = context.new_page()
        assert cart_of(page) == {}
        is_a_stranger(page)


def test_back_button(browser: Browser, site: Site) -> None:
    """After the sign out the back button shows no page of who was signed in, however far one goes back."""
    with visit(browser, site) as context:
        page = sign_in(context)
        put_into_cart(page, BELL)
        for path in ("/cart", "/session", "/account"):
            page.goto(path)
        page.get_by_role("button", name="Sign out", exact=True).click()
        expect(page.get_by_role("status")).to_contain_text("You are signed out")
        shown = set()
        for _ in range(4):
            page.go_back()
            shown.add(page.url.removeprefix(site.url))
            is_a_stranger(page)
            expect(page.locator("#cart-count")).to_have_count(0)
        assert {"/cart", "/session"} <= shown


def test_double_clicks(browser: Browser, site: Site) -> None:
    """A double click on any of the great buttons does what one click does, and buys once."""
    with visit(browser, site) as context:
        page = context.new_page()
        put_into_cart(page, TIMER)
        page.goto("/login")
        page.get_by_label("Username").fill("mira")
        page.get_by_label("Password").fill("half-past-nine")
        page.get_by_role("button", name="Sign in").dblclick()
        is_signed_in(page)
        assert cart_of(page) == {TIMER: 1}
        page.get_by_role("button", name="Buy").dblclick()
        expect(page.get_by_text("Your cart is empty.")).to_be_visible()
        assert cart_of(page) == {}
        with Redis.from_url(site.settings["REDIS_URL"], decode_responses=True) as client:
            assert client.hgetall("sched:{stock}") == {"sand-timer": "4"}
        page.get_by_role("button", name="Sign out").dblclick()
        expect(page).to_have_url(f"{site.url}/login")
        is_a_stranger(page)


def test_two_tabs(browser: Browser, site: Site) -> None:
    """Tabs of one browser that know nothing of each other's login and sign out do no harm, and lose no cart."""
    with visit(browser, site) as context:
        one, two = context.new_page(), context.new_page()
        put_into_cart(one, BELL)
        for page in (one, two):
            page.goto("/login")
        fill_login(one, "half-past-nine")
        is_signed_in(one)
        fill_login(two, "half-past-nine")  # from a page that was made before the ticket changed
        is_signed_in(two)
        put_into_cart(two, TEA)
        assert cart_of(one) == {BELL: 1, TEA: 1}
        two.goto("/")
        one.get_by_role("button", name="Sign out").click()
        expect(one.get_by_role("status")).to_contain_text("You are signed out")
        # This tab does not know. What it adds is a stranger's, and joins the cart at the next login.
        two.get_by_role("button", name=f"Add {TIMER} to the cart").click()
        is_a_stranger(two)
        page = sign_in(context)
        assert cart_of(page) in ({BELL: 1, TEA: 1}, {BELL: 1, TEA: 1, TIMER: 1})


def test_every_form_refuses_other_sites(browser: Browser, site: Site) -> None:
    """Whatever takes a POST is refused when another site's page sends it, and one's things are as they were.

    So is what comes from next door, this machine's other port, to which browsers do send Lax cookies.
    """
    elsewhere, pages = Flask("elsewhere"), Pages()
    pages.put_into(elsewhere)
    app = create_app({"REDIS_URL": site.settings["REDIS_URL"]})
    paths = sorted(rule.rule for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ()))
    assert {"/cart/buy", "/cart/undo", "/login", "/logout", "/account/password"} <= set(paths)
    with served(elsewhere) as port, visit(browser, site) as context, visit(browser, site) as phone:
        page = sign_in(context)
        sign_in(phone)
        put_into_cart(page, BELL)
        for name, path in product(("other.test", "127.0.0.1"), paths):
            address = site.url + re.sub("<[^>]*>", "1", path)
            pages.html = (
                f'<form method="post" action="{address}"><button name="product" value="tea-for-two">Send</form>'
            )
            page.goto(f"http://{name}:{port}/tests/page")
            with page.expect_response(address) as answer:
                page.get_by_role("button").click()
            assert answer.value.status == 400, path
            expect(page.get_by_role("heading", level=1)).to_have_text("We blocked this request")
        assert cart_of(page) == {BELL: 1}
        page.goto("/account")
        expect(page.get_by_role("button", name="Sign out device")).to_have_count(1)


@pytest.mark.parametrize("store", ["embedded", "sqlite"])
def test_restart_and_kill(browser: Browser, store: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The server is restarted, and killed with kill -9, in the middle: all carts and logins are there afterwards."""
    folder = tmp_path_factory.mktemp("site")
    settings = {"SCHED_INSTANCE_PATH": str(folder)}
    if store == "sqlite":
        settings["SCHED_SESSION_STORE"] = f"sqlite:///{folder}/sessions.sqlite3"
    with (
        Site(**settings) as site,
        visit(browser, site) as desk,
        visit(browser, site) as phone,
        visit(browser, site) as strangers,
    ):
        visitor = strangers.new_page()
        put_into_cart(visitor, TIMER)
        at_desk, on_phone = sign_in(desk), sign_in(phone, remember=True)
        put_into_cart(at_desk, BELL)
        expected = {BELL: 1}
        for how in (signal.SIGTERM, signal.SIGKILL):
            site.restart(how)
            put_into_cart(on_phone, TEA)
            expected[TEA] = expected.get(TEA, 0) + 1
            for page in (at_desk, on_phone):
                assert cart_of(page) == expected
                is_signed_in(page)
            assert cart_of(visitor) == {TIMER: 1}
        page = sign_in(strangers)
        assert cart_of(page) == {**expected, TIMER: 1}
