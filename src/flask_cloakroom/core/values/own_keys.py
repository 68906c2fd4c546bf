"""The session's keys that belong to this package, and what each of them may hold.

A stored value of the wrong type was damaged, or written by somebody with access to the store. Such a value counts as
missing, as one does that cannot be decoded. So nothing that reads these keys, Flask included, has to expect it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from . import codec

#: The key that says whose session it is (Flask-Login's name). Whoever changes it, in whatever way, the id changes with
#: it: somebody who knew the ticket before must not have the user's session now.
USER_KEY: Final = "_user_id"
#: Flask's key for flash messages.
FLASHES: Final = "_flashes"
#: Beside it, what responses have taken that are still being made: a name for each to the end of its lease, in
#: milliseconds since the epoch, and to the messages.
TAKEN: Final = "_flashes_taken"
#: The id of what this visitor will bring to their account. It is made with the first of it.
VISITOR_ID: Final = "_user_session"

#: Python refuses to write longer numbers in decimal digits (4,300 of them); 10,000 bits have 3,011.
_MOST_BITS: Final = 10_000
#: How deep containers may lie in each other in a flash message: applications flash a dict with a title and a list.
_DEEPEST: Final = 16
_ID_TYPES: Final = (str, int, bytes, Decimal, UUID)


def unpack(key: Any, packed: bytes) -> Any:
    """Return the stored value of a session's key. Raises CodecError if it is not what may be there."""
    value = codec.unpack(packed)
    is_right = SHAPES.get(key)
    if is_right is not None and not is_right(value):
        raise codec.CodecError(f"a {type(value).__name__} of the wrong shape")
    return value


def is_user_id(value: object) -> bool:
    """Return whether a value can be a user's id: text, a number, bytes, a UUID, or a tuple or list of these."""
    if isinstance(value, tuple | list):
        return all(isinstance(part, _ID_TYPES) and _is_printable(part) for part in value)
    return isinstance(value, _ID_TYPES) and not isinstance(value, bool) and _is_printable(value)


def _is_printable(value: object, levels: int = _DEEPEST) -> bool:
    """Return whether a page can show a value: no half of a surrogate pair, no endless number, no deep nesting."""
    if isinstance(value, str):
        try:
            str.encode(value)
        except UnicodeEncodeError:
            return False
        return True
    if isinstance(value, int):
        return value.bit_length() <= _MOST_BITS
    if isinstance(value, dict):
        return levels > 0 and all(_is_printable(part, levels - 1) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return levels > 0 and all(_is_printable(part, levels - 1) for part in value)
    return True


def _are_messages(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_message, value))


def _is_message(value: object) -> bool:
    """Return whether a value is a pair of category and message, as Flask writes it."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    # Flask's category is a str. Some applications flash None or a number; pages look all of them up in a dict.
    return isinstance(value[0], str | int | None) and _is_printable(value)


def _are_claims(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_claim, value.values()))


def _is_claim(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and type(value[0]) is int and _are_messages(value[1])


SHAPES: Final[Mapping[Any, Callable[[object], bool]]] = {
    USER_KEY: is_user_id,
    FLASHES: _are_messages,
    TAKEN: _are_claims,
    VISITOR_ID: lambda value: isinstance(value, str),
}
