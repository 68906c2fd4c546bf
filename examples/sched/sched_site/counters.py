"""Counters of page views. Redis increments them, so that two views at the same moment both count."""

from __future__ import annotations

from .catalogue import Product
from .optional import none_if_redis_is_down
from .redis_client import redis

#: A number: views of the shop.
VISITS = "sched:visits"
#: A hash: views of each product, by its slug.
VIEWS = "sched:views"


@none_if_redis_is_down
def count_visit() -> int:
    """Count one view of the shop, and return the number of views."""
    return int(redis.incr(VISITS))


@none_if_redis_is_down
def count_view(product: Product) -> int:
    """Count one view of a product, and return the number of its views."""
    return int(redis.hincrby(VIEWS, product.slug, 1))
