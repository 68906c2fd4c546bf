"""The cart: nested data in ``user_session``, changed in place, with no ``modified`` anywhere.

    user_session["cart"] == {
        "order": "random text",
        "items": {"desk-bell": {"quantity": 2, "price": Decimal("12.40"), "added": datetime}},
    }

Who is signed in has one cart on all devices. A visitor's is in their session, and joins that one at the login. What is
in the cart keeps the price that was shown when it was added.

``order`` is the number under which it will be bought. It is there before anybody buys, and changes when it is bought:
so two devices that buy the same cart at one moment name the same order, which :mod:`.stock` carries out once.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from flask_cloakroom import user_session

from .catalogue import PRODUCTS, Product

#: More than this of one product is a mistake of typing.
MAX_QUANTITY = 99
#: Nothing on the shelf costs so much.
MAX_PRICE = 1_000_000
#: Characters of an order's number at most; ours have 16.
LONGEST_ORDER = 64


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
        Line(product, items[slug]["quantity"], items[slug].get("price", product.price))
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
    cart = _cart()
    if cart is None:
        cart = user_session["cart"] = {}
    cart.setdefault("order", _new_order())
    items = cart.setdefault("items", {})
    item = items.setdefault(product.slug, {"quantity": 0, "price": product.price, "added": datetime.now(UTC)})
    item["quantity"] = min(item["quantity"] + quantity, MAX_QUANTITY)
    return int(item["quantity"])


def change(product: Product, quantity: int) -> None:
    """Set how many of a product that is in the cart are wanted; 0 removes it."""
    if quantity == 0:
        remove(product)
    elif product.slug in _items():
        _items()[product.slug]["quantity"] = quantity


def remove(product: Product) -> None:
    """Take a product out, if it is in the cart."""
    _items().pop(product.slug, None)


def empty() -> None:
    """Take everything out."""
    _items().clear()


def order() -> str:
    """Return the number under which what is in the cart now is bought. There must be something in it."""
    cart = _cart()
    assert cart is not None
    number: str = cart.setdefault("order", _new_order())
    return number


def bought(quantities: Mapping[str, int]) -> None:
    """Take out what was bought, by slug, and let what is in the cart then be another order."""
    items = _items()
    for slug, quantity in quantities.items():
        if slug in items and items[slug]["quantity"] > quantity:
            items[slug]["quantity"] -= quantity
        else:
            items.pop(slug, None)
    cart = _cart()
    if cart is not None:
        cart["order"] = _new_order()


def brought() -> int:
    """Return how many things the last login put into the cart, while that can be undone and none of it was bought."""
    for merged in user_session.merged:
        if merged.key == "cart" and _part(merged.after, "order") == _part(user_session.get("cart"), "order"):
            return _count(merged.after) - _count(merged.before)
    return 0


def undo_login() -> bool:
    """Take those out again, and tell whether there were any. What was changed since stays."""
    changed = any(value.key == "cart" for value in user_session.undo_merge())
    cart = _cart()
    if cart is not None and _items():
        # The number may have come along with what is gone now.
        cart.setdefault("order", _new_order())
    return changed


def merge(base: Any, theirs: Any, mine: Any) -> dict[str, Any]:
    """Join two carts that grew from one at the same moment, so that what was done in both counts.

    This is the site's ``USER_SESSION_MERGE`` for the cart: of two devices that add the same thing at once both count,
    and what a visitor has is added to what the user has. Any of the three may be missing.

    Where both bought, it was the same order, which was carried out once: so it is taken out once, too.
    """
    before, there, here = (_part(cart, "order") for cart in (base, theirs, mine))
    if before is not None and before not in (there, here) and there is not None:
        return {"order": there, "items": _part(theirs, "items") or {}}
    number = here if there in (None, before) and here is not None else there
    items = _joined(*(_part(cart, "items") or {} for cart in (base, theirs, mine)))
    return {"items": items} if number is None else {"order": number, "items": items}


def _joined(before: dict[str, Any], other: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    items = {}
    for slug in other | own:
        there, here, then = (side.get(slug, {}).get("quantity", 0) for side in (other, own, before))
        quantity = min(there + here - then, MAX_QUANTITY)
        if quantity > 0:
            items[slug] = {**other.get(slug, own.get(slug)), "quantity": quantity}
    return items


def _items() -> dict[str, Any]:
    return _part(_cart(), "items") or {}


def _cart() -> dict[str, Any] | None:
    cart = user_session.get("cart")
    return cart if _is_cart(cart) else None


def _is_cart(cart: Any) -> bool:
    """Tell whether that is a cart of this site's: what is stored may be damaged, or of another version of the site."""
    if not isinstance(cart, dict):
        return False
    order, items = cart.get("order", ""), cart.get("items", {})
    is_order = isinstance(order, str) and order.isascii() and len(order) <= LONGEST_ORDER
    return is_order and isinstance(items, dict) and all(map(_is_item, items.values()))


def _is_item(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    quantity, price = item.get("quantity"), item.get("price", Decimal(0))
    return (
        type(quantity) is int
        and 0 <= quantity <= MAX_QUANTITY
        and isinstance(price, Decimal)
        and price.is_finite()
        and 0 <= price < MAX_PRICE
    )


def _part(cart: Any, name: str) -> Any:
    return cart.get(name) if _is_cart(cart) else None


def _count(cart: Any) -> int:
    return sum(item["quantity"] for item in (_part(cart, "items") or {}).values())


def _new_order() -> str:
    return secrets.token_urlsafe(12)
