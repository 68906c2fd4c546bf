"""The cart: nested data in ``user_session``, changed in place, with no ``modified`` anywhere.

    user_session["cart"] == {
        "order": "random text",
        "items": {"desk-bell": {"quantity": 2, "price": Decimal("12.40"), "added": datetime}},
    }

A user has one cart on all devices. The cart of an anonymous visitor is in the session, and is merged into the user's
cart at login. An item keeps the price that was shown when the item was added.

``order`` is the number of the next order. It exists before the purchase and changes after it. If two devices buy the
same cart at the same moment, both send the same number, and :mod:`.stock` carries the order out once.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from flask_cloakroom import user_session

from .catalogue import PRODUCTS, Product

#: The most pieces of one product. A larger number is a typing error.
MAX_QUANTITY = 99
#: Every product costs less than this. A stored price above it is damaged data.
MAX_PRICE = 1_000_000
#: The most characters of an order number. The numbers of this site have 16.
MAX_ORDER_LENGTH = 64


class Line(NamedTuple):
    """One product in the cart with its quantity and price."""

    product: Product
    quantity: int
    price: Decimal

    @property
    def total(self) -> Decimal:
        return self.price * self.quantity


def lines() -> list[Line]:
    """Return the lines of the cart, in the order of the catalogue. Reading does not create a cart."""
    items = _items()
    return [
        Line(product, items[slug]["quantity"], items[slug].get("price", product.price))
        for slug, product in PRODUCTS.items()
        if slug in items
    ]


def count() -> int:
    """Return the number of items in the cart."""
    return sum(line.quantity for line in lines())


def total() -> Decimal:
    """Return the total price of the cart."""
    return sum((line.total for line in lines()), Decimal(0))


def add(product: Product, quantity: int = 1) -> int:
    """Add a product to the cart, and return its quantity after that."""
    cart = _cart()
    if cart is None:
        cart = user_session["cart"] = {}
    cart.setdefault("order", _new_order())
    items = cart.setdefault("items", {})
    item = items.setdefault(product.slug, {"quantity": 0, "price": product.price, "added": datetime.now(UTC)})
    item["quantity"] = min(item["quantity"] + quantity, MAX_QUANTITY)
    return int(item["quantity"])


def change(product: Product, quantity: int) -> None:
    """Set the quantity of a product that is in the cart. Zero removes the product."""
    if quantity == 0:
        remove(product)
    elif product.slug in _items():
        _items()[product.slug]["quantity"] = quantity


def remove(product: Product) -> None:
    """Remove a product from the cart, if it is there."""
    _items().pop(product.slug, None)


def empty() -> None:
    """Remove all items from the cart."""
    _items().clear()


def order_number() -> str:
    """Return the order number of the cart, which must not be empty."""
    cart = _cart()
    assert cart is not None
    number: str = cart.setdefault("order", _new_order())
    return number


def remove_bought(quantities: Mapping[str, int]) -> None:
    """Remove the bought quantities, by slug, and give the rest of the cart a new order number."""
    items = _items()
    for slug, quantity in quantities.items():
        if slug in items and items[slug]["quantity"] > quantity:
            items[slug]["quantity"] -= quantity
        else:
            items.pop(slug, None)
    cart = _cart()
    if cart is not None:
        cart["order"] = _new_order()


def merged_count() -> int:
    """Return how many items the last login added to the cart; 0 after an undo or a purchase."""
    for merged in user_session.merged:
        if merged.key == "cart" and _part(merged.after, "order") == _part(user_session.get("cart"), "order"):
            return _count(merged.after) - _count(merged.before)
    return 0


def undo_login() -> bool:
    """Remove the items that the last login added. Return False if there were none. Later changes stay."""
    changed = any(value.key == "cart" for value in user_session.undo_merge())
    cart = _cart()
    if cart is not None and _items():
        # The undo may have removed the order number together with the items.
        cart.setdefault("order", _new_order())
    return changed


def merge(base: Any, theirs: Any, mine: Any) -> dict[str, Any]:
    """Merge two carts that were changed at the same time. The result has the changes of both.

    This is the site's merge strategy for the cart (``USER_SESSION_MERGE``). If two devices add the same product at the
    same time, both count. At login the visitor's items are added to the user's. Each of the three carts may be None.

    If both carts were bought, it was the same order, which was carried out once. So it is removed once, too.
    """
    before, there, here = (_part(cart, "order") for cart in (base, theirs, mine))
    if before is not None and before not in (there, here) and there is not None:
        return {"order": there, "items": _part(theirs, "items") or {}}
    number = here if there in (None, before) and here is not None else there
    items = _merge_items(*(_part(cart, "items") or {} for cart in (base, theirs, mine)))
    return {"items": items} if number is None else {"order": number, "items": items}


def _merge_items(before: dict[str, Any], other: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
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
    """Return whether a stored value is a valid cart. It may be damaged, or be of another version of the site."""
    if not isinstance(cart, dict):
        return False
    order, items = cart.get("order", ""), cart.get("items", {})
    is_order = isinstance(order, str) and order.isascii() and len(order) <= MAX_ORDER_LENGTH
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
