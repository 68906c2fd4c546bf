"""Forged requests in a real browser: what it sends, what the shop makes of it, and what has changed afterwards.

Each world is one way to run the shop. Over plain HTTP a browser says ``Sec-Fetch-Site`` to this machine's own names
only, so ``http-name`` shows what ``Origin`` alone does. In ``https`` the session's cookie has ``SameSite=None``: there
even a page of a foreign site sends it, and nothing but the protection stands in the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect

from support.sched.forged import Pages, Seen, self_signed, served
from support.sched.forged_worlds import Shop, Victim, World
from support.sched.processes import eventually

pytestmark = pytest.mark.browser

#: What a forged request shall do: the victim has something in the cart.
TARGET = "/cart/empty"
ANOTHER_SITE = "The request comes from another site."
WRONG_ORIGIN = "The origin does not match the host."


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory, redis_of_module: str) -> Iterator[dict[str, World]]:
    """All of them, on four servers."""
    folder = tmp_path_factory.mktemp("forged")
    elsewhere = Flask("elsewhere")
    pages = Pages()
    pages.put_into(elsewhere)
    tls = self_signed(folder)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as servers:
        patch.setenv("SCHED_INSTANCE_PATH", str(folder))
        other = servers.enter_context(served(elsewhere))
        other_tls = servers.enter_context(served(elsewhere, tls))
        plain = Shop(folder, redis_of_module, OTHER_SITE_PORT=other)
        secure = Shop(
            folder,
            redis_of_module,
            SESSION_COOKIE_NAME="__Host-sched",
            SESSION_COOKIE_SECURE=True,
            SESSION_COOKIE_SAMESITE="None",
        )
        port = servers.enter_context(served(plain.app))
        port_tls = servers.enter_context(served(secure.app, tls))

        def lax(own: str, sibling: str, stranger: str, *, says_site: bool = True) -> World:
            origins = [f"http://{own}:{port}", f"http://{sibling}:{other}", f"http://{stranger}:{other}"]
            return World(plain, pages, *origins, says_site=says_site, is_lax=True)

        origins = [
            f"https://shop.test:{port_tls}",
            f"https://b.shop.test:{other_tls}",
            f"https://evil.test:{other_tls}",
        ]
        yield {
            "another port": lax("127.0.0.1", "127.0.0.1", "localhost"),
            "localhost": lax("a.sched.localhost", "b.sched.localhost", "evil.localhost"),
            "http-name": lax("shop.test", "b.shop.test", "evil.test", says_site=False),
            "https": World(secure, pages, *origins, says_site=True, is_lax=False),
        }


WORLDS = ["another port", "localhost", "http-name", "https"]


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest, worlds: dict[str, World]) -> World:
    """Each in turn, with nothing noted yet."""
    world = worlds[request.param]
    world.shop.seen.forget()
    return world


@pytest.fixture(scope="module")
def victim_of(browser: Browser, worlds: dict[str, World]) -> Iterator[Callable[[World], Victim]]:
    """Return the victim of a world, who stays the same as long as nothing is lost."""
    victims: dict[str, Victim] = {}

    def find(world: World) -> Victim:
        if world.url not in victims:
            victims[world.url] = Victim(browser, world)
        elif not victims[world.url].has_cart():
            victims[world.url].fill_cart()
        world.shop.seen.forget()
        return victims[world.url]

    yield find
    for victim in victims.values():
        victim.context.close()


def form(action: str, more: str = "") -> str:
    return f'<form method="post" action="{action}" {more}><button>You have won</button></form>'


def script(code: str) -> str:
    return f"<script>{code}</script>"


class Attack(NamedTuple):
    """A page that makes its visitor's browser send something, and what that looks like to the shop."""

    #: Makes the page of the target's address.
    html: Callable[[str], str]
    #: It needs a click of the visitor.
    clicks: bool = True
    policy: str = ""
    #: The origin is told, and not "null".
    tells_origin: bool = True
    #: From a sandbox the browser takes even a sibling for a stranger.
    is_opaque: bool = False
    #: It opens a page, while a fetch in the background carries no cookies to foreign sites whatever SameSite says.
    navigates: bool = True
    opens_window: bool = False


ATTACKS = {
    "form": Attack(form),
    "form, no referrer": Attack(form, policy="no-referrer", tells_origin=False),
    "form, new window": Attack(lambda target: form(target, 'target="_blank"'), opens_window=True),
    "fetch no-cors": Attack(
        lambda target: script(f'fetch("{target}", {{method: "POST", mode: "no-cors", credentials: "include"}})'),
        clicks=False,
        navigates=False,
    ),
    "sandbox": Attack(
        lambda target: (
            '<iframe sandbox="allow-scripts allow-forms allow-top-navigation" srcdoc=\''
            f'<form method="post" target="_top" action="{target}"></form>'
            "<script>document.forms[0].submit()</script>'></iframe>"
        ),
        clicks=False,
        tells_origin=False,
        is_opaque=True,
    ),
    "redirect": Attack(lambda target: form("/tests/back"), tells_origin=False),
}


def launch(victim: Victim, world: World, who: str, attack: Attack) -> Seen:
    """Lead the victim to the page, and return what came to the shop."""
    target = world.url + TARGET
    world.elsewhere.html, world.elsewhere.policy = attack.html(target), attack.policy
    world.elsewhere.target = target
    page = shown = victim.page
    page.goto(f"{world.origin(who)}/tests/page")
    if attack.opens_window:
        with victim.context.expect_page() as opened:
            page.get_by_role("button").click()
        shown = opened.value
    elif attack.clicks:
        page.get_by_role("button").click()
    seen = world.shop.seen.wait_for(TARGET)
    if attack.navigates:
        shown.wait_for_url(f"{world.url}/cart**", wait_until="commit")
    if shown is not page:
        shown.close()
    return seen


def expected_site(world: World, who: str, attack: Attack) -> str | None:
    """Return what the browser says."""
    if not world.says_site:
        return None
    return "same-site" if who == "sibling" and not attack.is_opaque else "cross-site"


def carries_cookie(world: World, who: str, attack: Attack) -> bool:
    """Tell whether the session's cookie comes with an attack."""
    if who == "sibling" and not attack.is_opaque:
        return True
    return not world.is_lax and attack.navigates


# Two names of this machine do the same to a browser, so one of them is enough for what is only another way to send.
EVERYWHERE = ("form", "fetch no-cors", "sandbox")
COMBINATIONS = [(world, name) for world in WORLDS for name in ATTACKS if world != "localhost" or name in EVERYWHERE]


@pytest.mark.parametrize("who", ["sibling", "stranger"])
@pytest.mark.parametrize(("world", "name"), COMBINATIONS, indirect=["world"])
def test_attack_is_refused(world: World, victim_of: Callable[[World], Victim], name: str, who: str) -> None:
    """What a page of another port, of a sibling domain or of another site sends is refused, and changes nothing; in
    most cases with the victim's own cookie."""
    attack, victim = ATTACKS[name], victim_of(world)
    seen = launch(victim, world, who, attack)
    assert seen == Seen(
        "POST",
        expected_site(world, who, attack),
        world.origin(who) if attack.tells_origin else "null",
        carries_cookie(world, who, attack),
        400,
        ANOTHER_SITE if world.says_site else WRONG_ORIGIN,
    )
    assert victim.has_cart()


@pytest.mark.parametrize(
    ("name", "who"),
    [(name, who) for name in ATTACKS for who in ("sibling", "stranger") if who == "sibling" or ATTACKS[name].navigates],
)
def test_same_attack_without_protection(
    worlds: dict[str, World], victim_of: Callable[[World], Victim], name: str, who: str
) -> None:
    """These pages are real attacks: where the cookie comes along and nothing is checked, the cart is empty after."""
    world, attack = worlds["https"], ATTACKS[name]
    victim = victim_of(world)
    world.shop.app.config["WTF_CSRF_ENABLED"] = False
    try:
        seen = launch(victim, world, who, attack)
    finally:
        world.shop.app.config["WTF_CSRF_ENABLED"] = True
    assert (seen.status, seen.refused) == (302, None)
    assert not victim.has_cart()


@pytest.mark.parametrize("who", ["sibling", "stranger"])
def test_own_form_that_another_site_sends_back(world: World, victim_of: Callable[[World], Victim], who: str) -> None:
    """A form of the shop's own, sent to another site that redirects it to the shop (307), is refused. SameSite=Lax
    lets the cookie through, because it was the shop's page that sent the form."""
    victim = victim_of(world)
    world.shop.pages.html, world.shop.pages.policy = form(f"{world.origin(who)}/tests/back"), ""
    world.elsewhere.target = world.url + TARGET
    page = victim.page
    page.goto("/tests/page")
    page.get_by_role("button").click()
    seen = world.shop.seen.wait_for(TARGET)
    page.wait_for_url(f"{world.url}/cart**", wait_until="commit")
    assert (seen.origin, seen.has_cookie) == ("null", True)
    assert (seen.status, seen.refused) == (400, ANOTHER_SITE if world.says_site else WRONG_ORIGIN)
    assert victim.has_cart()


@pytest.mark.parametrize("who", ["sibling", "stranger"])
def test_what_a_page_cannot_send(world: World, victim_of: Callable[[World], Victim], who: str) -> None:
    """A picture comes as GET, which changes nothing. JSON is not sent at all: the browser asks first, and is not told
    that it may."""
    victim = victim_of(world)
    target = world.url + TARGET
    code = f'fetch("{target}", {{method: "POST", headers: {{"Content-Type": "application/json"}}, body: "{{}}"}})'
    picture = f'<img src="{world.url}/cart/buy" alt="" onerror="document.title += \' picture\'">'
    world.elsewhere.policy = ""
    world.elsewhere.html = picture + script(f"{code}.catch(() => document.title += ' fetch')")
    page = victim.page
    page.goto(f"{world.origin(who)}/tests/page")
    page.wait_for_function("document.title.includes('picture') && document.title.includes('fetch')")
    assert [(seen.method, seen.status) for seen in world.shop.seen.all("/cart/buy")] == [("GET", 405)]
    assert [seen.method for seen in world.shop.seen.all(TARGET)] == ["OPTIONS"]
    assert victim.has_cart()


def send_own(page: Page, world: World, html: str, policy: str = "") -> Seen:
    """Let a page of the shop's own send something, and return what came in."""
    world.shop.pages.html, world.shop.pages.policy = html, policy
    world.shop.seen.forget()
    page.goto("/tests/page")
    if "<button>" in html:
        page.get_by_role("button").click()
        page.wait_for_url("**/cart**", wait_until="commit")
    return world.shop.seen.wait_for(TARGET)


def test_own_pages_need_no_token(world: World, victim_of: Callable[[World], Victim]) -> None:
    """A form and a fetch of the shop's own pages are accepted without a token, whatever the referrer policy; but for
    a form under no-referrer that is sent by plain HTTP to a name of the network: its origin is "null" then."""
    victim = victim_of(world)
    page = victim.page
    own_site = "same-origin" if world.says_site else None
    accepted = Seen("POST", own_site, world.url, True, 302, None)
    fetch = script(f'fetch("{TARGET}", {{method: "POST"}})')
    for policy in ("", "same-origin"):
        assert send_own(page, world, form(TARGET), policy) == accepted
    for policy in ("", "no-referrer"):
        assert send_own(page, world, fetch, policy) == accepted
    seen = send_own(page, world, form(TARGET), "no-referrer")
    if world.says_site:
        assert seen == accepted._replace(origin="null")
    else:
        assert seen == accepted._replace(origin="null", status=400, refused=WRONG_ORIGIN)
    assert not victim.has_cart()


@pytest.mark.parametrize("world", ["http-name", "https"], indirect=True)
def test_once_more(world: World, victim_of: Callable[[World], Victim]) -> None:
    """A page that one comes back to sends its form again; a forged form that is loaded again is refused again."""
    victim = victim_of(world)
    page = victim.page
    page.goto("/product/sand-timer")
    button = page.get_by_role("button", name="Add Sand timer to the cart")
    button.click()
    expect(page.get_by_text("Sand timer: 1 in your cart.")).to_be_visible()
    page.go_back()
    button.click()
    expect(page.get_by_text("Sand timer: 2 in your cart.")).to_be_visible()
    world.elsewhere.html, world.elsewhere.policy = form(world.url + TARGET), ""
    page.goto(f"{world.stranger}/tests/page")
    page.get_by_role("button").click()
    page.get_by_role("heading", name="We blocked this request").wait_for()
    page.reload()
    eventually(lambda: len(world.shop.seen.all(TARGET)) == 2)
    assert [seen.status for seen in world.shop.seen.all(TARGET)] == [400, 400]
    assert victim.has_cart()


def wait_days(monkeypatch: pytest.MonkeyPatch, app: Flask, days: int) -> None:
    """Move the clocks of sessions and tokens on."""
    seconds = days * 24 * 60 * 60
    interface = app.session_interface
    for part in (interface.repository, interface.store):  # type: ignore[attr-defined]
        monkeypatch.setattr(part, "clock", lambda before=part.clock: before() + seconds)
    tokens = pytest.importorskip("flask_cloakroom.csrf.session_tokens")
    before = tokens.time.time

    class Later:
        """What the module has for its clock, in the future."""

        time = staticmethod(lambda: before() + seconds)

    monkeypatch.setattr(tokens, "time", Later)


def test_page_that_was_open_for_two_days(browser: Browser, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It still posts, in a browser and also by its token alone."""
    victim = Victim(browser, world)
    with victim.context:
        page = victim.page
        page.goto("/cart")
        wait_days(monkeypatch, world.shop.app, 2)
        assert victim.post_silently(page, "/cart/change", product="desk-bell", quantity="3") == 302
        world.shop.seen.forget()
        page.get_by_role("button", name="Empty cart").click()
        expect(page.get_by_text("Your cart is empty.")).to_be_visible()
        assert world.shop.seen.wait_for(TARGET).status == 302


@pytest.mark.parametrize("world", ["http-name", "https"], indirect=True)
def test_pages_around_a_login(browser: Browser, world: World) -> None:
    """A page from after the login posts, also by its token alone. One from before, in another tab, posts in a browser
    that says where it comes from; its token alone is of no use any more."""
    victim = Victim(browser, world)
    with victim.context as context:
        older, page = victim.page, context.new_page()
        older.goto("/cart")
        page.goto("/login")
        page.get_by_label("Username").fill("mira")
        page.get_by_label("Password").fill("half-past-nine")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("status")).to_contain_text("Welcome, Mira.")
        assert victim.post_silently(page, "/cart/add", product="sand-timer") == 302
        page.get_by_role("button", name="Add Desk bell to the cart").click()
        expect(page.get_by_text("Desk bell: 2 in your cart.")).to_be_visible()

        assert victim.post_silently(older, TARGET) == 400
        older.get_by_role("button", name="Empty cart").click()
        expect(older.get_by_role("status")).to_have_text("All items were removed from your cart.")
        expect(older.get_by_role("button", name="Sign out")).to_be_visible()
