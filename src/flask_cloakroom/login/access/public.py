"""Which views are for everybody: a mark on the function itself, never on its name, which another may have too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import MethodType
from typing import Any, Final, TypeVar

from flask.views import MethodView

V = TypeVar("V", bound=Callable[..., Any])

_MARK: Final = "_flask_cloakroom_public"


def public(view: V) -> V:
    """Mark a view as being for everybody, where :func:`require_login` wants a login of all others.

    Above or below ``@app.route``; for a class of views on the class, on one of its methods, or in ``decorators``. The
    mark is on this function, at whatever URLs it serves, and shows through decorators that use ``functools.wraps``. A
    class does not have it from its parents. What else the view asks for, as with :func:`login_required`, holds.

    Raises TypeError for a bound method, whose function belongs to other objects as well: mark it in the class.
    """
    if isinstance(view, MethodType):
        raise TypeError(f"mark {view.__qualname__} as public in its class, because all of its objects share it")
    setattr(view, _MARK, True)
    return view


def is_public(view: Any, method: str) -> bool:
    """Tell whether a view is marked for this HTTP method. ``view`` is what Flask calls for an endpoint."""
    if _is_marked(view):
        return True
    cls = getattr(view, "view_class", None)
    if not isinstance(cls, type):
        return False
    return _MARK in vars(cls) or any(_is_marked(step) for step in _handlers(cls, method))


def wrapped_functions(view: Any) -> Iterator[Any]:
    """Yield the view and what it wraps, from the outside to the inside."""
    seen: set[int] = set()
    while view is not None and id(view) not in seen:
        seen.add(id(view))
        yield view
        view = view.func if isinstance(view, partial) else getattr(view, "__wrapped__", None)


def _is_marked(view: Any) -> bool:
    return any(_MARK in getattr(step, "__dict__", ()) for step in wrapped_functions(view))


def _handlers(cls: type, method: str) -> Iterator[Any]:
    """Yield the functions of a class of views that will answer."""
    yield getattr(cls, "dispatch_request", None)
    if issubclass(cls, MethodView):
        handler = getattr(cls, method.lower(), None)
        yield getattr(cls, "get", None) if handler is None and method == "HEAD" else handler
