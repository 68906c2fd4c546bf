"""The site's own data in Redis: view counters, recently viewed items, and the stock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from flask import Flask, session
from flask.testing import FlaskClient
from redis import Redis
from sched_site import recent, stock
from sched_site.cart import Line
from sched_site.catalogue import PRODUCTS

from support.sched.processes import TEST_TIMEOUT, Site

COOKIE = "sched_session"
SOLD = "Thank you for your order"


@pytest.fixture
def keys(empty_redis: str) -> Iterator[Redis]:
    """A plain client, to look at what is there."""
    with Redis.from_url(empty_redis, decode_responses=True) as client:
        yield client


def put_into_cart(client: FlaskClient, slug: str, quantity: int = 1) -> None:
    client.post("/cart/add", data={"product": slug})
    client.post("/cart/change", data={"product": slug, "quantity": quantity})


def buy(client: FlaskClient) -> str:
    return client.post("/cart/buy", follow_redirects=True).text


class TestCounters:
    """Looks at the shelf and at products."""

    def test_shown(self, app: Flask, client: FlaskClient) -> None:
        """Each look counts, whoever looks, and the page says how many there were; other pages count nothing."""
        assert "Shop viewed once" in client.get("/").text
        client.get("/cart")
        assert "Shop viewed 2 times" in app.test_client().get("/").text
        assert "Viewed once" in client.get("/product/desk-bell").text
        assert "Viewed 2 times" in app.test_client().get("/product/desk-bell").text
        assert "Viewed once" in client.get("/product/sand-timer").text

    def test_parallel_requests(self, site: Site, keys: Redis) -> None:
        """Of looks at the same moment, none is lost and none counts twice."""
        paths = ["/", "/product/desk-bell", "/product/sand-timer"] * 40
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda path: site.request("GET", path).status, paths))
        assert answers == [200] * len(paths)
        assert keys.get("sched:visits") == "40"
        assert keys.hgetall("sched:views") == {"desk-bell": "40", "sand-timer": "40"}


class TestRecent:
    """What a visitor looked at."""

    def recently_viewed(self, page: str) -> list[str]:
        _, _, part = page.partition('id="recently"')
        return re.findall(r'href="/product/([\w-]+)"', part)

    def test_newest_first_once_each_at_most_five(self, client: FlaskClient, keys: Redis) -> None:
        """A product page lists what was looked at before it, the shelf everything; older looks are forgotten."""
        slugs = list(PRODUCTS)[:7]
        for slug in slugs:
            page = client.get(f"/product/{slug}").text
        assert self.recently_viewed(page) == [*slugs[5:1:-1], slugs[1]]
        assert self.recently_viewed(client.get("/").text) == slugs[6:1:-1]
        client.get(f"/product/{slugs[3]}")
        assert self.recently_viewed(client.get("/").text) == [slugs[3], slugs[6], slugs[5], slugs[4], slugs[2]]
        (key,) = keys.keys("sched:recent:*")
        assert 0 < keys.ttl(key) <= recent.EXPIRES_AFTER

    def test_only_those_who_look_at_a_product_are_known(self, client: FlaskClient, keys: Redis) -> None:
        """Who looks at the shelf only leaves nothing but the count; an unknown product leaves nothing at all."""
        for path in ("/", "/cart", "/session", "/login"):
            client.get(path)
        assert client.get("/product/a-yacht").status_code == 404
        assert client.get_cookie(COOKIE) is None
        assert keys.keys() == ["sched:visits"]

    def test_visitors_have_lists_of_their_own(self, app: Flask, client: FlaskClient) -> None:
        """One visitor's looks are not shown to another."""
        client.get("/product/desk-bell")
        assert self.recently_viewed(app.test_client().get("/product/sand-timer").text) == []

    def test_survives_the_login_and_ends_at_the_sign_out(self, client: FlaskClient, keys: Redis) -> None:
        """The list stays with its visitor when the ticket changes, and is gone when they sign out."""
        client.get("/product/desk-bell")
        client.post("/login", data={"username": "mira", "password": "half-past-nine"})
        assert self.recently_viewed(client.get("/").text) == ["desk-bell"]
        client.post("/logout")
        assert self.recently_viewed(client.get("/").text) == []
        assert keys.keys("sched:recent:*") == []

    def test_not_under_the_ticket(self, client: FlaskClient, keys: Redis) -> None:
        """Nothing in Redis is named by what opens a session."""
        client.get("/product/desk-bell")
        cookie = client.get_cookie(COOKIE)
        assert cookie is not None
        assert not [key for key in keys.scan_iter() if cookie.value in key]

    def test_a_second_look_changes_no_session(self, client: FlaskClient) -> None:
        """Only the first look at a product is noted in the session itself."""
        client.get("/product/desk-bell")
        with client:
            client.get("/product/sand-timer")
            assert not session.modified
            assert set(session) == {"visitor", "csrf_token"}

    def test_gone_product(self, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        """A product that left the shelf is no longer listed, and breaks no page."""
        client.get("/product/desk-bell")
        client.get("/product/sand-timer")
        monkeypatch.delitem(PRODUCTS, "desk-bell")
        assert self.recently_viewed(client.get("/").text) == ["sand-timer"]


class TestBuying:
    """The stock, and taking from it."""

    def test_buy(self, client: FlaskClient, keys: Redis) -> None:
        """What is bought is out of the cart and out of the stock, and the price is told."""
        put_into_cart(client, "desk-bell")
        put_into_cart(client, "sand-timer", 2)
        page = buy(client)
        assert f"{SOLD} of €31.90." in page
        assert "Your cart is empty." in page
        assert keys.hgetall(stock.STOCK) == {"desk-bell": "1", "sand-timer": "3"}

    def test_all_or_nothing(self, client: FlaskClient, keys: Redis) -> None:
        """If there is not enough of something nothing is taken, the cart stays, and the message names all of it."""
        put_into_cart(client, "tea-for-two")
        put_into_cart(client, "desk-bell", 3)
        put_into_cart(client, "fountain-pen", 2)
        page = buy(client)
        assert ">Fountain pen: only 1 left. Desk bell: only 2 left. Nothing was bought. Your cart is unchanged." in page
        assert SOLD not in page
        assert page.count('name="quantity"') == 3
        assert keys.hgetall(stock.STOCK) == {"tea-for-two": "5", "desk-bell": "2", "fountain-pen": "1"}

    def test_sold_out(self, app: Flask, client: FlaskClient) -> None:
        """What is sold out says so everywhere, cannot be added or bought, and comes back when the shelf is filled."""
        other = app.test_client()
        put_into_cart(other, "fountain-pen")
        put_into_cart(client, "fountain-pen")
        assert "Last one" in client.get("/product/fountain-pen").text
        buy(client)
        for path in ("/", "/product/fountain-pen"):
            page = client.get(path).text
            assert "Sold out" in page
            assert "Fountain pen to the cart" not in page
        assert "Sold out" in other.get("/cart").text
        assert "Fountain pen: sold out. Nothing was bought. Your cart is unchanged." in buy(other)
        refused = client.post("/cart/add", data={"product": "fountain-pen"}, follow_redirects=True).text
        assert "Fountain pen is sold out." in refused
        assert 'id="cart-count"' not in refused

        assert "All products are back in stock." in client.post("/restock", follow_redirects=True).text
        assert "Sold out" not in client.get("/").text
        assert SOLD in buy(other)

    def test_empty_cart(self, client: FlaskClient, keys: Redis) -> None:
        """Buying nothing is told, and takes nothing."""
        assert "Your cart is empty, so nothing was bought." in buy(client)
        assert not keys.exists(stock.STOCK)

    @pytest.mark.parametrize("path", ["/cart/buy", "/restock"])
    def test_changes_are_posts(self, client: FlaskClient, path: str) -> None:
        """No link buys or fills."""
        assert client.get(path).status_code == 405

    def test_told_on_the_channel(self, client: FlaskClient, keys: Redis) -> None:
        """The channel hears of what nothing is left of, and of nothing else."""
        with keys.pubsub(ignore_subscribe_messages=True) as channel:
            channel.subscribe(stock.SOLD_OUT)
            assert channel.get_message(timeout=TEST_TIMEOUT) is None, "the answer to subscribe, which is ignored"
            put_into_cart(client, "desk-bell")
            put_into_cart(client, "fountain-pen")
            buy(client)
            message = channel.get_message(timeout=TEST_TIMEOUT)
            assert message is not None
            assert message["data"] == "fountain-pen"
            assert channel.get_message() is None

    def test_asked_twice(self, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
        """An order that is sent again, because the first answer was lost, is not taken out twice."""
        monkeypatch.setattr(stock.secrets, "token_hex", lambda size: "one and the same")
        bell = PRODUCTS["desk-bell"]
        with app.app_context():
            for _ in range(2):
                assert stock.take("an order", [Line(bell, 1, bell.price)]) == stock.Outcome({"desk-bell": 1}, {}, False)
            assert stock.left()["desk-bell"] == 1


@pytest.fixture
def two_sites(empty_redis: str) -> Iterator[tuple[Site, Site]]:
    """Two processes of the site on one Redis."""
    with Site(REDIS_URL=empty_redis) as one, Site(REDIS_URL=empty_redis) as other:
        yield one, other


@pytest.mark.parametrize(("slug", "there_are"), [("fountain-pen", 1), ("desk-bell", 2), ("sand-timer", 5)])
def test_many_buy_the_last(two_sites: tuple[Site, Site], keys: Redis, slug: str, there_are: int) -> None:
    """When many buy at the same moment, in threads of two processes, as many get one as there are."""
    buyers = [(site, site.request("POST", "/cart/add", product=slug).cookie) for _ in range(6) for site in two_sites]
    assert all(site.request("GET", "/cart", cookie=cookie).status == 200 for site, cookie in buyers)
    together = Barrier(len(buyers), timeout=TEST_TIMEOUT)

    def try_to_buy(buyer: tuple[Site, str]) -> bool:
        site, cookie = buyer
        together.wait()
        assert site.request("POST", "/cart/buy", cookie=cookie).status == 302
        page = site.request("GET", "/cart", cookie=cookie).text
        is_served = SOLD in page
        assert is_served == ("Your cart is empty." in page)
        assert is_served != (": sold out. Nothing was bought" in page)
        return is_served

    with ThreadPoolExecutor(len(buyers)) as threads:
        assert sum(threads.map(try_to_buy, buyers)) == there_are
    assert keys.hget(stock.STOCK, slug) == "0"


def test_double_click(two_sites: tuple[Site, Site], keys: Redis) -> None:
    """A cart is bought once, however often its visitor presses the button at the same moment."""
    cookie = two_sites[0].request("POST", "/cart/add", product="sand-timer").cookie
    together = Barrier(4, timeout=TEST_TIMEOUT)

    def click(site: Site) -> int:
        together.wait()
        return site.request("POST", "/cart/buy", cookie=cookie).status

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(click, two_sites * 2)) == [302] * 4
    assert keys.hget(stock.STOCK, "sand-timer") == "4"
