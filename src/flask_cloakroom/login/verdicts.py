"""What an application's function decides: yes, or anything else for no. What only looks like a yes is an error."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from .flags import Flag
from .loading import call


def verdict(function: Callable[..., Any], *arguments: Any, **named: Any) -> bool:
    """Return what the function, which may be async, says.

    Raises TypeError if it returns a coroutine or a function: both count as true, and neither was asked.
    """
    said = call(function, *arguments, **named)
    if inspect.isawaitable(said):
        close = getattr(said, "close", None)
        if close is not None:
            close()  # or Python warns that nobody awaited it
        raise TypeError("what decides returned a coroutine, which would count as true: decorate an async function")
    if callable(said) and not isinstance(said, Flag):
        raise TypeError("what decides returned a function or method, which would count as true: call it")
    return bool(said)
