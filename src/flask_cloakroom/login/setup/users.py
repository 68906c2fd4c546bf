"""User objects: base classes, and the flags ``is_authenticated``, ``is_active``, ``is_anonymous`` in both forms."""

from __future__ import annotations

import inspect
from typing import Any, Final

from ...sessions import register_type

#: The attributes that :data:`flask_cloakroom.current_user` has in both forms: as a value and as a method.
FLAGS: Final = frozenset({"is_authenticated", "is_active", "is_anonymous"})


class Flag(int):
    """A bool that can be read (``user.is_active``, today's form) or called (``user.is_active()``, the older form).

    A flag equals a bool and prints as a bool. Two things differ: ``is True`` is false, and JSON has 1 or 0. Use
    ``bool()`` in these cases.
    """

    __slots__ = ()

    def __new__(cls, value: object) -> Flag:
        """Return the flag for the truth of a value."""
        return super().__new__(cls, bool(value))

    def __call__(self) -> bool:
        """Return the flag as a bool."""
        return bool(self)

    def __repr__(self) -> str:
        return repr(bool(self))

    __str__ = __repr__


register_type(Flag, name="flask_cloakroom.Flag", encode=bool, decode=bool)


def as_flag(value: Any, name: str) -> Any:
    """Return the value of the user attribute ``name``: ``value``, or its return value if it is a method.

    If the method were not called, its value would always be true. Raises TypeError if the method is async.
    """
    if not callable(value) or isinstance(value, Flag):
        return value
    answer = value()
    if inspect.isawaitable(answer):
        close = getattr(answer, "close", None)
        if close is not None:
            close()  # otherwise Python warns that nobody awaited the coroutine
        raise TypeError(f"{name} of a user object must not be async: its coroutine is always true. Make it a property")
    return Flag(answer)


def is_set(user: Any, name: str) -> bool:
    """Return whether a flag of a user object is true, as a value or as a method.

    Raises AttributeError if the object does not have the flag, and TypeError if the flag is async.
    """
    return bool(as_flag(getattr(user, name), name))


class UserMixin:
    """Base class for users: active, authenticated, not anonymous, and ``get_id()`` returns ``id``.

    ``is_authenticated`` is the value of ``is_active``. A class may override ``is_active`` with a property, a method or
    a database column.
    """

    # Python sets __hash__ to None in a class that defines __eq__.
    __hash__ = object.__hash__

    @property
    def is_active(self) -> bool:
        """Whether the user may log in: True. If a class returns False, the user's logins end at their next request."""
        return Flag(True)  # type: ignore[return-value]  # a bool that can be called

    @property
    def is_authenticated(self) -> bool:
        """Whether the user is active."""
        return Flag(is_set(self, "is_active"))  # type: ignore[return-value]

    @property
    def is_anonymous(self) -> bool:
        """Whether the user is anonymous: always False."""
        return Flag(False)  # type: ignore[return-value]

    def get_id(self) -> str:
        """Return ``id`` as a str. Raises NotImplementedError if the user has no ``id``."""
        try:
            return str(self.id)  # type: ignore[attr-defined]
        except AttributeError:
            raise NotImplementedError("No `id` attribute - override `get_id`") from None

    def __eq__(self, other: object) -> Any:
        """Return whether both objects have the same id."""
        return self.get_id() == other.get_id() if isinstance(other, UserMixin) else NotImplemented


class AnonymousUserMixin:
    """The class of ``current_user`` when nobody is logged in."""

    @property
    def is_authenticated(self) -> bool:
        """Whether the user is logged in: always False."""
        return Flag(False)  # type: ignore[return-value]

    @property
    def is_active(self) -> bool:
        """Whether the user may log in: always False."""
        return Flag(False)  # type: ignore[return-value]

    @property
    def is_anonymous(self) -> bool:
        """Whether the user is anonymous: always True."""
        return Flag(True)  # type: ignore[return-value]

    def get_id(self) -> str | None:
        """Return None, because an anonymous user has no id."""
        return None
