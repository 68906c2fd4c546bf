"""The owner of an entry, as the entry's header names them."""

from __future__ import annotations

import secrets
from typing import Any, Final, NamedTuple

from ..values import codec, own_keys
from ..values.own_keys import USER_KEY
from ..values.rebase import Values

#: Random bytes of a handle: 72 bits, so that no two logins get the same one.
HANDLE_BYTES: Final = 9


class Ownership(NamedTuple):
    """The owner of a session or token family, and the login that it belongs to."""

    #: The owner's name in the store: :meth:`.tickets.Tickets.owner_name`.
    name: str
    #: The login's handle. It stays the same through all rotations.
    handle: str
    #: The login's device note. The core does not read it.
    note: str = ""

    def __str__(self) -> str:
        return ".".join(self)

    @classmethod
    def parse(cls, text: str) -> Ownership | None:
        """Return the owner that ``str()`` made ``text`` from; None for a session without an owner."""
        parts = text.split(".", 2)
        return cls(*parts) if len(parts) == 3 else None


class NewLogin(NamedTuple):
    """The description of a login that is about to begin."""

    #: The device note.
    note: str = ""
    #: The handle, if a token family already has one for this login; "" for a new handle.
    handle: str = ""


UNDESCRIBED: Final = NewLogin()


def new_handle() -> str:
    """Return a new handle for a login."""
    return secrets.token_urlsafe(HANDLE_BYTES)


def user_id_in(values: Values) -> Any:
    """Return the user id in a session's values; None if there is none, or if it cannot be read."""
    packed = values.get(USER_KEY)
    try:
        return None if packed is None else own_keys.unpack(USER_KEY, packed)
    except codec.CodecError:
        return None
