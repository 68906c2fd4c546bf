"""The shop and the cart, over every store."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sched_site import cart
from sched_site.catalogue import PRODUCTS, Product
from werkzeug.test import TestResponse

from flask_cloakroom import MISSING, user_session

COOKIE = "sched_session"


def add(client: FlaskClient, slug: str) -> TestResponse:
    return client.post("/cart/add", data={"product": slug})


def change(client: FlaskClient, slug: str, quantity: str) -> TestResponse:
    return client.post("/cart/change", data={"product": slug, "quantity": quantity}, follow_redirects=True)


def ticket_of(client: FlaskClient) -> str:
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    return cookie.value


def quantities(client: FlaskClient) -> dict[str, int]:
    """What the cart page says is in the cart."""
    page = client.get("/cart").text
    return {
        slug: int(quantity)
        for slug, quantity in re.findall(r'id="([\w-]+)-quantity" name="quantity" value="(\d+)"', page)
    }


def shown_total(client: FlaskClient) -> str:
    found = re.search(r'id="cart-total">([^<]+)<', client.get("/cart").text)
    assert found
    return found[1]


def badge(page: str) -> int:
    found = re.search(r'id="cart-count">(\d+)<', page)
    return int(found[1]) if found else 0


def test_shelf(client: FlaskClient) -> None:
    """Everything on the shelf stands there with its name and its price."""
    page = client.get("/").text
    for product in PRODUCTS.values():
        assert product.name in page
        assert f"€{product.price}" in page


@pytest.mark.parametrize("path", ["/", "/cart", "/login", "/session", "/health", "/nothing-here"])
def test_looking_makes_no_session(client: FlaskClient, path: str) -> None:
    """Who only looks gets no cookie."""
    assert "Set-Cookie" not in client.get(path).headers


def test_add(client: FlaskClient) -> None:
    """Adding ends in a redirect to the product's place on the shelf, which tells how many there are now."""
    response = add(client, "desk-bell")
    assert (response.status_code, response.location) == (302, "/#desk-bell")
    page = client.get("/").text
    assert "Desk bell: 1 in your cart." in page
    assert badge(page) == 1
    assert "Desk bell: 1 in your cart." not in client.get("/").text, "a message is shown once"


def test_nested_changes_are_saved(client: FlaskClient) -> None:
    """A quantity deep inside the session is counted up in place, from request to request."""
    for _ in range(3):
        add(client, "desk-bell")
    add(client, "wall-calendar")
    assert quantities(client) == {"wall-calendar": 1, "desk-bell": 3}
    assert shown_total(client) == "€52.10"


def test_types_come_back(client: FlaskClient) -> None:
    """The price is a Decimal and the moment of adding an aware datetime, also in the next request."""
    add(client, "desk-bell")
    with client:
        client.get("/cart")
        item = user_session["cart"]["items"]["desk-bell"]
        assert type(item["price"]) is Decimal
        assert item["price"] == Decimal("12.40")
        assert item["added"].utcoffset() == timedelta(0)


def test_price_stays(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the cart keeps the price that was shown when it was added."""
    add(client, "desk-bell")
    dearer = PRODUCTS["desk-bell"]._replace(price=Decimal("99.00"))
    monkeypatch.setitem(PRODUCTS, "desk-bell", dearer)
    assert shown_total(client) == "€12.40"


def test_gone_product(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A product that left the shelf is no longer in the cart, and breaks no page."""
    add(client, "desk-bell")
    add(client, "sand-timer")
    monkeypatch.delitem(PRODUCTS, "desk-bell")
    assert quantities(client) == {"sand-timer": 1}


def test_change(client: FlaskClient) -> None:
    """A quantity can be set, and 0 takes the product out."""
    add(client, "desk-bell")
    add(client, "sand-timer")
    assert "Desk bell: 7 in your cart." in change(client, "desk-bell", "7").text
    assert quantities(client) == {"sand-timer": 1, "desk-bell": 7}
    assert "Desk bell was removed from your cart." in change(client, "desk-bell", "0").text
    assert quantities(client) == {"sand-timer": 1}


@pytest.mark.parametrize("wrong", ["", "-1", "100", "1.5", "two", "9" * 5000, "\0"])
def test_wrong_quantity(client: FlaskClient, wrong: str) -> None:
    """A quantity that makes no sense is told, and changes nothing."""
    add(client, "desk-bell")
    page = change(client, "desk-bell", wrong).text
    assert "Desk bell: choose a quantity from 0 to 99." in page
    assert 'role="alert"' in page
    assert quantities(client) == {"desk-bell": 1}


def test_most(client: FlaskClient) -> None:
    """Adding stops at the most that one can have."""
    add(client, "desk-bell")
    change(client, "desk-bell", "99")
    add(client, "desk-bell")
    assert quantities(client) == {"desk-bell": 99}


def test_change_of_what_is_not_there(client: FlaskClient) -> None:
    """Setting the quantity of something that another tab took out does not bring it back."""
    assert change(client, "desk-bell", "5").status_code == 200
    assert quantities(client) == {}


def test_remove(client: FlaskClient) -> None:
    """A product can be taken out; doing so twice, as from two tabs, does no harm."""
    add(client, "desk-bell")
    add(client, "sand-timer")
    for _ in range(2):
        page = client.post("/cart/remove", data={"product": "desk-bell"}, follow_redirects=True).text
        assert "Desk bell was removed from your cart." in page
        assert quantities(client) == {"sand-timer": 1}


def test_empty(client: FlaskClient) -> None:
    """The whole cart can be emptied, also when it is empty already."""
    add(client, "desk-bell")
    add(client, "sand-timer")
    for _ in range(2):
        page = client.post("/cart/empty", follow_redirects=True).text
        assert "Your cart is empty." in page
        assert badge(page) == 0


@pytest.mark.parametrize("path", ["/cart/add", "/cart/change", "/cart/remove"])
@pytest.mark.parametrize("form", [{}, {"product": "a-yacht"}])
def test_unknown_product(client: FlaskClient, path: str, form: dict[str, str]) -> None:
    """A product that does not exist is a 404, and makes no session."""
    response = client.post(path, data=form)
    assert response.status_code == 404
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("path", ["/cart/add", "/cart/change", "/cart/remove", "/cart/empty", "/logout"])
def test_changes_are_posts(client: FlaskClient, path: str) -> None:
    """What changes something cannot be reached by a link."""
    response = client.get(path)
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]
    assert "This address cannot be opened directly" in response.text


def test_visitors_have_carts_of_their_own(app: Flask) -> None:
    """One visitor's cart is not another's."""
    one, other = app.test_client(), app.test_client()
    add(one, "desk-bell")
    assert quantities(other) == {}


def test_restart(make_app: Callable[..., Flask]) -> None:
    """A cart is there after the site was stopped and started again."""
    client = make_app().test_client()
    add(client, "desk-bell")
    again = make_app().test_client()
    again.set_cookie(COOKIE, ticket_of(client))
    assert quantities(again) == {"desk-bell": 1}


@pytest.mark.parametrize(
    ("slugs", "expected"),
    [
        (("desk-bell", "sand-timer"), {"wall-calendar": 1, "desk-bell": 1, "sand-timer": 1}),
        (("desk-bell", "desk-bell"), {"wall-calendar": 1, "desk-bell": 2}),
        (("wall-calendar", "wall-calendar"), {"wall-calendar": 3}),
    ],
    ids=["two products", "one new product twice", "one product again twice"],
)
def test_two_clicks_at_once(
    app: Flask, monkeypatch: pytest.MonkeyPatch, slugs: tuple[str, str], expected: dict[str, int]
) -> None:
    """Two clicks at the same moment both count, whatever they add."""
    first = app.test_client()
    add(first, "wall-calendar")
    ticket = ticket_of(first)
    both_have_read = threading.Barrier(2, timeout=20)

    def add_together(product: Product, original: Callable[[Product], int] = cart.add) -> int:
        cart.count()  # reads the session
        both_have_read.wait()
        return original(product)

    monkeypatch.setattr(cart, "add", add_together)

    def click(slug: str) -> int:
        client = app.test_client()
        client.set_cookie(COOKIE, ticket)
        return add(client, slug).status_code

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(click, slugs)) == [302, 302]
    assert quantities(first) == expected


@pytest.mark.parametrize(
    ("base", "theirs", "mine", "expected"),
    [
        (None, {"a": 1}, {"a": 1}, {"a": 2}),
        ({}, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2}, {"a": 4}, {"a": 5}),
        ({"a": 1, "b": 1}, {"b": 1}, {"a": 1}, {}),
        ({"a": 2}, {}, {"a": 3}, {"a": 1}),
        ({"a": 2}, {}, {"a": 1}, {}),
        ({"a": 2}, None, {"a": 3}, {"a": 1}),
        ({"a": 2}, None, None, {}),
        ({"a": 60}, {"a": 90}, {"a": 80}, {"a": 99}),
    ],
)
def test_merge(
    base: dict[str, int] | None,
    theirs: dict[str, int] | None,
    mine: dict[str, int] | None,
    expected: dict[str, int],
) -> None:
    """Of two carts that grew from one, what was added and taken out in both counts, within the bounds."""

    def filled(quantities: dict[str, int] | None) -> object:
        if quantities is None:
            return MISSING
        return {"items": {slug: {"quantity": quantity} for slug, quantity in quantities.items()}}

    assert cart.merge(filled(base), filled(theirs), filled(mine)) == filled(expected)
