"""Values to bytes and back, each as the type that it was. The format is MessagePack with extension types.

What goes in comes out; what could not is refused with :class:`UnsupportedTypeError`. Decoding runs no code
but that of the types below and of those that the application registered (``registered_types.py``).
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

#: Types that MessagePack keeps by itself and that cannot change under our hands: once read, never packed again.
IMMUTABLE_TYPES: Final = frozenset(
    {
        str,
        int,
        float,
        bool,
        type(None),
        bytes,
        complex,
        Decimal,
        UUID,
        datetime,
        date,
        time,
        timedelta,
        Markup,
    }
)

#: Bytes of a packer's first buffer, which grows when a value needs it; the library's own start of 256 KiB
#: costs more than packing a short value.
_BUFFER: Final = 1024


class CodecError(ValueError):
    """The bytes are not what this codec wrote, or name a type that is not registered (any more)."""


class UnsupportedTypeError(TypeError):
    """A value that cannot be stored. ``path`` are the keys and indexes that lead to it."""

    def __init__(self, type_name: str, path: tuple[Any, ...], hint: str) -> None:
        super().__init__(type_name)
        self.type_name = type_name
        self.path = path
        self.hint = hint


#: How deep tuples, sets and registered classes may lie in each other. Each level takes some frames of Python's
#: stack (1,000 by default) at packing and at unpacking, and what was packed must be readable from deeper down. At
#: unpacking each takes some 50 KB of the thread's stack too (8 MB, mostly), so a record that is deeper is not read.
MAX_DEPTH: Final = 64

#: MessagePack's packer takes so many lists and dicts in each other, with some 350 bytes of the thread's stack for
#: each, and begins anew in every tuple. So in more tuples than _DEEP they may only lie MAX_DEPTH deep.
_PACKER_DEPTH: Final = 1024
_DEEP: Final = 4

TOO_DEEP: Final = "It is nested too deeply or contains itself."
HINT: Final = (
    "Store what it is made of (str, int, dict, list …), or register an Enum, a dataclass or a class of your "
    "own with flask_cloakroom.register_type."
)


def pack(value: Any) -> bytes:
    """Return ``value`` as bytes. Equal values of equal types give equal bytes, but for the order of dicts.

    Raises :class:`UnsupportedTypeError`.
    """
    try:
        if type(value) in IMMUTABLE_TYPES:  # no container: nothing in it to look for
            packed: bytes = _packer().pack(value)
            return packed
        return _dump(value, 0)
    except _UnsupportedError as error:
        kind = type(error.culprit)
        name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        path = _path_in(value, MAX_DEPTH if error.hint is TOO_DEEP else _PACKER_DEPTH)
        raise UnsupportedTypeError(name, path, error.hint) from error.__cause__
    except (ValueError, RecursionError) as error:  # the packer's own limit
        raise UnsupportedTypeError(type(value).__name__, (), TOO_DEEP) from error


def is_packed_as(value: Any, packed: bytes) -> bool:
    """Return whether :func:`pack` makes exactly these bytes of a value. False for a value that cannot be packed."""
    try:
        return pack(value) == packed
    except UnsupportedTypeError:
        return False


def unpack(packed: bytes) -> Any:
    """Return the value that :func:`pack` made ``packed`` from. Raises :class:`CodecError`."""
    try:
        return _load(packed)
    except CodecError:
        raise
    except Exception as error:
        # Whatever a decoder raises at bytes that are not its own; what they hold must not be in the text.
        raise CodecError(f"undecodable value ({type(error).__name__})") from error


def unpack_key(packed: bytes) -> Any:
    """Return the key of a map that :func:`pack` made ``packed`` from. Raises :class:`CodecError`.

    Every save writes the keys anew, so a key that cannot be packed again would make the whole record unusable.
    """
    key = unpack(packed)
    try:
        pack(key)
    except UnsupportedTypeError as error:
        raise CodecError(f"unusable key ({error.type_name})") from None
    return key


class _UnsupportedError(Exception):
    """Raised inside the packer, which knows the value but not the way to it."""

    def __init__(self, culprit: Any, hint: str) -> None:
        super().__init__(hint)
        self.culprit = culprit
        self.hint = hint


_packer: Callable[..., Any] = partial(
    msgpack.Packer,
    default=lambda value: _encode(value, 0),
    strict_types=True,
    unicode_errors="surrogatepass",
    buf_size=_BUFFER,
)


def _dump(value: Any, depth: int) -> bytes:
    if depth > _DEEP:
        _refuse_deep(value, MAX_DEPTH)
    packer = _packer(default=partial(_encode, depth=depth)) if depth else _packer()
    packed: bytes = packer.pack(value)
    # The packer writes bytearray and memoryview as if they were bytes, and they would come back as such. It
    # can only have happened where a "bin" marker is, which few packed values contain.
    if b"\xc4" in packed or b"\xc5" in packed or b"\xc6" in packed:
        _refuse_buffers(value)
    return packed


def _encode(value: Any, depth: int) -> Any:
    """Called by the packer for each value that MessagePack doesn't know."""
    if depth > MAX_DEPTH:
        raise _UnsupportedError(value, TOO_DEEP)
    kind = type(value)
    encoder = _ENCODERS.get(kind)
    if encoder is not None:
        code, encode = encoder
        return msgpack.ExtType(code, encode(value, depth + 1))
    if kind in registered_classes:
        name, to_storable = registered_classes[kind]
        return msgpack.ExtType(_REGISTERED, _dump([name, _asked(to_storable, value)], depth + 1))
    plain = _asked(_behind_proxy, value)
    if plain is value:
        raise _UnsupportedError(value, HINT)
    _refuse_buffers(plain)  # the packer meets here what `_dump` has not seen
    packer_knows = type(plain) in (str, bytes, float, bool, list, dict, type(None))
    if packer_knows or (type(plain) is int and -(2**63) <= plain < 2**64):
        return plain
    return _encode(plain, depth + 1)


def _asked(question: Callable[[Any], Any], value: Any) -> Any:
    """Call code that is not ours, so that what it raises is not taken for the packer's."""
    try:
        return question(value)
    except Exception as error:
        raise _UnsupportedError(value, f"Asked for its contents it raised {type(error).__name__}.") from error


def _behind_proxy(value: Any) -> Any:
    """Return what a werkzeug LocalProxy or a lazy translation stands for, or ``value`` itself."""
    kind = type(value)
    if hasattr(kind, "_get_current_object"):
        return value._get_current_object()
    # Flask-Babel's, babel's, speaklater's and Django's lazy strings have no common base, only a common look.
    lazy = "lazy" in kind.__name__.lower() or kind.__name__ == "__proxy__"
    if lazy and hasattr(kind, "__add__") and hasattr(kind, "__mod__"):
        return str(value)
    return value


def _decode(code: int, data: bytes, depth: int = 0) -> Any:
    """Called by the unpacker for each extension type."""
    if depth > MAX_DEPTH:
        raise CodecError("nested too deeply")
    decoder = _DECODERS.get(code)
    if decoder is None:
        raise CodecError(f"unknown extension type {code}")
    return decoder(data, depth + 1)


_load: Callable[..., Any] = partial(
    msgpack.unpackb, ext_hook=_decode, strict_map_key=False, unicode_errors="surrogatepass"
)


def _unpack(data: bytes, depth: int) -> Any:
    return _load(data, ext_hook=partial(_decode, depth=depth))


def _unpack_list(data: bytes, depth: int) -> list[Any]:
    """Return a list. Anything else is forged, and a set of the addresses of an IP network would never be complete."""
    found = _unpack(data, depth)
    if type(found) is not list:
        raise CodecError(f"a {type(found).__name__} in the place of a list")
    return found


def _pack_members(members: set[Any] | frozenset[Any], depth: int) -> bytes:
    # In the order of their bytes, because a set's own order differs from run to run.
    packed = sorted(_dump(member, depth) for member in members)
    header: bytes = _packer().pack_array_header(len(packed))
    return header + b"".join(packed)


def _pack_zone(moment: datetime | time) -> Any:
    """Return how to find its tzinfo again: None, an IANA name, or seconds east of UTC, with a name if it has one."""
    zone = moment.tzinfo
    if zone is None:
        return None
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    if type(zone) is timezone:
        offset, name = zone.utcoffset(None), zone.tzname(None)
        named = name != timezone(offset).tzname(None)
        return [offset.total_seconds(), name] if named else offset.total_seconds()
    raise _UnsupportedError(
        moment, "Its tzinfo cannot be found again by name: use datetime.timezone or zoneinfo.ZoneInfo."
    )


def _unpack_zone(zone: Any) -> Any:
    if zone is None:
        return None
    if isinstance(zone, str):
        return ZoneInfo(zone)
    if isinstance(zone, list):
        seconds, name = zone
        return timezone(timedelta(seconds=seconds), name)
    # UTC is one object, and code compares with `is`.
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


# Extension type → (class, to bytes, from bytes); both are told the depth that it lies at.
# A number, once given, is never given to another type.
_TYPES: Final[dict[int, tuple[type[Any], _Encoder, _Decoder]]] = {
    1: (tuple, lambda value, depth: _dump(list(value), depth), lambda data, depth: tuple(_unpack_list(data, depth))),
    2: (set, _pack_members, lambda data, depth: set(_unpack_list(data, depth))),
    3: (frozenset, _pack_members, lambda data, depth: frozenset(_unpack_list(data, depth))),
    4: (datetime, _pack_moment, partial(_unpack_moment, datetime.fromisoformat)),
    5: (
        date,
        lambda value, depth: value.isoformat().encode(),
        lambda data, depth: date.fromisoformat(data.decode()),
    ),
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

_ENCODERS: Final = {kind: (code, encode) for code, (kind, encode, _) in _TYPES.items()}
_DECODERS: Final[dict[int, _Decoder]] = {code: decode for code, (_, _, decode) in _TYPES.items()}

#: An application's classes, each with its name in the stored data and what makes of a value something storable.
registered_classes: dict[type[Any], tuple[str, Callable[[Any], Any]]] = {}
#: The same classes by their names, each with what makes a value again.
registered_names: dict[str, tuple[type[Any], Callable[[Any], Any]]] = {}


def is_known(cls: object) -> bool:
    """Return whether values of this class are stored as what they are, without being registered."""
    return cls in _ENCODERS or cls in IMMUTABLE_TYPES or cls in (list, dict)


def _decode_registered(data: bytes, depth: int) -> Any:
    name, stored = _unpack(data, depth)
    if name not in registered_names:
        raise CodecError(f"type {name!r} is not registered")
    return registered_names[name][1](stored)


_DECODERS[_REGISTERED] = _decode_registered


def _refuse_buffers(value: Any) -> None:
    """Refuse bytearray and memoryview in what one packer wrote: it went through dicts and lists only."""
    kind = type(value)
    if kind is bytearray or kind is memoryview:
        raise _UnsupportedError(value, "Store bytes(value).")
    if kind is dict:
        for key, member in value.items():
            _refuse_buffers(key)
            _refuse_buffers(member)
    elif kind is list:
        for member in value:
            _refuse_buffers(member)


def _refuse_deep(value: Any, levels: int) -> None:
    """Refuse lists and dicts that lie more than ``levels`` deep in each other."""
    kind = type(value)
    if kind is dict or kind is list:
        if levels == 0:
            raise _UnsupportedError(value, TOO_DEEP)
        for member in value.values() if kind is dict else value:
            _refuse_deep(member, levels - 1)


def _path_in(value: Any, steps: int) -> tuple[Any, ...]:
    """Return the keys and indexes that lead to the innermost part of ``value`` that cannot be packed by itself.

    What lies in a set has no index, so there the path ends with the set. Empty if it takes more than ``steps``.
    """
    path: tuple[Any, ...] = ()
    passed = [value]
    while len(passed) <= steps:
        failing = next((found for found in _members(passed[-1]) if not _can_be_packed(found[1])), None)
        if failing is None or any(failing[1] is outer for outer in passed):
            return path
        path += failing[0]
        passed.append(failing[1])
    return ()


def _can_be_packed(value: Any) -> bool:
    try:
        _dump(value, 0)
    except (_UnsupportedError, ValueError, RecursionError):
        return False
    return True


def _members(value: Any) -> Iterable[tuple[tuple[Any, ...], Any]]:
    """Yield what ``value`` holds, each with what it adds to the path."""
    if type(value) is dict:
        for key, member in value.items():
            yield (key,), key
            yield (key,), member
    elif type(value) in (list, tuple):
        for index, member in enumerate(value):
            yield (index,), member
    elif type(value) in (set, frozenset):
        for member in value:
            yield (), member
    elif type(value) in registered_classes and dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield (field.name,), getattr(value, field.name)
