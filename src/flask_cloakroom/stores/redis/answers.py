"""Turn the answers to the Redis store's commands into results: one function for each kind of answer.

A transport gives an answer as bytes, an int, True for ``OK``, or None. Each function raises
:class:`UnexpectedAnswerError` for an answer that the command cannot have: the answer belongs to another command, or the
server is no Redis server.
"""

from __future__ import annotations

import math
from typing import Any

from ..base import VERSION_BYTES, Claim, Entry


class UnexpectedAnswerError(ValueError):
    """The bytes are no answer, or not the answer to this command. Never leaves the store.

    The connection must be closed: the next bytes on it may be the answer to any command.
    """


def read_entry(answer: Any) -> Entry:
    """Return the entry in a bulk string. A string that is too short for a version was not written by a store."""
    if not isinstance(answer, bytes) or len(answer) < VERSION_BYTES:
        raise UnexpectedAnswerError("not an entry")
    return Entry(answer[VERSION_BYTES:], answer[:VERSION_BYTES])


def read_entry_or_none(answer: Any) -> Entry | None:
    """Return the entry, or None if there is none."""
    return None if answer is None else read_entry(answer)


def read_entry_among_others(answer: Any) -> Entry | None:
    """Return the entry; None also for a string of another application, which ``walk`` may meet."""
    return None if isinstance(answer, bytes) and len(answer) < VERSION_BYTES else read_entry_or_none(answer)


def read_created(answer: Any) -> bool:
    """Return whether ``SET … NX`` wrote."""
    if answer is None:
        return False
    # b"OK" is the answer of a stand-in without the callbacks of redis-py.
    if answer is True or (isinstance(answer, bytes) and answer == b"OK"):
        return True
    raise UnexpectedAnswerError("neither OK nor nil")


def read_flag(answer: Any) -> bool:
    """Return True for 1 and False for 0."""
    if type(answer) is not int or not 0 <= answer <= 1:
        raise UnexpectedAnswerError("neither 0 nor 1")
    return answer == 1


def read_replaced(answer: Any) -> bool | Entry:
    """Return True if the script wrote, False if there is no entry, or else the entry with another version."""
    return read_entry(answer) if isinstance(answer, bytes) else read_flag(answer)


def read_claims(answer: Any) -> list[Claim]:
    """Return the claims in the text of the script ``owned.lua``: "claims", the time, then each key and its expiry."""
    if not isinstance(answer, bytes):
        raise UnexpectedAnswerError("not a text")
    try:
        word, time, *found = answer.decode("ascii").split(" ")
        if word != "claims":
            raise UnexpectedAnswerError("not the word claims")
        now = _microseconds(time)
        return [
            Claim(bytes.fromhex(key), (_microseconds(expires) - now) / 1e6)
            for key, expires in zip(found[::2], found[1::2], strict=True)
        ]
    except ValueError as error:
        raise UnexpectedAnswerError("not a list of claims") from error


def _microseconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not a time")
    return value
