"""Types for what must never be shown: in a traceback with local variables, an error report, a debugger or a log.

Error reporters call ``repr()`` on the local variables of every frame that an exception passes, and look into dicts,
lists and tuples. So each ticket, token, store's key and packed value has one of the two types below from the start.
Code that derives a value (a slice, ``+``, ``encode()``, an f-string) gets a plain str or bytes, and wraps that again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: What is shown in the place of a secret.
SHOWN: Final = "<secret>"


class Secret(str):
    """Text whose ``repr()`` shows none of it. In all else it is the text; ``str()`` returns a plain copy."""

    __slots__ = ()

    def __repr__(self) -> str:
        return SHOWN


class SecretBytes(bytes):
    """Bytes whose ``repr()`` shows none of them. In all else they are the bytes; ``bytes()`` returns a plain copy."""

    __slots__ = ()

    def __repr__(self) -> str:
        return SHOWN


class Closed:
    """Mixed into a mapping or a tuple whose contents error reporters must not look into.

    sentry-sdk walks through every mapping that it meets. It would load the session of a request that had not asked for
    it, and send what the session holds.
    """

    __slots__ = ()

    def __sentry_repr__(self) -> str:
        return repr(self)


def hidden(values: Mapping[Any, bytes]) -> dict[Any, bytes]:
    """Return a copy of packed values, key by key, whose ``repr()`` shows none of them.

    A page that only reads its session keeps plain bytes: to wrap each value would make the read 4 % dearer.
    """
    return {key: SecretBytes(packed) for key, packed in values.items()}
