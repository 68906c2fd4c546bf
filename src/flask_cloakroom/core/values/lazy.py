"""A dict over packed values: each is unpacked when it is first read, and compared when the request is over."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from enum import Enum
from typing import Any, Final, Self

from ...errors import SessionValueError
from ...secret import Closed, SecretBytes
from . import codec, own_keys

log = logging.getLogger("flask_cloakroom.sessions")


class _Packed(Enum):
    PACKED = "still as the store gave it"


_PACKED: Final = _Packed.PACKED


class LazyDict(Closed, MutableMapping[Any, Any]):
    """Behaves as a dict. :meth:`_open` is called before the first use, and provides what is stored."""

    # No method has the dict of values in a local variable when it raises, or calls a store or code of the application:
    # an error reporter would send all that the session holds with every KeyError.

    # Class attributes, so that a dict that is never used sets none of them.
    #: Whether the stored values were loaded, at the first use. Without that the three below do not exist.
    is_opened = False
    #: Whether the response is made, so that later changes are not saved.
    closed = False
    _data: dict[Any, Any]  # key to value, or _PACKED while nobody has read it
    _base: dict[Any, bytes]  # what is stored
    # In order: keys that were assigned, deleted, or read and mutable; with the value that was read, else None.
    _touched: dict[Any, Any]

    def _open(self) -> dict[Any, Any]:
        """Call :meth:`_begin` with what is stored, and return what that returns."""
        raise NotImplementedError

    def _begin(self, base: dict[Any, bytes]) -> dict[Any, Any]:
        self._base = base
        self._touched = {}
        self._data = data = dict.fromkeys(base, _PACKED)
        self.is_opened = True
        return data

    def opened(self) -> dict[Any, Any]:
        """Load the stored values unless they are loaded. Return the dict of values, of which some may still be packed.

        Its keys are right, those of values that cannot be decoded included. Read a value from the session itself.
        """
        return self._data if self.is_opened else self._open()

    def __getitem__(self, key: Any) -> Any:
        if not self.is_opened:
            self._open()
        value = self._data[key]
        return self._unpack(key) if value is _PACKED else value

    def get(self, key: Any, default: Any = None) -> Any:
        if not self.is_opened:
            self._open()
        value = self._data.get(key, default)
        if value is _PACKED:
            try:
                return self._unpack(key)
            except KeyError:
                return default
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self.is_opened:
            self._open()
        if type(key) is not str:
            key = _plain_key(key)
        self._data[key] = value
        self._touch(key)

    def __delitem__(self, key: Any) -> None:
        if key in self.opened():
            del self.opened()[key]
        elif not self._is_unreadable(key):
            raise KeyError(key)
        self._touch(key)

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove ``key`` and return its value, or ``default``; KeyError without one. As a dict does.

        What counts as missing because it has the wrong shape can be taken out all the same.
        """
        try:
            value = self[key]
        except KeyError:
            if self._is_unreadable(key):
                # What this worker can't decode another one may: it has to go all the same.
                self._touch(key)
                with suppress(codec.CodecError):
                    return codec.unpack(self._base[key])
            if default:
                return default[0]
            raise
        del self[key]
        return value

    def _is_unreadable(self, key: Any) -> bool:
        """Tell whether ``key`` is stored and counts as missing because its value cannot be decoded."""
        return key in self._base and key not in self._touched and key not in self.opened()

    def __contains__(self, key: object) -> bool:
        if key not in self.opened():
            return False
        if self.opened()[key] is _PACKED:
            try:
                self._unpack(key)
            except KeyError:
                return False
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter(self._unpack_all())

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self._unpack_all().keys())

    def __len__(self) -> int:
        return len(self._unpack_all())

    def __or__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        return {**self, **other}

    def __ror__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        return {**other, **self}

    def __ior__(self, other: Any) -> Self:  # type: ignore[misc]  # as a dict does: in place, where | makes a copy
        self.update(other)
        return self

    def popitem(self) -> tuple[Any, Any]:
        """Remove and return what was added last, as a dict does. Raises KeyError if there is nothing."""
        key = next(reversed(self), None)
        if key is None and None not in self:
            raise KeyError("popitem(): the session is empty")
        return key, self.pop(key)

    def copy(self) -> dict[Any, Any]:
        """Return a plain dict with what the session holds."""
        return dict(self)

    def _unpack(self, key: Any) -> Any:
        try:
            packed = self._base[key]
            value = own_keys.unpack(key, packed) if key in own_keys.SHAPES else codec.unpack(packed)
        except codec.CodecError as error:
            # As if it were not there; its bytes stay where they are until somebody sets the key.
            log.error("%s of %r cannot be decoded and counts as missing: %s", _shown(key), self, error)
            del self._data[key]
            raise KeyError(key) from None
        self._data[key] = value
        if type(value) not in codec.IMMUTABLE_TYPES:
            self._touched[key] = value
        return value

    def _unpack_all(self) -> dict[Any, Any]:
        for key in [key for key, value in self.opened().items() if value is _PACKED]:
            try:
                self._unpack(key)
            except KeyError:
                continue
        return self.opened()

    def _touch(self, key: Any) -> None:
        self._touched.setdefault(key, None)
        if self.closed:
            log.warning(
                "%s was changed after the response was made, and is not saved; change it before the body is streamed",
                self._place_of(key),
            )

    def changes(self) -> dict[Any, bytes | None]:
        """Return what really differs from what was read: key to packed value, or None. Raises SessionValueError."""
        changes: dict[Any, bytes | None] = {}
        for key in list(self._touched):
            if key in self._data:
                try:
                    packed = SecretBytes(codec.pack(self._data[key]))
                except codec.UnsupportedTypeError as error:
                    packed = self._stored_instead(key, error)
                if packed != self._base.get(key):
                    changes[key] = packed
            elif key in self._base:
                changes[key] = None
        return changes

    def _rebase(self, base: dict[Any, bytes]) -> None:
        """Go on from what is stored now. Objects that the view holds stay the same where their values did."""
        items = self._data.items() if self.is_opened else ()
        keys = [key for key, value in items if value is not _PACKED and key in base]
        same = [key for key in keys if codec.is_packed_as(self._data[key], base[key])]
        live = {key: self._data[key] for key in same}
        self._begin(base).update(live)
        self._touched.update((key, live[key]) for key in same if type(live[key]) not in codec.IMMUTABLE_TYPES)

    def _place_of(self, key: Any) -> str:
        """Return how an error names a key of this dict."""
        return f"session[{_shown(key)}]"

    def _restate(self, base: dict[Any, bytes], keys: Iterable[Any]) -> None:
        """Go on from ``base``, which has other values under ``keys``; what was changed there is forgotten."""
        data = self.opened()
        self._base = base
        for key in keys:
            self._touched.pop(key, None)
            data.pop(key, None)
            if key in base:
                data[key] = _PACKED

    def _stored_instead(self, key: Any, error: codec.UnsupportedTypeError) -> SecretBytes:
        """Return the stored bytes of a value that was read and cannot be packed again.

        Such a record was damaged, or written by somebody with access to the store. A page that only reads it must not
        fail for that. Raises SessionValueError for all else that cannot be stored.
        """
        path = self._place_of(key) + "".join(f"[{_shown(part)}]" for part in error.path)
        problem = SessionValueError(path, error.type_name, error.hint)
        is_read = key in self._base and self._touched.get(key) is self._data[key]
        if not is_read or _can_be_packed_again(self._base[key]):
            raise problem from None
        log.error("%s of %r stays as it is stored: %s", _shown(key), self, problem)
        return SecretBytes(self._base[key])


def _plain_key(key: Any) -> Any:
    """Return a str for the subclasses of str, so that a key is found again as what it looks like."""
    if isinstance(key, str):
        return str.__str__(key)
    try:
        codec.pack(key)
    except codec.UnsupportedTypeError as error:
        raise SessionValueError("a session key", error.type_name, "Use a str as the key.") from None
    return key


def _can_be_packed_again(packed: bytes) -> bool:
    try:
        codec.pack(codec.unpack(packed))
    except codec.UnsupportedTypeError:
        return False
    return True


def _shown(part: Any) -> str:
    short = isinstance(part, str) or (isinstance(part, int) and part.bit_length() <= 64)
    return repr(part) if short else f"<{type(part).__name__}>"
