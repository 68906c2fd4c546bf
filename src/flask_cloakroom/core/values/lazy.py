"""A dict of packed values. The dict unpacks a value when it is first read, and finds the changed values for a save."""

from __future__ import annotations

import logging
from _thread import RLock  # threading.RLock() calls this, and takes three times as long
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Final, Self

from ...errors import SessionValueError
from ...secret import HiddenContents, SecretBytes
from . import codec, own_keys

log = logging.getLogger("flask_cloakroom.sessions")

#: The content of the dict for a key whose value is still packed, because no code has read it.
_PACKED: Final = object()
#: The default of a method that must see if a key is missing.
_MISSING: Final = object()


class LazyDict(HiddenContents, MutableMapping[Any, Any]):
    """A dict whose values are in a store. A subclass loads them in :meth:`_open`, which is called at the first use.

    The packed values, as this request has loaded them, are the base: :meth:`changes` compares with them. Several
    threads of a request may use one object: all of them get the same object for a value, and no write is lost.
    """

    # No method has the dict of values in a local variable when it can raise an error, or calls a store or code of the
    # application. An error reporter shows local variables, and would send the whole session with every KeyError.

    # Class attributes, because a request that never uses its session need not set them.
    #: True after the values were loaded. Until then, the attributes _data, _base and _touched do not exist.
    is_opened = False
    #: True after the response was made. Changes that are made later are not saved.
    closed = False
    # Held for each change of _data, with the key's change in _touched. A thread may enter it twice, because the key may
    # be of a class of the application, whose __hash__() may use this dict.
    _mutex: Any = None
    _new_flashes: list[Any] | None = None  # the list to which threads of this request add the first flash messages
    _data: dict[Any, Any]  # key to value, or to _PACKED
    _base: dict[Any, bytes]  # key to packed value, as this request has loaded them
    # The keys whose values may have changed. A key that was set or deleted has None here. A key that was only read has
    # its value here if the value can change in place. Keys whose values cannot change in place are missing.
    _touched: dict[Any, Any]

    def _open(self) -> dict[Any, Any]:
        """Load the packed values from the store, call :meth:`_reset` with them, and return the dict of values.

        If this call comes from the load itself, for example from a log handler, return an empty dict.
        """
        raise NotImplementedError

    def _reset(self, base: dict[Any, bytes]) -> dict[Any, Any]:
        """Set the base to the packed values ``base``, and discard all changes. Return the dict of values."""
        self._base = base
        self._touched = {}
        self._new_flashes = None
        self._data = data = dict.fromkeys(base, _PACKED)
        if self._mutex is None:
            self._mutex = RLock()
        self.is_opened = True
        return data

    def opened(self) -> dict[Any, Any]:
        """Return the dict of values, after the values were loaded. Some of its values may still be packed.

        A caller uses only the keys of this dict, and reads the values from the session. The dict may have a key whose
        value cannot be decoded.
        """
        return self._data if self.is_opened else self._open()

    def _opened_to_write(self) -> dict[Any, Any]:
        """Return the dict of values, after the values were loaded. Raises RuntimeError if the load calls this."""
        data = self.opened()
        if not hasattr(self, "_data") or data is not self._data:
            raise RuntimeError(
                "The session was changed while it was being loaded, for example by a log handler. The handler may read "
                "the session, but must not change it."
            )
        return data

    def __getitem__(self, key: Any) -> Any:
        value = (self._data if self.is_opened else self._open())[key]
        return self._unpack(key) if value is _PACKED else value

    def get(self, key: Any, default: Any = None) -> Any:
        value = (self._data if self.is_opened else self._open()).get(key, default)
        if value is _PACKED:
            try:
                return self._unpack(key)
            except KeyError:
                return default
        if value is default and key == own_keys.FLASHES and type(default) is list and self._mutex is not None:
            # flask.flash() adds its message to the default, and then sets the key. Give all threads the same list.
            with self._mutex:
                self._new_flashes = default if self._new_flashes is None else self._new_flashes
            return self._new_flashes
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self.is_opened:
            self._opened_to_write()
        if type(key) is not str:
            key = _plain_key(key)
        with self._mutex:
            self._data[key] = value
            self._touch(key)
        if self.closed:
            self._warn_of_late_change(key)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``. If the key is missing, first set it to ``default``.

        If several threads call this for a missing key, all of them get the object of one thread.
        """
        while (value := self.get(key, _MISSING)) is _MISSING:
            if not self.is_opened:
                self._opened_to_write()
            key = _plain_key(key)
            with self._mutex:
                if key not in self._data:
                    self._data[key] = value = default
                    self._touch(key)
                    break
        if value is default and self.closed:
            self._warn_of_late_change(key)
        return value

    def __delitem__(self, key: Any) -> None:
        if not self.is_opened:
            self._opened_to_write()
        with self._mutex:
            if key == own_keys.FLASHES:
                self._new_flashes = None
            if key in self._data:
                del self._data[key]
            elif not self._is_unreadable(key):
                raise KeyError(key)
            self._touch(key)
        if self.closed:
            self._warn_of_late_change(key)

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove ``key`` and return its value. Return ``default`` if the key is missing, or raise KeyError without it.

        A value of the wrong type under one of the keys in ``own_keys.py`` counts as missing when it is read. This
        method removes such a value as well, and returns it.
        """
        try:
            value = self[key]
            del self[key]
        except KeyError:
            unreadable: SecretBytes | None = None
            if self.is_opened:
                with self._mutex:  # otherwise a key that another thread is deleting would look like an unreadable one
                    if self._is_unreadable(key):
                        # Remove the stored value even if this process cannot decode it. Another process may know its
                        # type, and would still find the value otherwise.
                        unreadable = SecretBytes(self._base[key])
                        self._touch(key)
            if unreadable is not None:
                with suppress(codec.CodecError):
                    return codec.unpack(unreadable)
            if default:
                return default[0]
            raise
        return value

    def _is_unreadable(self, key: Any) -> bool:
        """Return True if ``key`` counts as missing only because its stored value cannot be decoded."""
        return key in self._base and key not in self._touched and key not in self._data

    def __contains__(self, key: object) -> bool:
        return self.get(key, _MISSING) is not _MISSING

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._unpack_all()))  # a list, because another thread may change the dict during the loop

    def __reversed__(self) -> Iterator[Any]:
        return iter(list(self._unpack_all())[::-1])

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
        """Unpack the value of ``key`` and return it. Raises KeyError if the value cannot be decoded.

        A value that can change in place is noted in ``_touched``, so that :meth:`changes` compares it.
        """
        try:
            packed = self._base[key]
            value = own_keys.unpack(key, packed) if key in own_keys.CHECKS else codec.unpack(packed)
        except codec.CodecError as error:
            with self._mutex:
                present = self._data.get(key, _MISSING)
                if present is _PACKED:
                    del self._data[key]
            if present is not _PACKED and present is not _MISSING:
                return present  # another thread has decoded or set the value
            # The packed value stays in the store until the key is set or deleted.
            log.error("%s of %r cannot be decoded and counts as missing: %s", _key_text(key), self, error)
            raise KeyError(key) from None
        return self._publish(key, packed, value)

    def _publish(self, key: Any, packed: bytes, value: Any) -> Any:
        """Use ``value``, unpacked from ``packed``, as the value of ``key``. Return it, or that of a faster thread.

        Otherwise two threads that append to one list would have two lists, and the items of one thread would be lost.
        Raises KeyError if another thread has deleted the key.
        """
        with self._mutex:
            present = self._data[key]
            if present is not _PACKED:
                return present
            if self._base.get(key) is packed:
                self._data[key] = value
                if type(value) not in codec.IMMUTABLE_TYPES:
                    self._touched[key] = value
                return value
        return self[key]  # another thread has saved meanwhile, and the base has another value now

    def _unpack_all(self) -> dict[Any, Any]:
        for key in [key for key, value in list(self.opened().items()) if value is _PACKED]:
            with suppress(KeyError):
                self._unpack(key)
        return self.opened()

    def _touch(self, key: Any) -> None:
        self._touched.setdefault(key, None)

    def _warn_of_late_change(self, key: Any) -> None:
        log.warning(
            "%s was changed after the response was made and is not saved. Change it before the body is streamed.",
            self._place_of(key),
        )

    def changes(self) -> dict[Any, bytes | None]:
        """Return the keys whose values differ from the base, each with its new packed value, or None if it was deleted.

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

    def _rebase_on(
        self, base: dict[Any, bytes], sent: Mapping[Any, bytes | None], wanted: Mapping[Any, bytes] | None = None
    ) -> None:
        """Set the base to ``base``, after this request has sent the changes ``sent`` to the store.

        ``wanted``: the values that the dict shall have. Without it these are the values in ``base``. A value that was
        sent as it is wanted stays, with its later changes: a view, or another thread of the request, may have its
        object, for example a list, in a variable. The other values, which another request has changed, are read again.
        """
        wanted = base if wanted is None else wanted
        if not self.is_opened:
            self._reset(base)
        with self._mutex:
            old, self._base = self._base, base
            known = {**old, **sent}
            others = []
            for key in {**known, **base}:
                if known.get(key) != wanted.get(key):
                    others.append(key)
                elif self._is_as_in(key, old, base):
                    self._touched.pop(key, None)
                else:
                    self._touched[key] = None if base.get(key) != known.get(key) else self._data.get(key)
        for key in others:
            self._read_again(key, known.get(key), wanted.get(key))

    def _is_as_in(self, key: Any, old: dict[Any, bytes], base: dict[Any, bytes]) -> bool:
        """Return True if the value of ``key`` is surely the one in ``base``, without running an encoder.

        A missing value of the base ``old`` that nobody has deleted cannot be decoded, and stays. After ``clear()``,
        ``old`` is empty.
        """
        value = self._data.get(key, _MISSING)
        if value is _PACKED:
            return True
        if value is _MISSING:
            return key not in base or (key in old and key not in self._touched)
        return type(value) in codec.IMMUTABLE_TYPES and codec.is_packed_as(value, base.get(key, b""))

    def _read_again(self, key: Any, sent: bytes | None, wanted: bytes | None) -> None:
        """Give ``key`` the value ``wanted``, unless its value has changed since it was ``sent``."""
        value = self._data.get(key, _MISSING)
        if value is not _MISSING and value is not _PACKED and not codec.is_packed_as(value, sent or b""):
            with self._mutex:
                self._touch(key)
            return
        is_stored = wanted == self._base.get(key)
        new = _PACKED if is_stored or wanted is None else codec.unpack(wanted)
        with self._mutex:
            if self._data.get(key, _MISSING) is not value:
                return  # another thread has set or deleted the key
            if wanted is None:
                self._data.pop(key, None)
            else:
                self._data[key] = new
            self._touched.pop(key, None)
            if not is_stored:
                self._touch(key)

    def _place_of(self, key: Any) -> str:
        """Return the text that names the key in an error or log line, such as ``session['cart']``."""
        return f"session[{_key_text(key)}]"

    def _reload_keys(self, base: dict[Any, bytes], keys: Iterable[Any]) -> None:
        """Discard the changes of ``keys``, so that they have their values in ``base``. ``base`` becomes the new base.

        All other keys must have the same values in ``base`` as in the base until now.
        """
        data = self.opened()
        with self._mutex:
            self._base = base
            for key in keys:
                self._touched.pop(key, None)
                data.pop(key, None)
                if key in base:
                    data[key] = _PACKED

    def _stored_instead(self, key: Any, error: codec.UnsupportedTypeError) -> SecretBytes:
        """Return the packed value from the base for a value that was only read and cannot be packed again.

        Such a value was damaged in the store, or was written by an attacker with access to the store. A page that only
        reads the value must not fail. Raises SessionValueError for any other value that cannot be stored.
        """
        path = self._place_of(key) + "".join(f"[{_key_text(part)}]" for part in error.path)
        problem = SessionValueError(path, error.type_name, error.hint)
        is_read = key in self._base and self._touched.get(key) is self._data[key]
        if not is_read or _can_be_packed_again(self._base[key]):
            raise problem from None
        log.error("%s of %r cannot be packed, so its stored value stays: %s", _key_text(key), self, problem)
        return SecretBytes(self._base[key])


def _plain_key(key: Any) -> Any:
    """Return ``key`` as a plain str if it is of a subclass of str. Return any other key unchanged.

    Otherwise a key of the class Markup would be stored as a Markup, and ``session["name"]`` would not find it. Raises
    SessionValueError for a key that cannot be stored.
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
    """Return a text for a session key in an error or log line: the ``repr()`` of a str or a short int, or the type."""
    is_short = isinstance(key, str) or (isinstance(key, int) and key.bit_length() <= 64)
    return repr(key) if is_short else f"<{type(key).__name__}>"
