"""What a page can do without while Redis does not answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import g
from redis.exceptions import RedisError

P = ParamSpec("P")
T = TypeVar("T")


def optional(function: Callable[P, T]) -> Callable[P, T | None]:
    """Make a function return None when Redis does not answer, so that its page is shown without what it brings.

    After that Redis is not asked again in this request: the page would wait once more for each part of it.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T | None:
        if g.get("redis_is_away", False):
            return None
        try:
            return function(*args, **kwargs)
        except RedisError:  # the package has logged it
            g.redis_is_away = True
            return None

    return call
