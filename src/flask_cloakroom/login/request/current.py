"""``current_user``: who makes this request."""

from __future__ import annotations

from typing import Any

from flask import has_request_context
from werkzeug.local import LocalProxy

from ..setup.users import FLAGS, as_flag
from .loading import user_of
from .state import this_login


def get_user() -> Any:
    """Return the request's user, loaded at the first call; an anonymous one if nobody is logged in.

    None outside of a request.
    """
    if not has_request_context():
        return None
    return user_of(this_login())


class UserProxy(LocalProxy[Any]):
    """Stands for the request's user, and has their flags in both forms whatever class they are of."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._get_current_object(), name)
        return as_flag(value, name) if name in FLAGS else value


#: The user who makes the present request, or an anonymous one. Loaded when it is first used, and in every template.
current_user: Any = UserProxy(get_user)


def user_context() -> dict[str, Any]:
    """Return what templates get: the proxy, and not the user, so that a page which asks nothing loads nothing."""
    return {"current_user": current_user}
