"""The operator's page in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from support.sched.browsing import Looks, sign_in, visit
from support.sched.processes import Site

pytestmark = pytest.mark.browser

OPERATOR = ("Vera", "a-quarter-to-six")


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site as it runs when nothing is set."""
    with Site(SCHED_INSTANCE_PATH=str(tmp_path_factory.mktemp("site"))) as site:
        yield site


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no javascript"])
def test_ends_a_device(browser: Browser, site: Site, javascript: bool) -> None:
    """The operator finds the page from the account, and ends somebody's device, whose next click is a stranger's."""
    with visit(browser, site, java_script_enabled=javascript) as office, visit(browser, site) as phone:
        theirs = sign_in(phone)
        page = sign_in(office, *OPERATOR)
        page.get_by_role("link", name="Your account").click()
        page.get_by_role("link", name="Activity", exact=True).click()
        mira = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="mira"))
        mira.get_by_role("button", name="End session").click()
        expect(page.get_by_role("status")).to_have_text("The session was ended.")
        theirs.get_by_role("link", name="Cart").click()
        expect(theirs.get_by_role("link", name="Sign in")).to_be_visible()


def test_live(browser: Browser, site: Site, pictures: Path) -> None:
    """The charts follow what happens without a reload, an opened table stays open, and the policy is not in the way."""
    with visit(browser, site) as office, visit(browser, site) as phone:
        page = sign_in(office, *OPERATOR)
        trouble: list[str] = []
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.goto("/operator")
        page.evaluate("window.stays = true")
        logins = page.get_by_role("figure").filter(has_text="Logins")
        expect(logins).to_contain_text("1 in the last hour")
        page.get_by_text("Show as a table").click()
        sign_in(phone)
        expect(logins).to_contain_text("2 in the last hour", timeout=15_000)
        expect(page.get_by_role("img", name=re.compile("^Logins in each of the last 60 minutes"))).to_be_visible()
        expect(page.get_by_role("table")).to_be_visible()
        assert page.evaluate("window.stays") is True
        Looks(page, pictures)("operator")
        assert trouble == []
