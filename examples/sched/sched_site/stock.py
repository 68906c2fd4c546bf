"""The stock of each product, in Redis, so that all processes of the site share it.

A product that is missing in the hash has the stock of the catalogue. So the stock needs no setup, which two processes
could do twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .cart import Line
from .catalogue import PRODUCTS
from .optional import none_if_redis_is_down
from .redis_client import redis

#: A hash: the number of pieces left, by the product's slug. In a cluster the text in braces puts all keys of the script
#: on the same server.
STOCK = "sched:{stock}"
#: A channel: the slug of a product when its last piece is sold.
SOLD_OUT = "sched:sold-out"
#: Seconds that an order number is remembered: a day. If the site crashes between the update of the stock and the update
#: of the cart, the cart is still full, and the user must not buy the same cart again the next morning.
ORDER_SECONDS = 24 * 60 * 60

_TAKE = Path(__file__).with_name("take.lua").read_text(encoding="utf-8")


def left() -> dict[str, int]:
    """Return the number of pieces left of each product, by slug; an empty dict while Redis is down."""
    return _left() or {}


@none_if_redis_is_down
def _left() -> dict[str, int]:
    known = redis.hmget(STOCK, list(PRODUCTS))
    return {
        product.slug: product.stock if number is None else int(number)
        for product, number in zip(PRODUCTS.values(), known, strict=True)
    }


def sold_out() -> set[str]:
    """Return the slugs of the products that are sold out."""
    return {slug for slug, number in left().items() if number == 0}


class Outcome(NamedTuple):
    """The result of an order. The dicts are by slug."""

    #: The quantities that were bought; empty if a product is missing.
    taken: dict[str, int]
    #: The numbers of pieces left of the products that are missing.
    missing: dict[str, int]
    #: Whether another request has carried out the order before. ``taken`` is then its result.
    already: bool


def take(order: str, lines: Iterable[Line]) -> Outcome:
    """Take all lines of an order from the stock, or none of them if a product is missing, in one atomic step.

    An order number is carried out once, no matter how many requests send it. Raises RedisError.
    """
    # Names this call. The client may send the script again if the answer was lost, and that is not a second buyer.
    attempt = secrets.token_hex(16)
    wanted = [part for line in lines for part in (line.product.slug, line.quantity, line.product.stock)]
    what, *rest = redis.register_script(_TAKE)(
        keys=[STOCK, f"{STOCK}:order:{order}"], args=[SOLD_OUT, ORDER_SECONDS, attempt, *wanted]
    )
    numbers = dict(zip(rest[::2], map(int, rest[1::2]), strict=True))
    if what == "missing":
        return Outcome({}, numbers, already=False)
    return Outcome(numbers, {}, already=what == "already")


def restock() -> None:
    """Reset the stock to the numbers of the catalogue. Raises RedisError."""
    del redis[STOCK]
