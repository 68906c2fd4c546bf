"""Call an application's callbacks, sync or async, and reject answers that are true by accident, such as a coroutine."""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import Callable
from typing import Any

from ...context import this_app
from .users import Flag


def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call an application's function, which may be async, and return its value.

    An async view has an event loop in this thread. Then an async function runs in a thread of its own, because a thread
    can have only one loop.
    """
    if not inspect.iscoroutinefunction(function):
        return function(*arguments, **named)
    # Imported here, because asyncio takes longer to import than this package, and few applications need it.
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    function = this_app().ensure_sync(function)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function(*arguments, **named)
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(context.run, function, *arguments, **named).result()
        finally:
            # Copy context variables that the function set, such as the request's user, to the caller's context.
            for variable, value in context.items():
                if variable.get(context) is not value:
                    variable.set(value)


def is_allowed(function: Callable[..., Any], *arguments: Any, **named: Any) -> bool:
    """Return whether a function, which may be async, returns a true value.

    Raises TypeError if the function returns a coroutine or another function. Python counts both as true, although
    neither is an answer.
    """
    answer = call(function, *arguments, **named)
    if inspect.isawaitable(answer):
        close = getattr(answer, "close", None)
        if close is not None:
            close()  # otherwise Python warns that nobody awaited the coroutine
        raise TypeError("the function for a permission returned a coroutine, which is always true. Make it async def")
    if callable(answer) and not isinstance(answer, Flag):
        raise TypeError("the function for a permission returned a function, which is always true. Call that function")
    return bool(answer)
