"""Appointments and registration in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from support.sched.browsing import MOBILE, Looks, fill_login, visit
from support.sched.processes import Site

pytestmark = pytest.mark.browser

PASSWORD = "seven silent swans"


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site as it runs when nothing is set."""
    with Site(SCHED_INSTANCE_PATH=str(tmp_path_factory.mktemp("site"))) as site:
        yield site


@pytest.mark.parametrize("javascript", [True, False], ids=["javascript", "no javascript"])
def test_from_registration_to_an_appointment(browser: Browser, site: Site, javascript: bool) -> None:
    """Somebody makes an account, an appointment, changes it, and deletes it; what is amiss is told where it is."""
    with visit(browser, site, java_script_enabled=javascript) as context:
        page = context.new_page()
        page.goto("/appointments")
        page.get_by_role("link", name="Create one").click()
        page.get_by_label("Your name").fill("Ann")
        page.get_by_label("Username").fill("mira")
        page.get_by_label("New password", exact=True).fill(PASSWORD)
        page.get_by_label("Repeat the new password").fill(PASSWORD)
        page.get_by_label("Time zone").select_option("Europe/Paris")
        page.get_by_role("button", name="Create account").click()
        username = page.get_by_label("Username")
        expect(username).to_have_accessible_description(re.compile("This username is taken."))
        username.fill("ann")
        page.get_by_label("New password", exact=True).fill(PASSWORD)
        page.get_by_label("Repeat the new password").fill(PASSWORD)
        page.get_by_role("button", name="Create account").click()
        expect(page).to_have_url(f"{site.url}/appointments")
        expect(page.get_by_role("status")).to_contain_text("Welcome, Ann.")
        expect(page.get_by_text("You have no upcoming appointments.")).to_be_visible()

        page.get_by_role("link", name="New appointment").click()
        page.get_by_label("Title").fill("Fitting")
        page.get_by_label("Starts").fill("2026-11-27T22:00")
        until = page.get_by_label("Ends")
        until.fill("2026-11-27T21:00")
        page.get_by_role("button", name="Save").click()
        expect(until).to_have_accessible_description("The end must be later than the start.")
        until.fill("2026-11-28T01:00")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Week 48")
        days = page.get_by_role("listitem").filter(has=page.get_by_role("heading", level=2))
        expect(days).to_have_count(7)
        expect(days.nth(4)).to_contain_text("from 22:00")
        expect(days.nth(5)).to_contain_text("until 01:00")
        page.get_by_role("link", name="Next week").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Week 49")
        page.get_by_role("link", name="New on Wed 2 Dec 2026").click()
        expect(page.get_by_label("Starts")).to_have_value("2026-12-02T09:00")

        page.goto("/appointments/week/2026-W48")
        page.get_by_role("link", name="Fitting").first.click()
        page.get_by_label("Title").fill("Second fitting")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status")).to_have_text("“Second fitting” was saved.")
        page.get_by_role("link", name="Second fitting").first.click()
        page.get_by_role("link", name="Delete").click()
        page.get_by_role("button", name="Delete").click()
        expect(page.get_by_role("status")).to_have_text("“Second fitting” was deleted.")
        expect(page.get_by_text("You have no upcoming appointments.")).to_be_visible()


def test_looks(browser: Browser, site: Site, pictures: Path) -> None:
    """Every page of the appointments fits the screen's width, and follows the reader's preference for dark."""
    with visit(browser, site, viewport=MOBILE) as context:
        page = context.new_page()
        look = Looks(page, pictures)
        page.goto("/register")
        page.get_by_label("Username").fill("-")
        # Or else the browser itself would say what is amiss, and send nothing.
        page.locator("main form").evaluate("form => { form.noValidate = true }")
        page.get_by_role("button", name="Create account").click()
        look("register-wrong")
        page.goto("/appointments")
        fill_login(page, "half-past-nine")
        expect(page.get_by_role("heading", level=1)).to_have_text("Your appointments")
        for path, name in (
            ("/appointments", "appointments"),
            ("/appointments/week", "week"),
            ("/appointments/new", "appointment"),
            ("/appointments/1/delete", "delete"),
            ("/appointments/time-zone", "time-zone"),
        ):
            page.goto(path)
            look(name)
        page.goto("/appointments/new")
        page.get_by_label("Title").fill("w" * 120)
        page.get_by_label("Starts").fill("2026-11-27T22:00")
        page.get_by_label("Ends").fill("2026-11-27T21:00")
        page.get_by_role("button", name="Save").click()
        look("appointment-wrong")
        page.get_by_label("Ends").fill("2026-11-27T23:00")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status")).to_be_visible()
        look("week-long-word")
