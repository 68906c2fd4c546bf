"""The products of the shop. Prices are Decimal, in the session too."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple


class Product(NamedTuple):
    """One product. ``icon`` and ``tint`` are names of the CSS toolkit.

    ``stock`` is the number of pieces before the first sale.
    """

    slug: str
    name: str
    blurb: str
    price: Decimal
    icon: str
    tint: str
    stock: int = 5


def money(amount: Decimal) -> str:
    """Return an amount as a price, such as "€12.40"."""
    return f"€{amount:,.2f}"


def items_text(number: int) -> str:
    """Return a number of items in words, such as "1 item" or "2 items"."""
    return "1 item" if number == 1 else f"{number} items"


PRODUCTS = {
    product.slug: product
    for product in (
        Product(
            "half-hour-voucher",
            "Half-hour voucher",
            "Thirty minutes of someone’s undivided attention. Wrap it up, give it away.",
            Decimal("25.00"),
            "gift",
            "primary",
            stock=3,
        ),
        Product(
            "tea-for-two",
            "Tea for two",
            "An appointment that nobody wants to move: one pot, two cups, a window seat.",
            Decimal("18.50"),
            "cup-hot",
            "warning",
        ),
        Product(
            "wall-calendar",
            "Wall calendar",
            "Twelve months, all of them in order. Room for one good plan a day.",
            Decimal("14.90"),
            "calendar3",
            "success",
        ),
        Product(
            "pocket-diary",
            "Pocket diary",
            "Never asks to be charged, never sends a notification. Ribbon included.",
            Decimal("11.20"),
            "journal-bookmark",
            "danger",
        ),
        Product(
            "fountain-pen",
            "Fountain pen",
            "For dates that are meant to be kept. Pencil is for maybe.",
            Decimal("32.00"),
            "vector-pen",
            "info",
            stock=1,
        ),
        Product(
            "sand-timer",
            "Sand timer",
            "Three minutes exactly, for the meeting that could have been a note.",
            Decimal("9.75"),
            "hourglass-split",
            "warning",
        ),
        Product(
            "desk-bell",
            "Desk bell",
            "One clear ring says “next, please” better than any email.",
            Decimal("12.40"),
            "bell",
            "primary",
            stock=2,
        ),
        Product(
            "sticky-notes",
            "Sticky notes",
            "A hundred small promises in four colours, each easy to move.",
            Decimal("3.95"),
            "stickies",
            "success",
        ),
        Product(
            "cloakroom-tickets",
            "Cloakroom tickets",
            "A roll of five hundred. Hand in a coat, get a number, get the coat back.",
            Decimal("6.60"),
            "ticket-perforated",
            "danger",
        ),
    )
}
