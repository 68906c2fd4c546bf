"""How often the shelf and each product were looked at. Redis counts, so no two looks at one moment count as one."""

from __future__ import annotations

from .catalogue import Product
from .optional import optional
from .redis_client import redis

#: A number: looks at the shelf.
VISITS = "sched:visits"
#: A hash: looks at each product, by its slug.
VIEWS = "sched:views"


@optional
def count_visit() -> int:
    """Count one look at the shelf, and return how many that makes."""
    return int(redis.incr(VISITS))


@optional
def count_view(product: Product) -> int:
    """Count one look at the product, and return how many that makes."""
    return int(redis.hincrby(VIEWS, product.slug, 1))
