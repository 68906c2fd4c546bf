"""Types for secrets, which no traceback with local variables, error report, debugger or log may show.

Error reporters call ``repr()`` on the local variables of every frame that an exception passes, and look into dicts,
lists and tuples. So each ticket, token, store key and packed value gets one of these types as soon as it is made or
read. A value that is derived from a secret (by a slice, ``+``, ``encode()``, an f-string) is plain str or bytes. The
code must convert such a value to one of these types again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: The ``repr()`` of every secret.
PLACEHOLDER: Final = "<secret>"


class Secret(str):
    """A str whose ``repr()`` does not show the text. All else is as with str. ``str()`` returns a plain copy."""

    __slots__ = ()

    def __repr__(self) -> str:
        return PLACEHOLDER


class SecretBytes(bytes):
    """Bytes whose ``repr()`` does not show them. All else is as with bytes. ``bytes()`` returns a plain copy."""

    __slots__ = ()

    def __repr__(self) -> str:
        return PLACEHOLDER


class HiddenContents:
    """A base class for a mapping or tuple whose contents error reporters must not read.

    sentry-sdk reads all items of every mapping. Without this class, it would load the session of a request that does
    not use its session, and send the session's values.
    """

    __slots__ = ()

    def __sentry_repr__(self) -> str:
        return repr(self)


def as_secrets(values: Mapping[Any, bytes]) -> dict[Any, bytes]:
    """Return a copy of the dict ``values`` with packed values whose ``repr()`` does not show them.

    A page that only reads its session does not call this function, because the call makes a read 4 % slower.
    """
    return {key: SecretBytes(packed) for key, packed in values.items()}
