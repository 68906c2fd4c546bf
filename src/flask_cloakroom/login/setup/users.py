"""What user objects inherit: the flags in both forms, and the id."""

from __future__ import annotations

from typing import Any

from .flags import Flag, is_set


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
