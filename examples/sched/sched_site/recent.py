"""The products that a visitor viewed recently, the newest first.

The list is in Redis. Its key contains a random id, which the session gets with the first product. The ticket would not
do as a key, because it changes at login and is secret. The username would not do, because most visitors have none. The
list is not in the session itself, so that viewing a product does not change the session.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from flask import session

from .catalogue import PRODUCTS, Product
from .optional import none_if_redis_is_down
from .redis_client import redis

#: The most products in the list.
MAX_PRODUCTS = 5
#: Seconds after the last view until the list expires: a week.
EXPIRES_AFTER = 7 * 24 * 60 * 60


@none_if_redis_is_down
def add(product: Product) -> list[Product]:
    """Add a product to the visitor's list, and return the products that were viewed before."""
    visitor = _visitor() or secrets.token_urlsafe(16)
    key = _key(visitor)
    redis.multi()
    redis.lrem(key, 0, product.slug)
    redis.lrange(key, 0, MAX_PRODUCTS - 1)
    redis.lpush(key, product.slug)
    redis.ltrim(key, 0, MAX_PRODUCTS - 1)
    redis.expire(key, EXPIRES_AFTER)
    slugs = redis.exec()[1]
    # Only after the answer of Redis. While Redis is down, no session is created, which could not be saved either.
    session["visitor"] = visitor
    return _products(slugs)


@none_if_redis_is_down
def products() -> list[Product]:
    """Return the visitor's list. A visitor without a list costs no command."""
    visitor = _visitor()
    return _products(redis.lrange(_key(visitor), 0, MAX_PRODUCTS - 1)) if visitor else []


@none_if_redis_is_down
def clear() -> None:
    """Delete the visitor's list."""
    if visitor := _visitor():
        redis.delete(_key(visitor))


def _visitor() -> str | None:
    """Return the id in the session, if it is valid. A damaged session could hold a value that Redis refuses."""
    visitor = session.get("visitor")
    return visitor if isinstance(visitor, str) and visitor.isascii() else None


def _key(visitor: str) -> str:
    return f"sched:recent:{visitor}"


def _products(slugs: Iterable[object]) -> list[Product]:
    return [PRODUCTS[str(slug)] for slug in slugs if slug in PRODUCTS]
