"""How many there are of each product. Redis knows, for all processes of the site at once.

What the hash does not hold yet has the catalogue's number: there is nothing to set up, and nothing that two starting
processes could set up twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .cart import Line
from .catalogue import PRODUCTS
from .optional import optional
from .redis_client import redis

#: A hash: how many are left, by the product's slug. In a cluster a script's keys must be on one server; what stands in
#: the braces sees to that.
STOCK = "sched:{stock}"
#: The channel that hears the slug of each product in the moment when the last one is sold.
SOLD_OUT = "sched:sold-out"
#: Seconds that an order is remembered: a day. The site may have died between taking the stock and noting in the cart
#: that it was bought, and whoever comes back to that cart the next morning must not buy it once more.
ORDER_SECONDS = 24 * 60 * 60

_TAKE = Path(__file__).with_name("take.lua").read_text(encoding="utf-8")


def left() -> dict[str, int]:
    """Return how many are left of each product; nothing at all while Redis does not answer."""
    return _left() or {}


@optional
def _left() -> dict[str, int]:
    known = redis.hmget(STOCK, list(PRODUCTS))
    return {
        product.slug: product.stock if number is None else int(number)
        for product, number in zip(PRODUCTS.values(), known, strict=True)
    }


def sold_out() -> set[str]:
    """Return the slugs of what nothing is left of."""
    return {slug for slug, number in left().items() if number == 0}


class Taken(NamedTuple):
    """What became of an order; each is by slug."""

    #: What is the buyer's now; nothing, if something is missing.
    taken: dict[str, int]
    #: How many there are of what there is not enough of.
    missing: dict[str, int]
    #: Whether somebody else had the order carried out before, with what ``taken`` says.
    already: bool


def take(order: str, lines: Iterable[Line]) -> Taken:
    """Take everything out of the stock, or nothing if there is not enough of something; no other buyer comes between.

    An order is carried out once, whoever asks for it and how often. Raises RedisError.
    """
    # Of this call. The client may send the script again if the first answer was lost, and that is not another buyer.
    attempt = secrets.token_hex(16)
    wanted = [part for line in lines for part in (line.product.slug, line.quantity, line.product.stock)]
    what, *rest = redis.register_script(_TAKE)(
        keys=[STOCK, f"{STOCK}:order:{order}"], args=[SOLD_OUT, ORDER_SECONDS, attempt, *wanted]
    )
    numbers = dict(zip(rest[::2], map(int, rest[1::2]), strict=True))
    if what == "missing":
        return Taken({}, numbers, already=False)
    return Taken(numbers, {}, already=what == "already")


def restock() -> None:
    """Fill the shelf as the catalogue says. Raises RedisError."""
    del redis[STOCK]
