"""What the header of an entry says of the user that it belongs to."""

from __future__ import annotations

import secrets
from typing import Any, Final, NamedTuple

from ..values import codec, own_keys
from ..values.own_keys import USER_KEY
from ..values.rebase import Values

#: Random bytes in a handle: none is ever met twice.
HANDLE_BYTES: Final = 9


class Ownership(NamedTuple):
    """What a session's header says of its owner."""

    #: A hash of the owner's id, bound to the namespace: :meth:`.tickets.Tickets.owner_name`.
    name: str
    #: Names the session from login to logout, through all rotations. It opens nothing.
    handle: str
    #: What whoever logs in wants to find in the list of sessions. Nothing here reads it.
    note: str = ""

    def __str__(self) -> str:
        return ".".join(self)

    @classmethod
    def parse(cls, text: str) -> Ownership | None:
        """Return what ``str()`` was made of; None for a session that is nobody's."""
        parts = text.split(".", 2)
        return cls(*parts) if len(parts) == 3 else None


class Begun(NamedTuple):
    """What is said of a login with which a session gets its owner."""

    note: str = ""
    #: That of the family of remember tokens which belongs to it; "" makes a new one.
    handle: str = ""


NOTHING_BEGUN: Final = Begun()


def new_handle() -> str:
    """Return what names a login, and opens nothing."""
    return secrets.token_urlsafe(HANDLE_BYTES)


def user_id_in(values: Values) -> Any:
    """Return the user's id that a session holds; None if there is none, or none that can be read."""
    packed = values.get(USER_KEY)
    try:
        return None if packed is None else own_keys.unpack(USER_KEY, packed)
    except codec.CodecError:
        return None
