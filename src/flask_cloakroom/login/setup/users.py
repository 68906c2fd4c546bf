"""User objects: the flags ``is_authenticated``, ``is_active``, ``is_anonymous`` in both forms, and what to inherit."""

from __future__ import annotations

import inspect
from typing import Any, Final

from ...sessions import register_type

#: The names for which :data:`flask_cloakroom.current_user` takes both forms.
FLAGS: Final = frozenset({"is_authenticated", "is_active", "is_anonymous"})


class Flag(int):
    """True or False, to be read (``user.is_active``, today's form) or called (``user.is_active()``, the older one).

    It is equal to a bool, prints as one, and is true where one is. Only ``is True`` fails, because nothing but True
    is True, and JSON has it as 1 or 0. Put ``bool()`` around it there.
    """

    __slots__ = ()

    def __new__(cls, value: object) -> Flag:
        """Return the flag for whatever is true or false."""
        return super().__new__(cls, bool(value))

    def __call__(self) -> bool:
        """Return it as a bool."""
        return bool(self)

    def __repr__(self) -> str:
        return repr(bool(self))

    __str__ = __repr__


register_type(Flag, name="flask_cloakroom.Flag", encode=bool, decode=bool)


def as_flag(value: Any, name: str) -> Any:
    """Return what a flag's attribute says: called if it is a method, so that no method counts as true.

    Raises TypeError if the method is a coroutine function, whose coroutine would count as true.
    """
    if not callable(value) or isinstance(value, Flag):
        return value
    said = value()
    if inspect.isawaitable(said):
        close = getattr(said, "close", None)
        if close is not None:
            close()  # or Python warns that nobody awaited it
        raise TypeError(f"{name} of a user object must not be async: everything that it says would count as true")
    return Flag(said)


def is_set(user: Any, name: str) -> bool:
    """Tell what the user object says, in either form. Raises AttributeError if it says nothing, TypeError as above."""
    return bool(as_flag(getattr(user, name), name))


class UserMixin:
    """For a user class: says that the user is active, authenticated and not anonymous, and takes the id from ``id``.

    A class that overrides ``is_active``, as a property, a method or a column, decides about ``is_authenticated`` too.
    """

    # A class with __eq__ loses it otherwise.
    __hash__ = object.__hash__

    @property
    def is_active(self) -> bool:
        """True. Say False for an account that is switched off: it cannot log in, and a login of it ends."""
        return Flag(True)  # type: ignore[return-value]  # as good as a bool, and can be called

    @property
    def is_authenticated(self) -> bool:
        """Whether the user is active."""
        return Flag(is_set(self, "is_active"))  # type: ignore[return-value]

    @property
    def is_anonymous(self) -> bool:
        """False."""
        return Flag(False)  # type: ignore[return-value]

    def get_id(self) -> str:
        """Return ``id`` as a str. Raises NotImplementedError if there is no ``id``."""
        try:
            return str(self.id)  # type: ignore[attr-defined]
        except AttributeError:
            raise NotImplementedError("No `id` attribute - override `get_id`") from None

    def __eq__(self, other: object) -> Any:
        """Two user objects are the same user if they have the same id."""
        return self.get_id() == other.get_id() if isinstance(other, UserMixin) else NotImplemented


class AnonymousUserMixin:
    """What ``current_user`` is when nobody is logged in."""

    @property
    def is_authenticated(self) -> bool:
        """False."""
        return Flag(False)  # type: ignore[return-value]

    @property
    def is_active(self) -> bool:
        """False."""
        return Flag(False)  # type: ignore[return-value]

    @property
    def is_anonymous(self) -> bool:
        """True."""
        return Flag(True)  # type: ignore[return-value]

    def get_id(self) -> str | None:
        """Return None."""
        return None
