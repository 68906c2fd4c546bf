"""``public``: marks a view that needs no login. The mark is on the function, because two views may have one name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import MethodType
from typing import Any, Final, TypeVar

from flask.views import MethodView

V = TypeVar("V", bound=Callable[..., Any])

_MARK: Final = "_flask_cloakroom_public"


def public(view: V) -> V:
    """Mark a view as public, so that :func:`require_login` requires no login for it. Returns the view.

    Write the decorator above or below ``@app.route``. For a class-based view, write it on the class, on one of its
    methods, or in ``decorators``. The mark is valid for all URLs of the view, and also if another decorator with
    ``functools.wraps`` is above it. A subclass does not inherit the mark. :func:`login_required` on the same view still
    requires a login.

    Raises TypeError for a bound method, because the mark would be valid for all objects of its class.
    """
    if isinstance(view, MethodType):
        raise TypeError(f"{view.__qualname__} is a bound method. Mark {view.__qualname__} as public in its class")
    setattr(view, _MARK, True)
    return view


def is_public(view: Any, method: str) -> bool:
    """Return whether a view is marked as public for this HTTP method. ``view`` is from ``app.view_functions``."""
    if _is_marked(view):
        return True
    cls = getattr(view, "view_class", None)
    if not isinstance(cls, type):
        return False
    return _MARK in vars(cls) or any(_is_marked(step) for step in _handlers(cls, method))


def wrapped_functions(view: Any) -> Iterator[Any]:
    """Yield a view and the functions that it wraps, the outermost first."""
    seen: set[int] = set()
    while view is not None and id(view) not in seen:
        seen.add(id(view))
        yield view
        view = view.func if isinstance(view, partial) else getattr(view, "__wrapped__", None)


def _is_marked(view: Any) -> bool:
    return any(_MARK in getattr(step, "__dict__", ()) for step in wrapped_functions(view))


def _handlers(cls: type, method: str) -> Iterator[Any]:
    """Yield the functions of a class-based view that run for an HTTP method."""
    yield getattr(cls, "dispatch_request", None)
    if issubclass(cls, MethodView):
        handler = getattr(cls, method.lower(), None)
        yield getattr(cls, "get", None) if handler is None and method == "HEAD" else handler
