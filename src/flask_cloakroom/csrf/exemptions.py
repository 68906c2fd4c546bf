"""What is not protected: views and blueprints, each as the object that it is, URLs, and what a function says.

Two views of one name share nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Blueprint

if TYPE_CHECKING:
    from flask import Flask, Request

T = TypeVar("T", bound="Blueprint | Callable[..., Any]")


class Views:
    """A set of views, filled while the application is set up, and asked at each request that is checked."""

    def __init__(self, decorator: str) -> None:
        """``decorator`` is what fills it, for the error."""
        self._decorator = decorator
        self._views: set[Callable[..., Any]] = set()
        self._blueprints: set[Blueprint] = set()

    def add(self, added: T) -> T:
        """Add a view, a class of views, or all views of a blueprint and of those in it. Raises TypeError for others."""
        if isinstance(added, Blueprint):
            self._blueprints.add(added)
        elif callable(added):
            self._views.add(added)
        else:
            raise TypeError(
                f"{self._decorator}() takes a view function or a Blueprint, not {type(added).__name__}: by a name "
                "another view of the same name would be meant as well; give it app.view_functions[endpoint]"
            )
        return added

    def cover(self, app: Flask, request: Request) -> bool:
        """Tell whether the view of a request is one of them, itself or by a blueprint that it is in, however deep."""
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
            view = getattr(view, "__wrapped__", None)  # what another decorator was put around
        return False


class Paths:
    """URLs of this site, each with all that lies below it: "/api" is also "/api/users", and not "/apistore"."""

    def __init__(self, urls: str | Iterable[str]) -> None:
        """Take paths from the server's root, one or several. Raises ValueError for what is none."""
        given = (urls,) if isinstance(urls, str) else tuple(urls)
        for url in given:
            if not isinstance(url, str) or not url.startswith("/"):
                raise ValueError(f'exempt_urls() takes paths that begin with "/", as "/api", not {url!r}')
        self._exact = frozenset(given)
        self._below = tuple(url if url.endswith("/") else f"{url}/" for url in given)

    def cover(self, request: Request) -> bool:
        """Tell whether a request is for one of them, or for what lies below.

        "/api/../admin" is not: browsers never send it but as "/api%2F..%2Fadmin", to get at a view that takes any path.
        """
        path = request.script_root + request.path
        if not {".", ".."}.isdisjoint(path.replace("\\", "/").split("/")):
            return False
        return path in self._exact or path.startswith(self._below)


def is_yes(app: Flask, function: Callable[[Any], Any] | None, asked: Any) -> bool:
    """Return what an application's function, which may be async, says; no, if there is none.

    Raises TypeError for anything but True, False and None: much that is not meant as a yes counts as true.
    """
    if function is None:
        return False
    said = app.ensure_sync(function)(asked)
    if said is not None and not isinstance(said, bool):
        name = getattr(function, "__name__", "the function")
        raise TypeError(f"{name}() must return True or False, not {type(said).__name__}")
    return said is True
