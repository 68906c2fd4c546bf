"""The cart: nested data in the session, changed in place, with no ``session.modified`` anywhere.

    session["cart"] == {"items": {"desk-bell": {"quantity": 2, "price": Decimal("12.40"), "added": datetime}}}

What is in the cart keeps the price that its visitor saw when they added it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from flask import session

from .catalogue import PRODUCTS, Product

#: More than this of one product is a mistake of typing.
MAX_QUANTITY = 99


class Line(NamedTuple):
    """One product in the cart."""

    product: Product
    quantity: int
    price: Decimal

    @property
    def total(self) -> Decimal:
        return self.price * self.quantity


def lines() -> list[Line]:
    """Return what is in the cart, in the order of the shelf. Reading makes no cart."""
    items = _items()
    return [
        Line(product, items[slug]["quantity"], items[slug]["price"])
        for slug, product in PRODUCTS.items()
        if slug in items
    ]


def count() -> int:
    """Return how many things are in the cart."""
    return sum(line.quantity for line in lines())


def total() -> Decimal:
    """Return what they cost together."""
    return sum((line.total for line in lines()), Decimal(0))


def add(product: Product, quantity: int = 1) -> int:
    """Put more of a product into the cart and return how many of it are in there now."""
    items = session.setdefault("cart", {}).setdefault("items", {})
    item = items.setdefault(product.slug, {"quantity": 0, "price": product.price, "added": datetime.now(UTC)})
    item["quantity"] = min(item["quantity"] + quantity, MAX_QUANTITY)
    return int(item["quantity"])


def change(product: Product, quantity: int) -> None:
    """Set how many of a product that is in the cart are wanted; 0 removes it."""
    if quantity == 0:
        remove(product)
    elif product.slug in _items():
        session["cart"]["items"][product.slug]["quantity"] = quantity


def remove(product: Product) -> None:
    """Take a product out, if it is in the cart."""
    if product.slug in _items():
        del session["cart"]["items"][product.slug]


def empty() -> None:
    """Take everything out."""
    if _items():
        session["cart"]["items"].clear()


def _items() -> dict[str, Any]:
    cart: dict[str, dict[str, Any]] = session.get("cart", {})
    return cart.get("items", {})


def merge(base: Any, theirs: Any, mine: Any) -> dict[str, Any]:
    """Join two carts that grew from one at the same moment, so that what was done in both counts.

    This is the site's ``SESSION_MERGE`` for the cart. The general rule would keep what is in either cart, but
    of two quick clicks that add the same thing only one would count. Any of the three may be missing.
    """
    carts = (cart if isinstance(cart, dict) else {} for cart in (base, theirs, mine))
    before, other, own = (cart.get("items", {}) for cart in carts)
    items = {}
    for slug in other | own:
        there, here, then = (side.get(slug, {}).get("quantity", 0) for side in (other, own, before))
        quantity = min(there + here - then, MAX_QUANTITY)
        if quantity > 0:
            items[slug] = {**other.get(slug, own.get(slug)), "quantity": quantity}
    return {"items": items}
