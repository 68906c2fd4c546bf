"""A user's cart: the same on all devices, merged at login, and bought once."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis.exceptions import ConnectionError as RedisIsAway
from sched_site import cart, stock
from sched_site.cart import Line

from flask_cloakroom import MISSING

TEST_TIMEOUT = 20
SOLD = "Thank you for your order"
ALREADY = "Nothing was bought twice."


def sign_in(client: FlaskClient) -> str:
    form = {"username": "mira", "password": "half-past-nine"}
    return client.post("/login", data=form, follow_redirects=True).text


def add(client: FlaskClient, *slugs: str) -> None:
    for slug in slugs:
        assert client.post("/cart/add", data={"product": slug}).status_code == 302


def quantities(client: FlaskClient) -> dict[str, int]:
    found = re.findall(r'id="([\w-]+)-quantity" name="quantity" value="(\d+)"', client.get("/cart").text)
    return {slug: int(quantity) for slug, quantity in found}


def left(app: Flask, slug: str) -> int:
    with app.app_context():
        return stock.left()[slug]


@pytest.fixture
def other(app: Flask) -> FlaskClient:
    """Another device."""
    return app.test_client()


class TestLogin:
    """What a login makes of two carts."""

    def test_union(self, client: FlaskClient, other: FlaskClient) -> None:
        """The visitor's and the user's become one, with the quantities added up, and all devices have that."""
        add(other, "desk-bell", "tea-for-two")
        sign_in(other)
        add(client, "desk-bell", "sand-timer")
        assert "2 items from this browser were added to your cart." in sign_in(client)
        together = {"desk-bell": 2, "tea-for-two": 1, "sand-timer": 1}
        assert quantities(client) == quantities(other) == together

    def test_nothing_to_join(self, client: FlaskClient, other: FlaskClient) -> None:
        """Who had nothing is told nothing of it, and finds what the user has."""
        add(other, "desk-bell")
        sign_in(other)
        page = sign_in(client)
        assert "Welcome, Mira." in page
        assert "from this browser" not in page
        assert "Undo" not in page
        assert quantities(client) == {"desk-bell": 1}

    def test_undo(self, client: FlaskClient, other: FlaskClient) -> None:
        """The button takes out what the login added and nothing else, on any device, and once."""
        sign_in(other)
        add(other, "desk-bell")
        add(client, "desk-bell", "sand-timer")
        assert 'action="/cart/undo"' in sign_in(client)
        add(other, "tea-for-two")
        assert "2 items were added to your cart" in other.get("/cart").text
        assert "were removed." in other.post("/cart/undo", follow_redirects=True).text
        assert quantities(client) == quantities(other) == {"desk-bell": 1, "tea-for-two": 1}
        assert "nothing left to undo" in client.post("/cart/undo", follow_redirects=True).text
        assert quantities(client) == {"desk-bell": 1, "tea-for-two": 1}

    def test_what_is_left_after_an_undo_can_be_bought(self, app: Flask, client: FlaskClient) -> None:
        """Also if the whole cart came with the login and something was added since."""
        add(client, "desk-bell")
        sign_in(client)
        add(client, "sand-timer")
        client.post("/cart/undo")
        assert quantities(client) == {"sand-timer": 1}
        assert SOLD in client.post("/cart/buy", follow_redirects=True).text
        assert (left(app, "sand-timer"), left(app, "desk-bell")) == (4, 2)

    def test_what_was_bought_is_not_offered(self, client: FlaskClient) -> None:
        """After it was bought there is nothing to undo, and what is added then stays."""
        add(client, "desk-bell")
        sign_in(client)
        client.post("/cart/buy")
        add(client, "sand-timer")
        assert "when you signed in" not in client.get("/cart").text
        client.post("/cart/undo")
        assert quantities(client) == {"sand-timer": 1}

    def test_undo_of_a_visitor(self, client: FlaskClient) -> None:
        """A visitor has nothing to undo, and keeps what is in the cart."""
        add(client, "desk-bell")
        assert "nothing left to undo" in client.post("/cart/undo", follow_redirects=True).text
        assert quantities(client) == {"desk-bell": 1}


def test_two_devices_add_at_once(client: FlaskClient, other: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have read the cart before either has saved it, and nothing is lost."""
    for device in (client, other):
        sign_in(device)
    add(client, "desk-bell")
    both_have_read = threading.Barrier(2, timeout=TEST_TIMEOUT)
    original = cart.add

    def add_together(*args: object) -> int:
        cart.count()
        both_have_read.wait()
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(cart, "add", add_together)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(add, (client, other), ("desk-bell", "sand-timer")))
    assert quantities(client) == {"desk-bell": 2, "sand-timer": 1}


class TestBuyingOnce:
    """One cart, two devices that buy it."""

    @pytest.fixture(autouse=True)
    def _signed_in(self, client: FlaskClient, other: FlaskClient) -> None:
        for device in (client, other):
            sign_in(device)
        add(client, "sand-timer", "desk-bell")

    def buy(self, client: FlaskClient) -> str:
        return client.post("/cart/buy", follow_redirects=True).text

    def meanwhile(self, monkeypatch: pytest.MonkeyPatch, before: Callable[[], None], after: Callable[[], None]) -> None:
        """Let something happen in the next purchase, after it has read the cart: around its taking the stock."""
        original = stock.take

        def take(order: str, lines: list[Line]) -> stock.Outcome:
            monkeypatch.setattr(stock, "take", original)
            before()
            taken = original(order, lines)
            after()
            return taken

        monkeypatch.setattr(stock, "take", take)

    @pytest.mark.parametrize("when", ["before the stock", "after the stock"])
    def test_at_one_moment(
        self, app: Flask, client: FlaskClient, other: FlaskClient, monkeypatch: pytest.MonkeyPatch, when: str
    ) -> None:
        """Both have read the same cart: one buys it, the other is told so, and the cart is empty."""
        pages = []

        def also() -> None:
            pages.append(self.buy(other))

        nothing = [].clear
        self.meanwhile(monkeypatch, *((also, nothing) if when == "before the stock" else (nothing, also)))
        pages.append(self.buy(client))
        assert sorted(SOLD in page for page in pages) == [False, True]
        assert sorted(ALREADY in page for page in pages) == [False, True]
        assert (left(app, "sand-timer"), left(app, "desk-bell")) == (4, 1)
        assert quantities(client) == quantities(other) == {}

    def test_really_at_one_moment(self, app: Flask, client: FlaskClient, other: FlaskClient) -> None:
        """The same with nothing but chance to say who is first."""
        for _ in range(4):
            together = threading.Barrier(2, timeout=TEST_TIMEOUT)

            def click(device: FlaskClient, together: threading.Barrier = together) -> None:
                together.wait()
                assert device.post("/cart/buy").status_code == 302

            before = left(app, "sand-timer")
            with ThreadPoolExecutor(2) as threads:
                list(threads.map(click, (client, other)))
            assert left(app, "sand-timer") == before - 1
            assert quantities(client) == {}
            add(client, "sand-timer")

    def test_what_is_added_meanwhile_stays(
        self, app: Flask, client: FlaskClient, other: FlaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What another device adds during a purchase is not bought by it, stays, and can be bought next."""
        self.meanwhile(monkeypatch, lambda: add(other, "desk-bell", "tea-for-two"), [].clear)
        assert SOLD in self.buy(client)
        assert quantities(other) == {"desk-bell": 1, "tea-for-two": 1}
        assert SOLD in self.buy(other)
        assert (left(app, "desk-bell"), left(app, "tea-for-two"), left(app, "sand-timer")) == (0, 4, 4)

    def test_an_older_look_at_the_cart(
        self, app: Flask, client: FlaskClient, other: FlaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who bought a fuller cart meanwhile has bought it; who read it before takes nothing out that came since."""

        def fill_and_buy_and_fill() -> None:
            add(other, "tea-for-two")
            assert SOLD in self.buy(other)
            add(other, "sand-timer")

        self.meanwhile(monkeypatch, fill_and_buy_and_fill, [].clear)
        assert ALREADY in self.buy(client)
        assert quantities(client) == {"sand-timer": 1}
        assert SOLD in self.buy(client)
        assert left(app, "sand-timer") == 3

    def test_killed_after_the_stock_was_taken(
        self, app: Flask, client: FlaskClient, other: FlaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The cart is still full then. The next try says that it was bought, empties it, and takes nothing."""

        def die() -> None:
            raise RedisIsAway("as if the process ended here: nothing is saved after it")

        self.meanwhile(monkeypatch, [].clear, die)
        assert client.post("/cart/buy").status_code == 503
        assert quantities(client) == {"sand-timer": 1, "desk-bell": 1}
        add(other, "sand-timer")
        assert ALREADY in self.buy(other)
        assert quantities(client) == {"sand-timer": 1}
        assert (left(app, "sand-timer"), left(app, "desk-bell")) == (4, 1)


@pytest.mark.parametrize(
    ("base", "theirs", "mine", "expected"),
    [
        (None, "a", "b", "a"),
        (None, None, "b", "b"),
        ("a", "a", "b", "b"),
        ("a", "b", "a", "b"),
        ("a", "b", "c", "b"),
        ("a", "a", None, "a"),
        (None, None, None, None),
    ],
)
def test_merge_of_orders(base: str | None, theirs: str | None, mine: str | None, expected: str | None) -> None:
    """Of two numbers the one that changed holds, and of two new ones that which is stored."""

    def filled(number: str | None) -> object:
        return MISSING if number is None else {"order": number, "items": {}}

    assert cart.merge(filled(base), filled(theirs), filled(mine)).get("order") == expected


def test_both_bought() -> None:
    """Two sides that bought the same order take it out once: what was added after the one stays."""

    def of(number: str, **quantities: int) -> dict[str, object]:
        return {"order": number, "items": {slug: {"quantity": quantity} for slug, quantity in quantities.items()}}

    assert cart.merge(of("a", bell=2), of("b", bell=1), of("c")) == of("b", bell=1)
