"""Calling an application's functions, async ones too, and taking them at their word: yes, or else no."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ...context import this_app
from .users import Flag


def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call an application's function, which may be async.

    In an async view there is a loop in this thread, and a second one needs a thread of its own.
    """
    if not inspect.iscoroutinefunction(function):
        return function(*arguments, **named)
    # Here, because it takes longer to import than all of this package, and few applications need it.
    import asyncio
    import contextvars
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
            # What it set is seen here, as where there is no loop and no thread.
            for variable, value in context.items():
                if variable.get(context) is not value:
                    variable.set(value)


def is_allowed(function: Callable[..., Any], *arguments: Any, **named: Any) -> bool:
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
