"""Exemptions: views, blueprints and paths that the protection does not check.

A view counts as the function or class itself, so that another view of the same name stays protected.
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

        Raises TypeError for anything else.
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
        """Return True if the set has the view of a request, or a blueprint around that view."""
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
            view = getattr(view, "__wrapped__", None)  # the function inside another decorator
        return False


class Paths:
    """Paths of this site with everything below them: "/api" covers "/api/users", but not "/apistore"."""

    def __init__(self, urls: str | Iterable[str]) -> None:
        """Take one path or several, from the server's root. Raises ValueError for a text that is not such a path."""
        paths = (urls,) if isinstance(urls, str) else tuple(urls)
        for path in paths:
            if not isinstance(path, str) or not path.startswith("/"):
                raise ValueError(f'exempt_urls() takes paths that begin with "/", as "/api", not {path!r}')
        self._exact = frozenset(paths)
        self._below = tuple(path if path.endswith("/") else f"{path}/" for path in paths)

    def covers(self, request: Request) -> bool:
        """Return True if the path of a request is one of these paths or lies below one of them.

        A path with ".." in it is never covered: a forged link could use "/api%2F..%2Fadmin" to reach a view that takes
        any path. Browsers resolve a plain "/api/../admin" before they send it.
        """
        path = request.script_root + request.path
        if not {".", ".."}.isdisjoint(path.replace("\\", "/").split("/")):
            return False
        return path in self._exact or path.startswith(self._below)


def call_predicate(app: Flask, predicate: Callable[[Any], Any] | None, argument: Any) -> bool:
    """Call a function of the application, which may be async, and return its answer. None as the function means False.

    Raises TypeError for an answer other than True, False and None. A coroutine or a text would count as true by
    accident and switch the protection off.
    """
    if predicate is None:
        return False
    answer = app.ensure_sync(predicate)(argument)
    if answer is not None and not isinstance(answer, bool):
        name = getattr(predicate, "__name__", "the function")
        raise TypeError(f"{name}() must return True or False, not {type(answer).__name__}")
    return answer is True
