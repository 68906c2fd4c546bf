"""Functions whose results a page can do without while Redis is down."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import g
from redis.exceptions import RedisError

P = ParamSpec("P")
T = TypeVar("T")


def none_if_redis_is_down(function: Callable[P, T]) -> Callable[P, T | None]:
    """Decorate a function so that it returns None if Redis does not answer. The page is then shown without its result.

    After the first failure the request does not ask Redis again. Otherwise the page would wait for every timeout.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T | None:
        if g.get("redis_is_down", False):
            return None
        try:
            return function(*args, **kwargs)
        except RedisError:  # which Flask-Cloakroom has logged
            g.redis_is_down = True
            return None

    return call
