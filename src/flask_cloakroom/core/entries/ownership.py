"""The owner of an entry: the text about a user and a login in the entry's header."""

from __future__ import annotations

import secrets
from typing import Any, Final, NamedTuple

from ..values import codec, own_keys
from ..values.own_keys import USER_KEY
from ..values.rebase import Values

#: Length of a handle in random bytes. A handle has 72 bits, so two logins never get the same handle by chance.
HANDLE_BYTES: Final = 9


class Ownership(NamedTuple):
    """The owner of a session or token family, and the login that the session or token family belongs to."""

    #: The owner's name in the store, which :meth:`.tickets.Tickets.owner_name` returns.
    name: str
    #: The handle of the login. A rotation does not change the handle.
    handle: str
    #: The device note of the login. No module in the folder ``core`` reads the device note.
    note: str = ""

    def __str__(self) -> str:
        return ".".join(self)

    @classmethod
    def parse(cls, text: str) -> Ownership | None:
        """Return the owner in the header text ``text``, which ``str()`` of an owner made.

        Return None for the text of a session without an owner.
        """
        parts = text.split(".", 2)
        return cls(*parts) if len(parts) == 3 else None


class NewLogin(NamedTuple):
    """The device note and the handle of a login that is about to begin."""

    #: The device note.
    note: str = ""
    #: The handle of the login's token family, if the login has one; "" gives the login a new handle.
    handle: str = ""


UNDESCRIBED: Final = NewLogin()


def new_handle() -> str:
    """Return a new handle for a login."""
    return secrets.token_urlsafe(HANDLE_BYTES)


def user_id_in(values: Values) -> Any:
    """Return the user id in a session's values. Return None if the values have no user id, or if it cannot be read."""
    packed = values.get(USER_KEY)
    try:
        return None if packed is None else own_keys.unpack(USER_KEY, packed)
    except codec.CodecError:
        return None
