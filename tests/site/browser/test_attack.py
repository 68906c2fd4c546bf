"""The page that shows an attack, and the attacking site, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, expect
from sched_site.other_site import make_other_site

from support.sched.browsing import MOBILE, Looks, visit
from support.sched.forged import served
from support.sched.forged_worlds import Shop
from support.sched.processes import eventually

pytestmark = pytest.mark.browser

ANOTHER_SITE = "The request comes from another site."


class Attacked(NamedTuple):
    """The shop with the other site beside it."""

    shop: Shop
    url: str


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory, redis_of_module: str) -> Iterator[Attacked]:
    """The shop, and the site that attacks it, as the program runs them."""
    folder = tmp_path_factory.mktemp("attacked")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as servers:
        patch.setenv("SCHED_INSTANCE_PATH", str(folder))
        ports: dict[str, int] = {}
        # Each needs the other's port.
        ports["other"] = servers.enter_context(
            served(lambda environ, start: make_other_site(ports["shop"])(environ, start))
        )
        shop = Shop(folder, redis_of_module, OTHER_SITE_PORT=ports["other"])
        ports["shop"] = servers.enter_context(served(shop.app))
        yield Attacked(shop, f"http://127.0.0.1:{ports['shop']}")


def test_attack_page(browser: Browser, attacked: Attacked, pictures: Path) -> None:
    """The visitor goes to the other site, loses nothing there, and reads what it tried and why that was refused."""
    with visit(browser, attacked, viewport=MOBILE) as context:
        page = context.new_page()
        look = Looks(page, pictures)
        page.goto("/")
        page.get_by_role("button", name="Add Desk bell to the cart").click()
        attacked.shop.seen.forget()
        page.get_by_role("link", name="Attack").click()
        look("attack-new")
        page.get_by_role("link", name="Go to the attacking site").click()
        expect(page.locator("#form")).to_contain_text("The form was sent")
        expect(page.locator("#no-cors")).to_contain_text("The request was sent. The browser hides the response")
        expect(page.locator("#cors")).to_contain_text("Your browser did not let this page read the response")
        look("other-site")
        came = [attacked.shop.seen.wait_for(path) for path in ("/cart/empty", "/cart/add")]
        assert [(seen.has_cookie, seen.refused) for seen in came] == [(True, ANOTHER_SITE)] * 2
        eventually(lambda: len(attacked.shop.seen.all("/logout")) == 2)
        assert sorted((seen.method, seen.status) for seen in attacked.shop.seen.all("/logout")) == [
            ("GET", 405),  # the picture
            ("POST", 400),
        ]
        page.get_by_role("button", name="Send me my pen").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("We blocked this request")
        look("refused")
        page.get_by_role("link", name="View blocked requests").click()
        refused = page.get_by_role("region", name="Blocked requests").get_by_role("listitem")
        expect(refused.filter(has_text="POST /cart/empty").first).to_contain_text(ANOTHER_SITE)
        for what in ("POST /cart/add", "POST /logout", "Sec-Fetch-Site: same-site", "Session cookie: sent"):
            expect(refused.filter(has_text=what).first).to_be_visible()
        expect(page.locator("#cart-count")).to_have_text("1 item")
        look("attack")
        page.get_by_role("button", name="Send the form").click()
        expect(page.get_by_role("status")).to_contain_text("Accepted")
        look("attack-accepted")
