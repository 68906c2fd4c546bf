"""Types for secrets, which no traceback with local variables, error report, debugger or log may show.

Error reporters call ``repr()`` on the local variables of every frame that an exception passes, and look into dicts,
lists and tuples. So each ticket, token, key of a store and packed value has one of these types from the start. Code
that derives a value (a slice, ``+``, ``encode()``, an f-string) gets plain str or bytes, and must wrap the result
again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: The ``repr()`` of every secret.
PLACEHOLDER: Final = "<secret>"


class Secret(str):
    """Text whose ``repr()`` does not show it. It is like str in all else. ``str()`` returns a plain copy."""

    __slots__ = ()

    def __repr__(self) -> str:
        return PLACEHOLDER


class SecretBytes(bytes):
    """Bytes whose ``repr()`` does not show them. They are like bytes in all else. ``bytes()`` returns a plain copy."""

    __slots__ = ()

    def __repr__(self) -> str:
        return PLACEHOLDER


class HiddenContents:
    """A base class for a mapping or tuple that error reporters must not look into.

    sentry-sdk walks through every mapping. Without this, it would load the session of a request that does not use its
    session, and send the contents.
    """

    __slots__ = ()

    def __sentry_repr__(self) -> str:
        return repr(self)


def as_secrets(values: Mapping[Any, bytes]) -> dict[Any, bytes]:
    """Return a copy of packed values, key by key, whose ``repr()`` shows none of them.

    A page that only reads its session keeps plain bytes: to wrap each value would make the read 4 % dearer.
    """
    return {key: SecretBytes(packed) for key, packed in values.items()}
