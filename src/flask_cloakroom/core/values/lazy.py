"""A dict over packed values. It unpacks each value at the first read, and finds the changes at the end."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Final, Self

from ...errors import SessionValueError
from ...secret import HiddenContents, SecretBytes
from . import codec, own_keys

log = logging.getLogger("flask_cloakroom.sessions")

#: Stands in the dict for a value that was not read yet.
_PACKED: Final = object()


class LazyDict(HiddenContents, MutableMapping[Any, Any]):
    """A dict whose stored values a subclass loads in :meth:`_open`, which is called before the first use."""

    # Where a method can raise, or calls a store or code of the application, no local variable is the dict of values.
    # Otherwise an error reporter would send the whole session with every KeyError.

    # These are class attributes, so that a dict that is never used sets none of them.
    #: Whether the stored values are loaded. Before that, the three attributes without a value do not exist.
    is_opened = False
    #: Whether the response is made, so that later changes are not saved.
    closed = False
    _data: dict[Any, Any]  # key to value, or to _PACKED
    _base: dict[Any, bytes]  # the stored values
    # The keys that were assigned, deleted or read, in this order. A key that was read has its value if that is mutable
    # (immutable values are not noted); the other keys have None.
    _touched: dict[Any, Any]

    def _open(self) -> dict[Any, Any]:
        """Load the stored values, call :meth:`_reset` with them, and return its result."""
        raise NotImplementedError

    def _reset(self, base: dict[Any, bytes]) -> dict[Any, Any]:
        """Forget all changes and start from the stored values ``base``. Return the dict of values."""
        self._base = base
        self._touched = {}
        self._data = data = dict.fromkeys(base, _PACKED)
        self.is_opened = True
        return data

    def opened(self) -> dict[Any, Any]:
        """Load the stored values if needed. Return the dict of values, some of which may still be packed.

        Use its keys only, and read a value from the session. A key whose value cannot be decoded may be among them.
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
        """Remove ``key`` and return its value, or ``default``. Raises KeyError if the key is missing without a default.

        A stored value of the wrong type counts as missing elsewhere. Here it is removed and returned.
        """
        try:
            value = self[key]
        except KeyError:
            if self._is_unreadable(key):
                # Remove the value although this process cannot decode it: another process may know its type.
                self._touch(key)
                with suppress(codec.CodecError):
                    return codec.unpack(self._base[key])
            if default:
                return default[0]
            raise
        del self[key]
        return value

    def _is_unreadable(self, key: Any) -> bool:
        """Return True if ``key`` is stored but counts as missing, because its value cannot be decoded."""
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

    def __ior__(self, other: Any) -> Self:  # type: ignore[misc]  # in place, as a dict does; "|" returns a plain dict
        self.update(other)
        return self

    def popitem(self) -> tuple[Any, Any]:
        """Remove and return the last added pair of key and value, as a dict does. Raises KeyError if it is empty."""
        key = next(reversed(self), None)
        if key is None and None not in self:
            raise KeyError("popitem(): the session is empty")
        return key, self.pop(key)

    def copy(self) -> dict[Any, Any]:
        """Return the keys and values as a plain dict."""
        return dict(self)

    def _unpack(self, key: Any) -> Any:
        """Return a packed value, and note it as touched if it is mutable. Raises KeyError if it cannot be decoded."""
        try:
            packed = self._base[key]
            value = own_keys.unpack(key, packed) if key in own_keys.CHECKS else codec.unpack(packed)
        except codec.CodecError as error:
            # The key counts as missing. Its bytes stay stored until the key is set or deleted.
            log.error("%s of %r cannot be decoded and counts as missing: %s", _key_text(key), self, error)
            del self._data[key]
            raise KeyError(key) from None
        self._data[key] = value
        if type(value) not in codec.IMMUTABLE_TYPES:
            self._touched[key] = value
        return value

    def _unpack_all(self) -> dict[Any, Any]:
        for key in [key for key, value in self.opened().items() if value is _PACKED]:
            with suppress(KeyError):
                self._unpack(key)
        return self.opened()

    def _touch(self, key: Any) -> None:
        self._touched.setdefault(key, None)
        if self.closed:
            log.warning(
                "%s was changed after the response was made, and is not saved; change it before the body is streamed",
                self._place_of(key),
            )

    def changes(self) -> dict[Any, bytes | None]:
        """Return the keys whose packed values differ from the stored ones, with the new values; None for deleted keys.

        Raises SessionValueError for a value that cannot be stored.
        """
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

    def _reset_keeping_objects(self, base: dict[Any, bytes]) -> None:
        """Call :meth:`_reset`, but keep the objects whose values are still stored so, because a view may use them."""
        items = self._data.items() if self.is_opened else ()
        keys = [key for key, value in items if value is not _PACKED and key in base]
        unchanged = [key for key in keys if codec.is_packed_as(self._data[key], base[key])]
        live = {key: self._data[key] for key in unchanged}
        self._reset(base).update(live)
        self._touched.update((key, live[key]) for key in unchanged if type(live[key]) not in codec.IMMUTABLE_TYPES)

    def _place_of(self, key: Any) -> str:
        """Return the name of a key's place in an error or log line."""
        return f"session[{_key_text(key)}]"

    def _reload_keys(self, base: dict[Any, bytes], keys: Iterable[Any]) -> None:
        """Forget the changes of ``keys`` and take their values from ``base``. All other keys must be as before."""
        data = self.opened()
        self._base = base
        for key in keys:
            self._touched.pop(key, None)
            data.pop(key, None)
            if key in base:
                data[key] = _PACKED

    def _stored_instead(self, key: Any, error: codec.UnsupportedTypeError) -> SecretBytes:
        """Return the stored bytes of a value that was only read and cannot be packed again.

        The stored value is damaged then, or was written by somebody with access to the store. A page that only reads
        such a value must not fail. Raises SessionValueError for any other value that cannot be stored.
        """
        path = self._place_of(key) + "".join(f"[{_key_text(part)}]" for part in error.path)
        problem = SessionValueError(path, error.type_name, error.hint)
        is_read = key in self._base and self._touched.get(key) is self._data[key]
        if not is_read or _can_be_packed_again(self._base[key]):
            raise problem from None
        log.error("%s of %r cannot be packed and stays as it is stored: %s", _key_text(key), self, problem)
        return SecretBytes(self._base[key])


def _plain_key(key: Any) -> Any:
    """Return a plain str for an instance of a subclass of str, and any other key unchanged.

    Otherwise a key such as a Markup would be stored as a Markup, and not be found as a str.
    Raises SessionValueError for a key that cannot be stored.
    """
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


def _key_text(key: Any) -> str:
    """Return a key for an error or log line: a str or a short int as it is, and only the type of any other key."""
    is_short = isinstance(key, str) or (isinstance(key, int) and key.bit_length() <= 64)
    return repr(key) if is_short else f"<{type(key).__name__}>"
