"""The site in a real browser, with JavaScript and without."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from redis import Redis

from support.sched.browsing import DESKTOP, MOBILE, Looks, fill_login, ticket, visit
from support.sched.processes import Site

pytestmark = pytest.mark.browser

#: For what is the same wherever the sessions are.
ANY_STORE = pytest.mark.parametrize("site", ["redis"], indirect=True)
# Which of the two it is depends on who is faster, the stream or the buyer.
PEN_IS_SOLD = re.compile("Fountain pen (has just|is) sold out. It is in your cart.")


@pytest.fixture(scope="module", params=["embedded", "redis", "sqlite"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site as a process: as it runs when nothing is set, on a Redis, and with its sessions beside that."""
    folder = tmp_path_factory.mktemp("site")
    settings = {"SCHED_INSTANCE_PATH": str(folder)}
    if request.param != "embedded":
        settings["REDIS_URL"] = request.getfixturevalue("redis_url")
        # Which other tests have used, or this one's other sites.
        with Redis.from_url(settings["REDIS_URL"]) as client:
            client.flushall()
    if request.param == "sqlite":
        settings["SCHED_SESSION_STORE"] = f"sqlite:///{folder}/sessions.sqlite3"
    with Site(**settings) as site:
        yield site


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no javascript"])
def test_a_visit(browser: Browser, site: Site, javascript: bool) -> None:
    """A cart fills, survives the login, can be changed, is hidden by the sign out, and there at the next login."""
    with visit(browser, site, java_script_enabled=javascript) as context:
        page = context.new_page()
        trouble: list[str] = []
        # What is merely told there, as that the sign out has cleared what the browser kept, is no trouble.
        page.on("console", lambda message: trouble.append(message.text) if message.type != "info" else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))

        page.goto("/")
        assert context.cookies() == []
        for name in ("Desk bell", "Desk bell", "Sand timer"):
            page.get_by_role("button", name=f"Add {name} to the cart").click()
            expect(page.get_by_role("status")).to_contain_text(name)
        expect(page.locator("#cart-count")).to_have_text("3 items")
        expect(page.get_by_role("article", name="Desk bell")).to_contain_text("2 in your cart")
        anonymous = ticket(context)

        page.get_by_role("link", name="Sign in").click()
        fill_login(page, "wrong")
        expect(page.get_by_role("alert")).to_have_text("Incorrect username or password.")
        expect(page.get_by_label("Username")).to_have_value("mira")
        expect(page.get_by_label("Password")).to_have_value("")
        assert ticket(context) == anonymous

        fill_login(page, "half-past-nine")
        expect(page.get_by_role("status")).to_contain_text("3 items from this browser were added to your cart.")
        signed_in = ticket(context)
        assert signed_in != anonymous

        page.get_by_role("link", name="Cart").click()
        expect(page.locator("#cart-total")).to_have_text("€34.55")
        page.get_by_label("Quantity of Desk bell").fill("5")
        page.get_by_role("button", name="Update the quantity of Desk bell").click()
        expect(page.locator("#cart-total")).to_have_text("€71.75")
        page.get_by_role("button", name="Remove Sand timer").click()
        expect(page.locator("#cart-total")).to_have_text("€62.00")
        page.reload()
        expect(page.locator("#cart-total")).to_have_text("€62.00")

        page.get_by_role("link", name="Session", exact=True).click()
        expect(page.get_by_role("heading", name="Your session")).to_be_visible()
        expect(page.locator("#store")).to_contain_text("SQLite" if "SCHED_SESSION_STORE" in site.settings else "Redis")
        expect(page.get_by_text("'quantity': 5")).to_be_visible()
        assert signed_in not in page.content()
        page.set_viewport_size(MOBILE)  # the store's name is part of this page
        assert page.evaluate("document.documentElement.scrollWidth") <= MOBILE["width"]
        page.set_viewport_size(DESKTOP)

        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("status")).to_contain_text("You are signed out")
        expect(page.locator("#cart-count")).to_have_count(0)
        page.get_by_role("link", name="Cart").click()
        expect(page.get_by_text("Your cart is empty.")).to_be_visible()
        page.go_back()
        page.go_back()
        expect(page.get_by_role("button", name="Sign out")).to_have_count(0)

        page.goto("/login")
        fill_login(page, "half-past-nine")
        page.get_by_role("link", name="Cart").click()
        expect(page.locator("#cart-total")).to_have_text("€62.00")
        page.get_by_role("button", name="Empty cart").click()
        expect(page.get_by_text("Your cart is empty.")).to_be_visible()
        assert trouble == []


@ANY_STORE
def test_enter_updates(browser: Browser, site: Site) -> None:
    """Enter in a quantity updates it, and does not press the button that removes."""
    with visit(browser, site) as context:
        page = context.new_page()
        page.goto("/")
        page.get_by_role("button", name="Add Desk bell to the cart").click()
        page.get_by_role("link", name="Cart").click()
        page.get_by_label("Quantity of Desk bell").fill("4")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_have_text("Desk bell: 4 in your cart.")
        expect(page.get_by_label("Quantity of Desk bell")).to_have_value("4")


@ANY_STORE
def test_keyboard(browser: Browser, site: Site) -> None:
    """One can sign in with the keyboard alone, past the menu by the skip link, which shows."""
    with visit(browser, site) as context:
        page = context.new_page()
        page.goto("/login")
        page.keyboard.press("Tab")
        skip = page.get_by_role("link", name="Skip to content")
        expect(skip).to_be_focused()
        expect(skip).to_be_in_viewport()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(page.get_by_label("Username")).to_be_focused()
        page.keyboard.type("mira")
        page.keyboard.press("Tab")
        expect(page.get_by_label("Password")).to_be_focused()
        page.keyboard.type("half-past-nine")
        page.keyboard.press("Tab")
        expect(page.get_by_label("Remember me")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Sign in")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("Welcome, Mira.")


def test_other_browser_is_another_visitor(browser: Browser, site: Site) -> None:
    """What is in one browser's cart is not in another's."""
    with visit(browser, site) as one, visit(browser, site) as other:
        page = one.new_page()
        page.goto("/")
        page.get_by_role("button", name="Add Desk bell to the cart").click()
        expect(page.locator("#cart-count")).to_be_visible()
        page = other.new_page()
        page.goto("/cart")
        expect(page.get_by_text("Your cart is empty.")).to_be_visible()


def put_into_cart(page: Page, name: str) -> None:
    page.goto("/")
    page.get_by_role("button", name=f"Add {name} to the cart").click()
    expect(page.get_by_text(f"{name}: 1 in your cart.")).to_be_visible()


def restock(page: Page) -> None:
    page.goto("/session")
    page.get_by_role("button", name="restock the shop").click()
    expect(page.get_by_text("All products are back in stock.")).to_be_visible()


def streams_of(page: Page) -> list[str]:
    """Note the streams that the page opens from now on."""
    opened: list[str] = []
    page.on("request", lambda request: opened.append(request.url) if request.url.endswith("/notices") else None)
    return opened


@ANY_STORE
def test_product_page(browser: Browser, site: Site) -> None:
    """A product has a page of its own, from which it can be added, and that lists what was looked at before."""
    with visit(browser, site) as context:
        page = context.new_page()
        page.goto("/")
        for name in ("Desk bell", "Sand timer"):
            page.get_by_role("link", name="Shop", exact=True).click()
            page.get_by_role("link", name=name).first.click()
            expect(page.get_by_role("heading", level=1)).to_have_text(name)
            expect(page.locator("#views")).to_contain_text("Viewed")
        recently_viewed = page.get_by_role("region", name="Recently viewed").get_by_role("listitem")
        expect(recently_viewed).to_have_text(["Desk bell"])
        page.get_by_role("button", name="Add Sand timer to the cart").click()
        expect(page.get_by_role("status")).to_have_text("Sand timer: 1 in your cart.")
        expect(recently_viewed).to_have_text(["Sand timer", "Desk bell"])


def test_notice(browser: Browser, site: Site, pictures: Path) -> None:
    """Who has the last piece in the cart is told when another buys it, without loading the page again, and once."""
    with visit(browser, site) as one, visit(browser, site) as other:
        buyer, waiting = one.new_page(), other.new_page()
        trouble: list[str] = []
        waiting.on("console", lambda message: trouble.append(message.text))
        waiting.on("pageerror", lambda error: trouble.append(str(error)))
        restock(buyer)
        put_into_cart(buyer, "Fountain pen")
        put_into_cart(waiting, "Tea for two")
        with waiting.expect_response("**/notices"):
            put_into_cart(waiting, "Fountain pen")
        waiting.evaluate("window.stays = true")

        buyer.get_by_role("link", name="Cart").click()
        buyer.get_by_role("button", name="Buy").click()
        expect(buyer.get_by_role("status")).to_contain_text("Thank you for your order")

        notice = waiting.locator("#notices .alert")
        expect(notice).to_have_count(1)
        expect(notice).to_contain_text(PEN_IS_SOLD)
        expect(waiting.locator("#notices")).to_have_attribute("aria-live", "polite")
        assert waiting.evaluate("window.stays") is True
        expect(buyer.locator("#notices")).to_have_count(0)

        notice.get_by_role("link", name="View cart").click()
        expect(waiting.get_by_role("listitem").filter(has_text="Fountain pen")).to_contain_text("Sold out")
        waiting.get_by_role("button", name="Buy").click()
        expect(waiting.get_by_role("alert")).to_contain_text("Fountain pen: sold out. Nothing was bought")
        expect(notice).to_have_count(0)
        assert trouble == []


def test_notice_is_closed(browser: Browser, site: Site) -> None:
    """A notice can be closed and does not come back; what was sold before the stream began is told, too, once."""
    with visit(browser, site) as one, visit(browser, site) as other:
        buyer, waiting = one.new_page(), other.new_page()
        restock(buyer)
        put_into_cart(buyer, "Fountain pen")
        put_into_cart(waiting, "Fountain pen")
        put_into_cart(waiting, "Desk bell")
        waiting.goto("/login")  # a page that does not show what is sold out
        buyer.get_by_role("link", name="Cart").click()
        buyer.get_by_role("button", name="Buy").click()
        expect(buyer.get_by_role("status")).to_contain_text("Thank you for your order")
        notice = waiting.locator("#notices .alert")
        expect(notice).to_contain_text(PEN_IS_SOLD)
        notice.get_by_role("button", name="Close notice").click()
        expect(notice).to_have_count(0)

        another_tab = other.new_page()
        another_tab.goto("/login")
        told = another_tab.locator("#notices .notice-text")
        expect(told).to_have_text(["Fountain pen is sold out. It is in your cart."])
        with another_tab.expect_response("**/notices"):
            another_tab.reload()
        put_into_cart(buyer, "Desk bell")
        buyer.get_by_role("button", name="Add Desk bell to the cart").click()
        buyer.get_by_role("link", name="Cart").click()
        buyer.get_by_role("button", name="Buy").click()
        expect(told).to_have_text([re.compile("^Desk bell ")])


@ANY_STORE
def test_stream_only_with_a_cart(browser: Browser, site: Site) -> None:
    """Pages of those who have nothing in the cart open no stream, and load no script."""
    with visit(browser, site) as context:
        page = context.new_page()
        opened = streams_of(page)
        for path in ("/", "/product/desk-bell", "/cart", "/session"):
            page.goto(path, wait_until="networkidle")
            assert page.locator("script").count() == 0
        assert opened == []
        with page.expect_request("**/notices"):
            put_into_cart(page, "Sticky notes")


@ANY_STORE
def test_hidden_page_gives_its_stream_up(browser: Browser, site: Site) -> None:
    """A page that nobody sees closes its stream, and opens another when it is seen again."""
    hide = """
        state => {
            Object.defineProperty(document, "visibilityState", {value: state, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }
    """
    with visit(browser, site) as context:
        page = context.new_page()
        with page.expect_response("**/notices"):
            put_into_cart(page, "Sticky notes")
        with page.expect_event("requestfailed", lambda request: request.url.endswith("/notices")):
            page.evaluate(hide, "hidden")
        with page.expect_response("**/notices"):
            page.evaluate(hide, "visible")


@ANY_STORE
def test_looks(browser: Browser, site: Site, pictures: Path) -> None:
    """Every page fits the screen's width and follows the reader's preference for dark."""
    with visit(browser, site, viewport=MOBILE) as context:
        page = context.new_page()
        look = Looks(page, pictures)
        for path, name in (
            ("/session", "session-new"),
            ("/cart", "cart-empty"),
            ("/nothing-here", "not-found"),
        ):
            page.goto(path)
            look(name)
        page.goto("/")
        for product in ("Half-hour voucher", "Pocket diary", "Pocket diary"):
            page.get_by_role("button", name=f"Add {product} to the cart").click()
            expect(page.get_by_role("status")).to_contain_text(product)
        look("shop")
        page.goto("/cart")
        look("cart")
        page.goto("/product/desk-bell")
        page.goto("/product/fountain-pen")
        look("product")
        with visit(browser, site) as other:
            buyer = other.new_page()
            restock(buyer)
            put_into_cart(page, "Fountain pen")
            put_into_cart(buyer, "Fountain pen")
            buyer.get_by_role("link", name="Cart").click()
            buyer.get_by_role("button", name="Buy").click()
            expect(buyer.get_by_role("status")).to_contain_text("Thank you for your order")
        expect(page.locator("#notices .alert")).to_be_visible()
        look("notice", whole=False)
        page.goto("/")
        look("shop-sold-out")
        page.goto("/product/fountain-pen")
        look("product-sold-out")
        page.goto("/cart")
        page.get_by_role("button", name="Buy").click()
        expect(page.get_by_role("alert")).to_be_visible()
        look("cart-sold-out")
        page.goto("/login")
        look("login")
        fill_login(page, "wrong")
        expect(page.get_by_role("alert")).to_be_visible()
        look("login-wrong")
        fill_login(page, "half-past-nine")
        expect(page.get_by_role("status")).to_be_visible()
        look("signed-in")
        page.goto("/session")
        look("session")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("status")).to_be_visible()
        look("signed-out")
