"""What the commands of the Redis store answer: a function for each kind of answer.

Each function takes an answer as a transport has it (bytes, an int, True for ``OK``, or None) and returns the result of
the verb. Each raises :class:`UnexpectedAnswerError` for an answer that the command cannot have: such an answer belongs
to another command, or the other side is no Redis.
"""

from __future__ import annotations

import math
from typing import Any

from ..base import VERSION_BYTES, Claim, Entry


class UnexpectedAnswerError(ValueError):
    """The bytes are no answer, or no answer to the command that was sent. Never leaves the store.

    The connection is of no use any more: what comes next on it may be the answer to anything.
    """


def read_entry(answer: Any) -> Entry:
    """Return the entry that a bulk string holds. One that is too short for a version was not written by a store."""
    if not isinstance(answer, bytes) or len(answer) < VERSION_BYTES:
        raise UnexpectedAnswerError("no entry")
    return Entry(answer[VERSION_BYTES:], answer[:VERSION_BYTES])


def read_entry_or_none(answer: Any) -> Entry | None:
    """Return the entry, or None for a key that is not there."""
    return None if answer is None else read_entry(answer)


def read_entry_among_others(answer: Any) -> Entry | None:
    """Return the entry; None also for somebody else's string, of which a walk may find some."""
    return None if isinstance(answer, bytes) and len(answer) < VERSION_BYTES else read_entry_or_none(answer)


def read_created(answer: Any) -> bool:
    """Return whether ``SET … NX`` has written."""
    if answer is None:
        return False
    if answer is True or (isinstance(answer, bytes) and answer == b"OK"):  # a stand-in's, without redis-py's callbacks
        return True
    raise UnexpectedAnswerError("neither OK nor nothing")


def read_flag(answer: Any) -> bool:
    """Return what 1 and 0 stand for."""
    if type(answer) is not int or not 0 <= answer <= 1:
        raise UnexpectedAnswerError("neither 0 nor 1")
    return answer == 1


def read_replaced(answer: Any) -> bool | Entry:
    """Return True for "saved", False for "gone", or the entry that is there instead."""
    return read_entry(answer) if isinstance(answer, bytes) else read_flag(answer)


def read_claims(answer: Any) -> list[Claim]:
    """Return the claims of an owner: after the word "claims" and the time, the text has each key and its expiry."""
    if not isinstance(answer, bytes):
        raise UnexpectedAnswerError("no text")
    try:
        word, time, *found = answer.decode("ascii").split(" ")
        if word != "claims":
            raise UnexpectedAnswerError("another text")
        now = _microseconds(time)
        return [
            Claim(bytes.fromhex(key), (_microseconds(expires) - now) / 1e6)
            for key, expires in zip(found[::2], found[1::2], strict=True)
        ]
    except ValueError as error:
        raise UnexpectedAnswerError("no list of claims") from error


def _microseconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("no time")
    return value
