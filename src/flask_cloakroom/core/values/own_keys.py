"""The session keys that this package uses, and the types of their values.

If a stored value under such a key has the wrong type, it was damaged, or was written by an attacker with access to the
store. The value counts as missing, like a value that cannot be decoded. So the code in this package and in Flask that
reads these keys need not check the types.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from . import codec

#: The session key of the user's id. Flask-Login uses the same key. Each change of the user's id rotates the session.
#: Otherwise an attacker who knew the ticket before the login would have the user's session after the login.
USER_KEY: Final = "_user_id"
#: The session key of flash messages in Flask.
FLASHES: Final = "_flashes"
#: The session key of flash messages on a lease. The value maps the name of each lease to a pair: the end of the lease,
#: in milliseconds since the epoch, and the messages that a response is about to show.
FLASH_LEASES: Final = "_flashes_taken"
#: The session key of the visitor id. The visitor id is made when the first value of the visitor data is set.
VISITOR_ID_KEY: Final = "_user_session"
#: The session key of a session that a remember token began, until a request comes with its ticket. The value is a list:
#: the store key under which that request stores a mark, in hexadecimal, because pages may show a session as JSON; and
#: the time at which the mark may expire, in seconds since the epoch. See :meth:`.RememberFamilies.mark_shown`.
UNSHOWN_KEY: Final = "_unshown_login"

#: The most bits of an integer that a page may show. 10,000 bits are 3,011 decimal digits. Python raises ValueError when
#: it prints an integer with more than 4,300 decimal digits.
_MAX_BITS: Final = 10_000
#: The most levels of nesting in a flash message. Two levels are usual: a dict with a title and a list.
_MAX_LEVELS: Final = 16
#: A store key in hexadecimal: twice ``tickets.KEY_BYTES`` digits. This module cannot import that number.
_is_store_key: Final = re.compile("[0-9a-f]{64}").fullmatch
_ID_TYPES: Final = (str, int, bytes, Decimal, UUID)


def unpack(key: Any, packed: bytes) -> Any:
    """Return the value of a session key. Raises CodecError if the value cannot be decoded or has the wrong type."""
    value = codec.unpack(packed)
    is_valid = CHECKS.get(key)
    if is_valid is not None and not is_valid(value):
        raise codec.CodecError(f"the value, a {type(value).__name__}, is not valid under this key")
    return value


def is_user_id(value: object) -> bool:
    """Return True for a value that can be a user's id: text, a number, bytes, a UUID, or a tuple or list of these."""
    if isinstance(value, tuple | list):
        return all(isinstance(part, _ID_TYPES) and _is_printable(part) for part in value)
    return isinstance(value, _ID_TYPES) and not isinstance(value, bool) and _is_printable(value)


def _is_printable(value: object, levels: int = _MAX_LEVELS) -> bool:
    """Return True if a page can show the value.

    The value must have no lone surrogate, no integer of more than ``_MAX_BITS`` bits, and at most ``levels`` levels of
    nesting.
    """
    if isinstance(value, str):
        try:
            str.encode(value)
        except UnicodeEncodeError:
            return False
        return True
    if isinstance(value, int):
        return value.bit_length() <= _MAX_BITS
    if isinstance(value, dict):
        return levels > 0 and all(_is_printable(part, levels - 1) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return levels > 0 and all(_is_printable(part, levels - 1) for part in value)
    return True


def _are_messages(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_message, value))


def _is_message(value: object) -> bool:
    """Return True for a pair of category and message, as Flask writes it."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    # In Flask a category is a str. Some applications use None or a number. A dict or list is not valid: templates use
    # the category as a key of a dict, so the page would answer 500.
    return isinstance(value[0], str | int | None) and _is_printable(value)


def _are_leases(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_lease, value.values()))


def _is_lease(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and type(value[0]) is int and _are_messages(value[1])


def _is_mark(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    return isinstance(value[0], str) and _is_store_key(value[0]) is not None and type(value[1]) is int


#: For each of these session keys, the function that returns True for a valid value.
CHECKS: Final[Mapping[Any, Callable[[object], bool]]] = {
    USER_KEY: is_user_id,
    FLASHES: _are_messages,
    FLASH_LEASES: _are_leases,
    VISITOR_ID_KEY: lambda value: isinstance(value, str),
    UNSHOWN_KEY: _is_mark,
}
