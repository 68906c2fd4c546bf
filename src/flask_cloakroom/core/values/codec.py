"""Pack values into bytes and unpack them with the same types. The format is MessagePack with extension types.

:func:`pack` raises :class:`UnsupportedTypeError` for a value that :func:`unpack` could not return with the same type.
:func:`unpack` creates only the types of the table ``_TYPES`` and the types that the application has registered
(``registered_types.py``). So forged bytes cannot run other code.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
from markupsafe import Markup

#: Types whose values cannot change in place and have no members. After such a value was read, the session need not pack
#: it again to find out if it was changed.
IMMUTABLE_TYPES: Final = frozenset(
    {str, int, float, bool, type(None), bytes, complex, Decimal, UUID, datetime, date, time, timedelta, Markup}
)

#: Size in bytes of a packer's first buffer. The buffer grows if needed. To allocate the default buffer of msgpack,
#: 256 KiB, takes longer than to pack a short value.
_BUFFER: Final = 1024


class CodecError(ValueError):
    """The bytes cannot be unpacked: they are damaged, or the class of the value is not registered in this process."""


class UnsupportedTypeError(TypeError):
    """A value has a type that cannot be stored. ``hint`` says what to do.

    ``path``: the keys and indexes that lead from the packed value to the part of this type.
    """

    def __init__(self, type_name: str, path: tuple[Any, ...], hint: str) -> None:
        super().__init__(type_name)
        self.type_name = type_name
        self.path = path
        self.hint = hint


#: The deepest allowed nesting of tuples, sets and registered classes. Each level takes some frames of Python's stack,
#: which has 1,000 by default. To unpack one level also takes some 50 KB of the thread's stack, which mostly has 8 MB.
#: The limit is far below both, because the code that unpacks a value may already have used a large part of the stack.
MAX_DEPTH: Final = 64

#: The deepest nesting of lists and dicts that the packer of msgpack allows. A level takes some 350 bytes of the
#: thread's stack. The packer starts to count from zero inside each tuple. So inside more than _CHECK_DEPTH tuples, this
#: module allows only MAX_DEPTH levels of lists and dicts.
_PACKER_DEPTH: Final = 1024
_CHECK_DEPTH: Final = 4

TOO_DEEP: Final = "The value is nested too deeply or contains itself. Store a value with fewer levels."
HINT: Final = "Store its parts as str, int, dict or list, or register its class with flask_cloakroom.register_type."


def pack(value: Any) -> bytes:
    """Return ``value`` as bytes. Equal values give equal bytes if types and the order of dicts are the same, too.

    Raises :class:`UnsupportedTypeError` for a value that cannot be stored.
    """
    try:
        if type(value) in IMMUTABLE_TYPES:  # the value is no container, so the checks of its members can be skipped
            packed: bytes = _packer().pack(value)
            return packed
        return _dump(value, 0)
    except _UnsupportedError as error:
        kind = type(error.value)
        name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        path = _path_in(value, MAX_DEPTH if error.hint is TOO_DEEP else _PACKER_DEPTH)
        raise UnsupportedTypeError(name, path, error.hint) from error.__cause__
    except (ValueError, RecursionError) as error:  # msgpack raises ValueError above _PACKER_DEPTH
        raise UnsupportedTypeError(type(value).__name__, (), TOO_DEEP) from error


def is_packed_as(value: Any, packed: bytes) -> bool:
    """Return True if :func:`pack` returns the bytes ``packed`` for ``value``, and False otherwise.

    Return False also for a value that cannot be packed.
    """
    try:
        return pack(value) == packed
    except UnsupportedTypeError:
        return False


def unpack(packed: bytes) -> Any:
    """Return the value that :func:`pack` packed. Raises :class:`CodecError` for other bytes."""
    try:
        return _load(packed)
    except CodecError:
        raise
    except Exception as error:
        # A decode function can raise any error for forged bytes. The text of the error may contain the value, so only
        # the name of the error's class is used.
        raise CodecError(f"the bytes cannot be unpacked ({type(error).__name__})") from error


def unpack_key(packed: bytes) -> Any:
    """Return a key of a session, which :func:`pack` packed. Raises :class:`CodecError` for other bytes.

    Raises CodecError also if the key cannot be packed again. Every save packs all keys of the session, so with such a
    key each save would fail.
    """
    key = unpack(packed)
    try:
        pack(key)
    except UnsupportedTypeError as error:
        raise CodecError(f"unusable key of the type {error.type_name}") from None
    return key


class _UnsupportedError(Exception):
    """A value cannot be packed. :func:`pack` turns this error into UnsupportedTypeError, with the path to the value."""

    def __init__(self, value: Any, hint: str) -> None:
        super().__init__(hint)
        self.value = value
        self.hint = hint


_packer: Callable[..., Any] = partial(
    msgpack.Packer,
    default=lambda value: _encode(value, 0),
    strict_types=True,
    unicode_errors="surrogatepass",
    buf_size=_BUFFER,
)


def _dump(value: Any, depth: int) -> bytes:
    if depth > _CHECK_DEPTH:
        _refuse_deep(value, MAX_DEPTH)
    packer = _packer(default=partial(_encode, depth=depth)) if depth else _packer()
    packed: bytes = packer.pack(value)
    # The packer writes a bytearray or memoryview like bytes, so unpack() would return bytes. Packed bytes begin with
    # one of the markers 0xc4, 0xc5 and 0xc6. Most values have no such marker, and need no search for these types.
    if b"\xc4" in packed or b"\xc5" in packed or b"\xc6" in packed:
        _refuse_buffers(value)
    return packed


def _encode(value: Any, depth: int) -> Any:
    """Return ``value`` in a form that MessagePack can write.

    The packer calls this function for each value of a type that MessagePack does not have. ``depth``: the number of
    tuples, sets and instances around the value.
    """
    if depth > MAX_DEPTH:
        raise _UnsupportedError(value, TOO_DEEP)
    kind = type(value)
    encoder = _ENCODERS.get(kind)
    if encoder is not None:
        code, encode = encoder
        return msgpack.ExtType(code, encode(value, depth + 1))
    if kind in registered_classes:
        name, to_storable = registered_classes[kind]
        return msgpack.ExtType(_REGISTERED, _dump([name, _call_foreign(to_storable, value)], depth + 1))
    plain = _call_foreign(_resolve_proxy, value)
    if plain is value:
        raise _UnsupportedError(value, HINT)
    _refuse_buffers(plain)  # the check in _dump() gets the proxy, and not the object behind it
    packer_knows = type(plain) in (str, bytes, float, bool, list, dict, type(None))
    if packer_knows or (type(plain) is int and -(2**63) <= plain < 2**64):
        return plain
    return _encode(plain, depth + 1)


def _call_foreign(function: Callable[[Any], Any], value: Any) -> Any:
    """Return the result of a function of the application or another package. Raises _UnsupportedError if it fails.

    Without this, pack() would take a ValueError of that function for the packer's error about nesting.
    """
    try:
        return function(value)
    except Exception as error:
        raise _UnsupportedError(value, f"Its class raised {type(error).__name__}. Store parts of the value.") from error


def _resolve_proxy(value: Any) -> Any:
    """Return the object behind a werkzeug LocalProxy, the text of a lazy translation, or ``value`` itself."""
    kind = type(value)
    if hasattr(kind, "_get_current_object"):
        return value._get_current_object()
    # The lazy strings of Flask-Babel, babel, speaklater and Django have no common base class, only similar names.
    is_lazy = "lazy" in kind.__name__.lower() or kind.__name__ == "__proxy__"
    if is_lazy and hasattr(kind, "__add__") and hasattr(kind, "__mod__"):
        return str(value)
    return value


def _decode(code: int, data: bytes, depth: int = 0) -> Any:
    """Return the value in the bytes of an extension type. The unpacker calls this for each such value."""
    if depth > MAX_DEPTH:
        raise CodecError("the value is nested too deeply")
    decoder = _DECODERS.get(code)
    if decoder is None:
        raise CodecError(f"the value has the unknown extension type {code}")
    return decoder(data, depth + 1)


_load: Callable[..., Any] = partial(
    msgpack.unpackb, ext_hook=_decode, strict_map_key=False, unicode_errors="surrogatepass"
)


def _unpack(data: bytes, depth: int) -> Any:
    return _load(data, ext_hook=partial(_decode, depth=depth))


def _unpack_list(data: bytes, depth: int) -> list[Any]:
    """Return the list that was packed into ``data``. Raises CodecError if the bytes are no list.

    For example, forged bytes could have an IP network in the place of a list. A set of all addresses of the network
    would take all the memory.
    """
    members = _unpack(data, depth)
    if type(members) is not list:
        raise CodecError(f"the value has a {type(members).__name__} in the place of a list")
    return members


def _pack_members(members: set[Any] | frozenset[Any], depth: int) -> bytes:
    # The packed members are sorted, so that equal sets give equal bytes. Each process has its own order of a set.
    packed = sorted(_dump(member, depth) for member in members)
    header: bytes = _packer().pack_array_header(len(packed))
    return header + b"".join(packed)


def _pack_zone(moment: datetime | time) -> Any:
    """Return the storable form of the tzinfo of ``moment``.

    The form is None, an IANA name, the seconds east of UTC, or a list of these seconds and a name. Raises
    _UnsupportedError for another kind of tzinfo.
    """
    zone = moment.tzinfo
    if zone is None:
        return None
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    if type(zone) is timezone:
        offset, name = zone.utcoffset(None), zone.tzname(None)
        has_name = name != timezone(offset).tzname(None)
        return [offset.total_seconds(), name] if has_name else offset.total_seconds()
    raise _UnsupportedError(moment, "Its tzinfo cannot be stored by name. Use datetime.timezone or zoneinfo.ZoneInfo.")


def _unpack_zone(zone: Any) -> Any:
    if zone is None:
        return None
    if isinstance(zone, str):
        return ZoneInfo(zone)
    if isinstance(zone, list):
        seconds, name = zone
        return timezone(timedelta(seconds=seconds), name)
    # The object timezone.utc itself for UTC, because some code compares with `is`.
    return timezone(timedelta(seconds=zone)) if zone else timezone.utc  # noqa: UP017


def _pack_moment(moment: datetime | time, depth: int) -> bytes:
    return _dump([moment.replace(tzinfo=None).isoformat(), _pack_zone(moment), moment.fold], depth)


def _unpack_moment(parse: Callable[[str], Any], data: bytes, depth: int) -> Any:
    text, zone, fold = _unpack(data, depth)
    return parse(text).replace(tzinfo=_unpack_zone(zone), fold=fold)


_Encoder = Callable[[Any, int], bytes]
_Decoder = Callable[[bytes, int], Any]


def _pack_int(number: int, depth: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


def _text(kind: Callable[[str], Any]) -> _Decoder:
    return lambda data, depth: kind(data.decode("utf-8", "surrogatepass"))


def _pack_text(value: Any, depth: int) -> bytes:
    return str(value).encode("utf-8", "surrogatepass")


# The number of each extension type, with its class, its pack function and its unpack function. Both functions get the
# depth of nesting as an argument. Sessions in a store contain these numbers, so never give a number to another class.
_TYPES: Final[dict[int, tuple[type[Any], _Encoder, _Decoder]]] = {
    1: (tuple, lambda value, depth: _dump(list(value), depth), lambda data, depth: tuple(_unpack_list(data, depth))),
    2: (set, _pack_members, lambda data, depth: set(_unpack_list(data, depth))),
    3: (frozenset, _pack_members, lambda data, depth: frozenset(_unpack_list(data, depth))),
    4: (datetime, _pack_moment, partial(_unpack_moment, datetime.fromisoformat)),
    5: (date, _pack_text, _text(date.fromisoformat)),
    6: (time, _pack_moment, partial(_unpack_moment, time.fromisoformat)),
    7: (
        timedelta,
        lambda value, depth: _dump([value.days, value.seconds, value.microseconds], depth),
        lambda data, depth: timedelta(*_unpack_list(data, depth)),
    ),
    8: (UUID, lambda value, depth: value.bytes, lambda data, depth: UUID(bytes=data)),
    9: (Decimal, _pack_text, _text(Decimal)),
    10: (int, _pack_int, lambda data, depth: int.from_bytes(data, "big", signed=True)),
    11: (
        complex,
        lambda value, depth: _dump([value.real, value.imag], depth),
        lambda data, depth: complex(*_unpack_list(data, depth)),
    ),
    12: (Markup, _pack_text, _text(Markup)),
    13: (type(Path()), _pack_text, _text(Path)),
    14: (PurePosixPath, _pack_text, _text(PurePosixPath)),
    15: (PureWindowsPath, _pack_text, _text(PureWindowsPath)),
    16: (ipaddress.IPv4Address, _pack_text, _text(ipaddress.IPv4Address)),
    17: (ipaddress.IPv6Address, _pack_text, _text(ipaddress.IPv6Address)),
    18: (ipaddress.IPv4Network, _pack_text, _text(ipaddress.IPv4Network)),
    19: (ipaddress.IPv6Network, _pack_text, _text(ipaddress.IPv6Network)),
    20: (ipaddress.IPv4Interface, _pack_text, _text(ipaddress.IPv4Interface)),
    21: (ipaddress.IPv6Interface, _pack_text, _text(ipaddress.IPv6Interface)),
}
_REGISTERED: Final = 32

#: Each registered class, with its name in packed values and its ``encode`` function.
registered_classes: dict[type[Any], tuple[str, Callable[[Any], Any]]] = {}
#: The name of each registered class in packed values, with the class and its ``decode`` function.
registered_names: dict[str, tuple[type[Any], Callable[[Any], Any]]] = {}


def _decode_registered(data: bytes, depth: int) -> Any:
    name, stored = _unpack(data, depth)
    if name not in registered_names:
        raise CodecError(f"type {name!r} is not registered")
    return registered_names[name][1](stored)


_ENCODERS: Final = {kind: (code, encode) for code, (kind, encode, _) in _TYPES.items()}
_DECODERS: Final = {code: decode for code, (_, _, decode) in _TYPES.items()} | {_REGISTERED: _decode_registered}


def is_known(cls: object) -> bool:
    """Return True if values of this class can be stored without registration."""
    return cls in _ENCODERS or cls in IMMUTABLE_TYPES or cls in (list, dict)


def _refuse_buffers(value: Any) -> None:
    """Raise _UnsupportedError for a bytearray or memoryview in ``value`` or in its dicts and lists.

    Members of other containers are not searched, because :func:`_dump` packs them one by one and calls this function.
    """
    kind = type(value)
    if kind is bytearray or kind is memoryview:
        raise _UnsupportedError(value, "Convert the value with bytes(value), and store the result.")
    if kind is dict:
        for key, member in value.items():
            _refuse_buffers(key)
            _refuse_buffers(member)
    elif kind is list:
        for member in value:
            _refuse_buffers(member)


def _refuse_deep(value: Any, levels: int) -> None:
    """Raise _UnsupportedError if lists and dicts in ``value`` are nested deeper than ``levels``."""
    kind = type(value)
    if kind is dict or kind is list:
        if levels == 0:
            raise _UnsupportedError(value, TOO_DEEP)
        for member in value.values() if kind is dict else value:
            _refuse_deep(member, levels - 1)


def _path_in(value: Any, steps: int) -> tuple[Any, ...]:
    """Return the keys and indexes that lead to the innermost part of ``value`` that cannot be packed.

    The members of a set have no index, so a path ends at the set. Return an empty path if the path has more than
    ``steps`` parts.
    """
    path: tuple[Any, ...] = ()
    parts = [value]
    while len(parts) <= steps:
        failing = next((found for found in _members(parts[-1]) if not _can_be_packed(found[1])), None)
        if failing is None or any(failing[1] is outer for outer in parts):
            return path
        path += failing[0]
        parts.append(failing[1])
    return ()


def _can_be_packed(value: Any) -> bool:
    try:
        _dump(value, 0)
    except (_UnsupportedError, ValueError, RecursionError):
        return False
    return True


def _members(value: Any) -> Iterable[tuple[tuple[Any, ...], Any]]:
    """Yield the members of a container, each with its part of the path: a tuple of its key or index, empty in a set."""
    if type(value) is dict:
        for key, member in value.items():
            yield (key,), key
            yield (key,), member
    elif type(value) in (list, tuple):
        yield from (((index,), member) for index, member in enumerate(value))
    elif type(value) in (set, frozenset):
        yield from (((), member) for member in value)
    elif type(value) in registered_classes and dataclasses.is_dataclass(value):
        yield from (((field.name,), getattr(value, field.name)) for field in dataclasses.fields(value))
