"""What a visitor has looked at, newest first.

The list is under a random id that is put into the session when the first product is looked at. It is not under the
session's ticket, which changes at login and which only the browser should know; nor under the user's name, which most
visitors do not have. It lies beside the session, and not in it, because a look at a product then changes no session.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from flask import session

from .catalogue import PRODUCTS, Product
from .optional import optional
from .redis_client import redis

#: So many are remembered,
KEEP = 5
#: for so many seconds since the last look: a week.
SECONDS = 7 * 24 * 60 * 60


@optional
def look(product: Product) -> list[Product]:
    """Remember that the visitor looks at the product, and return what they looked at before."""
    visitor = _visitor() or secrets.token_urlsafe(16)
    key = _key(visitor)
    redis.multi()
    redis.lrem(key, 0, product.slug)
    redis.lrange(key, 0, KEEP - 1)
    redis.lpush(key, product.slug)
    redis.ltrim(key, 0, KEEP - 1)
    redis.expire(key, SECONDS)
    slugs = redis.exec()[1]
    # Only now, so that without Redis no session begins, which could not be saved there either.
    session["visitor"] = visitor
    return _products(slugs)


@optional
def seen() -> list[Product]:
    """Return what the visitor looked at. Who has looked at nothing is not asked for."""
    visitor = _visitor()
    return _products(redis.lrange(_key(visitor), 0, KEEP - 1)) if visitor else []


@optional
def forget() -> None:
    """Forget what the visitor looked at."""
    if visitor := _visitor():
        redis.delete(_key(visitor))


def _visitor() -> str | None:
    """Return the session's id for the list, if it is one: what Redis cannot take as a key is none of ours."""
    visitor = session.get("visitor")
    return visitor if isinstance(visitor, str) and visitor.isascii() else None


def _key(visitor: str) -> str:
    return f"sched:recent:{visitor}"


def _products(slugs: Iterable[object]) -> list[Product]:
    return [PRODUCTS[str(slug)] for slug in slugs if slug in PRODUCTS]
