"""Every page at four widths: nothing scrolls sideways, the navigation is one line, and the focus is easy to see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from sched_site import create_app

from support.sched.browsing import SCHEMES, WIDTHS, paths_of, put_into_cart, sign_in, visit
from support.sched.processes import Site

pytestmark = pytest.mark.browser

ACCOUNTS = {"Mira": "half-past-nine", "Vera": "a-quarter-to-six"}
#: Pages that differ in what can have the focus. The others are made of the same parts.
PAGES_BY_KEYBOARD = (
    "/",
    "/cart",
    "/session",
    "/attack",
    "/account",
    "/appointments/week",
    "/operator",
    "/nothing-here",
)
#: The contrast that WCAG 2.2 asks of a focus ring against what is around it (1.4.11 and 2.4.13).
LEAST_CONTRAST = 3.0
#: Presses of the Tab key after which a page has to be through. The shop's page has 40 stops or so.
MOST_STOPS = 120

#: Describes the focused element: its ring, the colour behind the ring, and the part of the ring that is cut off.
RING = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = channels(colour).map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const element = document.activeElement;
  if (element === document.body || element === null) return null;
  const style = getComputedStyle(element);
  const isOpaque = (colour) => { const alpha = channels(colour)[3]; return alpha === undefined || alpha === 1; };
  let around = element.parentElement;
  while (around.parentElement && !isOpaque(getComputedStyle(around).backgroundColor)) around = around.parentElement;
  const colours = [style.outlineColor, getComputedStyle(around).backgroundColor];
  const [light, dark] = colours.map(luminance).sort((a, b) => b - a);
  const reach = parseFloat(style.outlineWidth) + parseFloat(style.outlineOffset);
  const box = element.getBoundingClientRect();
  const ring = { left: box.left - reach, right: box.right + reach, top: box.top - reach, bottom: box.bottom + reach };
  let isCut = ring.left < 0 || ring.right > document.documentElement.clientWidth;
  for (let frame = element.parentElement; frame; frame = frame.parentElement) {
    if (getComputedStyle(frame).overflowX !== "hidden" || frame === document.body) continue;
    const edge = frame.getBoundingClientRect();
    isCut ||= ring.left < edge.left || ring.right > edge.right || ring.top < edge.top || ring.bottom > edge.bottom;
  }
  element.dataset.stop ??= String(document.querySelectorAll("[data-stop]").length);
  return {
    stop: element.dataset.stop, name: element.outerHTML.slice(0, 120), isMain: element.tagName === "MAIN",
    width: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
    contrast: (light + 0.05) / (dark + 0.05), isCut,
  };
}"""
#: Returns the top edges of the links of the main navigation.
TOPS_OF_LINKS = (
    """() => [...document.querySelectorAll("nav[aria-label=Main] a")].map((a) => a.getBoundingClientRect().top)"""
)
#: Returns the links of the main navigation whose label does not fit into the link.
TOO_LONG_LINKS = """() => [...document.querySelectorAll("nav[aria-label=Main] a span:not(.badge, .visually-hidden)")]
  .filter((label) => { const [inner, outer] = [label, label.parentElement].map((e) => e.getBoundingClientRect());
                       return inner.left < outer.left - 1 || inner.right > outer.right + 1; })
  .map((label) => label.textContent)"""


@pytest.fixture(scope="module")
def site(redis_of_module: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site, for all pages."""
    with Site(REDIS_URL=redis_of_module, SCHED_INSTANCE_PATH=str(tmp_path_factory.mktemp("site"))) as site:
        yield site


def paths_of_all_pages(site: Site) -> list[str]:
    """Return the paths of all pages, with those of the attack."""
    return paths_of(create_app({"REDIS_URL": site.settings["REDIS_URL"], "OTHER_SITE_PORT": 1}))


def stops_on(page: Page) -> list[dict[str, Any]]:
    """Press Tab until the focus comes back to a place where it was, and return every stop."""
    stops: list[dict[str, Any]] = []
    page.keyboard.press("Tab")
    for _ in range(MOST_STOPS):
        stop = page.evaluate(RING)
        if stop is None or (stops and stop["stop"] == stops[0]["stop"]):
            return stops
        if stop["stop"] != (stops[-1]["stop"] if stops else None):  # a field for a date has several stops inside
            stops.append(stop)
        page.keyboard.press("Tab")
    raise AssertionError(f"{page.url} has no end of stops")


@pytest.mark.parametrize("who", ["a visitor", "Mira", "Vera"])
def test_nothing_scrolls_sideways(browser: Browser, site: Site, who: str) -> None:
    """No page is wider than the screen, and the navigation is one line with whole labels, at each of the widths."""
    amiss = []
    with visit(browser, site, java_script_enabled=True) as context:
        page = sign_in(context, who, ACCOUNTS[who]) if who in ACCOUNTS else context.new_page()
        put_into_cart(page, "Desk bell")
        for path in paths_of_all_pages(site):
            page.goto(path)
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 800})
                if (whole := page.evaluate("document.documentElement.scrollWidth")) > width:
                    amiss.append(f"{path} at {width} is {whole} wide")
                if len(set(page.evaluate(TOPS_OF_LINKS))) > 1:
                    amiss.append(f"{path} at {width} has a navigation of several lines")
                amiss += [f"{path} at {width} has no room for {label}" for label in page.evaluate(TOO_LONG_LINKS)]
    assert amiss == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_focus_is_seen(browser: Browser, site: Site, scheme: str) -> None:
    """Whatever the Tab key reaches has a ring of 2 px or more, of enough contrast, that no frame cuts off."""
    amiss = []
    with visit(browser, site, color_scheme=scheme, reduced_motion="reduce") as context:
        page = sign_in(context, "Vera", ACCOUNTS["Vera"])
        put_into_cart(page, "Desk bell")
        for path in PAGES_BY_KEYBOARD:
            page.goto(path)
            page.set_viewport_size({"width": 320 if scheme == "light" else 1280, "height": 800})
            stops = stops_on(page)
            assert len(stops) > 8
            amiss += [
                f"{path}: {stop}"
                for stop in stops
                if not stop["isMain"] and (stop["width"] < 2 or stop["contrast"] < LEAST_CONTRAST or stop["isCut"])
            ]
    assert amiss == []


def test_without_script_and_by_keyboard(browser: Browser, site: Site) -> None:
    """An operator without scripts ends all sessions of a user by the keyboard: a link, a question, and a button."""
    with visit(browser, site) as phone, visit(browser, site, java_script_enabled=False) as office:
        mira = sign_in(phone, "Mira", ACCOUNTS["Mira"])
        page = sign_in(office, "Vera", ACCOUNTS["Vera"])
        page.goto("/operator")
        link = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="mira")).first
        link.get_by_role("link", name="End all sessions").press("Enter")
        page.get_by_role("heading", name="End all sessions of Mira?").wait_for()
        mira.goto("/account")
        mira.get_by_role("heading", name="Your account").wait_for()
        page.get_by_role("button", name="End all sessions").press("Enter")
        page.get_by_text("Mira was signed out everywhere").wait_for()
        mira.goto("/account")
        mira.get_by_role("heading", name="Sign in").wait_for()
