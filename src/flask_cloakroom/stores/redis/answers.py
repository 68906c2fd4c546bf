"""Turn the answers to the Redis store's commands into results. There is one function for each kind of answer.

``answer`` is bytes, an int, True for the server's ``OK``, or None for its "nil". Each function raises
:class:`UnexpectedAnswerError` for an answer that the command cannot have. Such an answer belongs to another command, or
the server is no Redis server.
"""

from __future__ import annotations

import math
from typing import Any

from ..base import VERSION_BYTES, Claim, Entry


class UnexpectedAnswerError(ValueError):
    """The server's bytes are not the answer to this command. The store turns this error into a StoreError.

    The caller must close the connection, because its next bytes may be the answer to an earlier command.
    """


def read_entry(answer: Any) -> Entry:
    """Return the entry in the bytes of a Redis string: first its version, then its data."""
    if not isinstance(answer, bytes) or len(answer) < VERSION_BYTES:
        raise UnexpectedAnswerError("The answer is not an entry.")
    return Entry(answer[VERSION_BYTES:], answer[:VERSION_BYTES])


def read_entry_or_none(answer: Any) -> Entry | None:
    """Return the entry in the answer to ``GET``. Return None if the server has no such string."""
    return None if answer is None else read_entry(answer)


def read_entry_among_others(answer: Any) -> Entry | None:
    """Return the entry that ``walk`` has found. Return None if it was deleted, or is another application's string."""
    return None if isinstance(answer, bytes) and len(answer) < VERSION_BYTES else read_entry_or_none(answer)


def read_created(answer: Any) -> bool:
    """Return True if the command ``SET … NX`` wrote. Return False if the key existed, so that it did not write."""
    if answer is None:
        return False
    # redis-py turns OK into True. A replacement for its client, such as a client in a test, may return b"OK" instead.
    if answer is True or (isinstance(answer, bytes) and answer == b"OK"):
        return True
    raise UnexpectedAnswerError("The answer is neither OK nor nil.")


def read_flag(answer: Any) -> bool:
    """Return True for the answer 1 and False for the answer 0."""
    if type(answer) is not int or not 0 <= answer <= 1:
        raise UnexpectedAnswerError("The answer is neither 0 nor 1.")
    return answer == 1


def read_replaced(answer: Any) -> bool | Entry:
    """Return the result of the script ``replace.lua``: True if it wrote, and False if there is no entry to replace.

    Return the stored entry if its version is not the expected version, so that the script wrote nothing.
    """
    return read_entry(answer) if isinstance(answer, bytes) else read_flag(answer)


def read_claims(answer: Any) -> list[Claim]:
    """Return the claims in the answer of the script ``owned.lua``.

    The answer is a text: the word "claims", the server's time, and then the key and expiry of each claim.
    """
    if not isinstance(answer, bytes):
        raise UnexpectedAnswerError("The answer is not a text.")
    try:
        word, time, *found = answer.decode("ascii").split(" ")
        if word != "claims":
            raise UnexpectedAnswerError('The answer does not begin with the word "claims".')
        now = _microseconds(time)
        return [
            Claim(bytes.fromhex(key), (_microseconds(expires) - now) / 1e6)
            for key, expires in zip(found[::2], found[1::2], strict=True)
        ]
    except ValueError as error:
        raise UnexpectedAnswerError("The answer is not a list of claims.") from error


def _microseconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("The answer has an infinite number in the place of a time.")
    return value
