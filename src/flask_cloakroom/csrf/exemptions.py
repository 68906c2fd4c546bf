"""Exemptions: views, blueprints and paths that the protection does not check.

A view is compared by its function or class and not by its name, so another view of the same name stays protected.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Blueprint

if TYPE_CHECKING:
    from flask import Flask, Request

T = TypeVar("T", bound="Blueprint | Callable[..., Any]")


class Views:
    """A set of views and blueprints that the application fills while it is set up."""

    def __init__(self, decorator: str) -> None:
        """Make an empty set. ``decorator`` is the name of the method that fills it, for the error message."""
        self._decorator = decorator
        self._views: set[Callable[..., Any]] = set()
        self._blueprints: set[Blueprint] = set()

    def add(self, added: T) -> T:
        """Add a view function, a view class, or a blueprint with all blueprints in it. Return the argument.

        Raises TypeError for an argument of another type.
        """
        if isinstance(added, Blueprint):
            self._blueprints.add(added)
        elif callable(added):
            self._views.add(added)
        else:
            raise TypeError(
                f"{self._decorator}() takes a view function or a Blueprint, not {type(added).__name__}, because two "
                "views can have the same name. Pass app.view_functions[endpoint]"
            )
        return added

    def covers(self, app: Flask, request: Request) -> bool:
        """Return True if the set contains the view of a request, or a blueprint that contains the view."""
        if self._blueprints and any(app.blueprints.get(name) in self._blueprints for name in request.blueprints):
            return True
        if not self._views or request.endpoint is None:
            return False
        view: Any = app.view_functions.get(request.endpoint)
        if getattr(view, "view_class", None) in self._views:
            return True
        while view is not None:
            if isinstance(view, Hashable) and view in self._views:
                return True
            view = getattr(view, "__wrapped__", None)  # the function that a decorator wraps
        return False


class Paths:
    """Paths of this site. A path covers all paths below it: "/api" covers "/api/users", but not "/apistore"."""

    def __init__(self, urls: str | Iterable[str]) -> None:
        """Take one path or several. Raises ValueError for a text that does not begin with "/"."""
        paths = (urls,) if isinstance(urls, str) else tuple(urls)
        for path in paths:
            if not isinstance(path, str) or not path.startswith("/"):
                raise ValueError(f'exempt_urls() takes paths that begin with "/", as "/api", not {path!r}')
        self._exact = frozenset(paths)
        self._below = tuple(path if path.endswith("/") else f"{path}/" for path in paths)

    def covers(self, request: Request) -> bool:
        """Return True if the set contains the path of a request or a path above it.

        A request path with ".." is never covered: a forged link could use "/api%2F..%2Fadmin" to reach a view whose URL
        accepts any path. A plain "/api/../admin" is no danger, because browsers resolve it before they send it.
        """
        path = request.script_root + request.path
        if not {".", ".."}.isdisjoint(path.replace("\\", "/").split("/")):
            return False
        return path in self._exact or path.startswith(self._below)


def call_predicate(app: Flask, predicate: Callable[[Any], Any] | None, argument: Any) -> bool:
    """Call a function of the application, sync or async, and return its answer. Return False if ``predicate`` is None.

    The answer None counts as False. Raises TypeError for an answer other than True, False and None: a coroutine or a
    text would count as true by accident and switch the protection off.
    """
    if predicate is None:
        return False
    answer = app.ensure_sync(predicate)(argument)
    if answer is not None and not isinstance(answer, bool):
        name = getattr(predicate, "__name__", "the function")
        raise TypeError(f"{name}() must return True or False, not {type(answer).__name__}")
    return answer is True
