"""Records as somebody with access to the store could write them: a right checksum around anything."""

from __future__ import annotations

import random
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import msgpack
from markupsafe import Markup

from flask_cloakroom.core.entries import envelope
from flask_cloakroom.core.entries.envelope import EntryKind, EnvelopeError, Header
from flask_cloakroom.core.values import codec

#: The keys of a session that this package, Flask or the site reads.
SESSION_KEYS = (
    *("_user_id", "_fresh", "_fresh_at", "_id", "_auth_hash", "_forced", "_impersonated"),
    *("_flashes", "_flashes_taken", "_user_session", "_user_session:cart", "csrf_token", "visitor"),
    *("_remember", "_remember_seconds", "next", "_user_session:", "\0"),
)
FAMILY_KEYS = ("user_id", "auth_hash", "lifetime", "current", "previous", "successor")
USER_KEYS = ("cart", "\0")

NUMBERS = (0, 1, -1, 59, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, -(2**63), 2**64 - 1, 2**70, -(2**300), 1 << 20_000)
TEXTS = ("", "x", "1", "mira", "desk-bell", "\0", "\ud800", "a\r\nSet-Cookie: a=b", "ü" * 300, "7" * 5000, "x" * 70_000)


def nested(levels: int, kind: Callable[[Any], Any]) -> Any:
    """Return a value inside so many others."""
    value: Any = "x"
    for _ in range(levels):
        value = kind(value)
    return value


VALUES: tuple[Any, ...] = (
    *(None, True, False, 0.0, 1.5, float("nan"), float("inf"), -1e308, 1 + 2j),
    *(b"", b"\xff" * 32, b"\0" * 5000),
    *(Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), Decimal("1E+999999"), Decimal("1E-999999")),
    *(datetime.min, datetime.max, datetime.now(UTC), date.max, timedelta.max, timedelta.min),
    *(UUID(int=0), Markup("<b>"), ip_address("::1"), PurePosixPath("/a/../b")),
    *([], {}, (), set(), [1, 2], [[]], [[1, 2, 3]], {"x": 1}, {1: 2}, {"items": 5}, {"items": {"desk-bell": 5}}),
    *([("message", "x")], [("message",)], [["message", {"x": [1]}]], [(1, 2)], [([], "x")], [("success", "\ud800")]),
    *({"a": (1, [])}, {"a": (2**70, [("message", "x")])}, {"a": (9e99, 5)}, {"a": 5}, {5: ("x", "y")}),
    *(nested(levels, lambda value: [value]) for levels in (20, 200, 900)),
    *(nested(levels, lambda value: {"items": value}) for levels in (20, 900)),
    *(nested(levels, lambda value: (value,)) for levels in (5, 50)),
    list(range(3000)),
)
#: Packed values that no codec writes: cut short, unknown types, timestamps, deeper than a packer goes, bombs.
PACKED = (
    *(b"", b"\xc1", b"\xc4", b"\xd9\xff", b"\xa3\xff\xfe\xfd", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"),
    *(
        b"\xd4\x63\x00",
        b"\xd6\xff\x00\x00\x00\x00",
        b"\xd7\x04" + bytes(8),
        b"\xc7\x01\x20\xc0",
        b"\xc7\x02\x20\x91\xa0",
    ),
    *(b"\x91" * 1020 + b"\xc0", b"\x91" * 5000, b"\xc7\x00\x01", b"\xc7\x00\x0a", b"\xd4\x09\x78", b"\xd4\x0d\x00"),
)


def tuples_around(levels: int, inside: bytes) -> bytes:
    """Return a packed value in so many tuples, which may be deeper than the codec would pack it."""
    for _ in range(levels):
        body = b"\x91" + inside
        inside = b"\xc9" + struct.pack(">IB", len(body), 1) + body
    return inside


DEEP = tuple(tuples_around(levels, b"\x91" * lists + b"\xc0") for levels in (5, 30, 60) for lists in (0, 70, 300))

#: What an entry's owner may say: name, handle and note, of which only the note is read as JSON.
NOTES = (
    *("", "5", "[]", "{", "[" * 30_000, '{"at":' * 5_000, '{"at": 1e999}', '{"at": ' + "9" * 4000 + "}"),
    *('{"at": 253402300800}', '{"at": -5, "agent": 7, "address": []}', '{"agent": "\\ud800", "address": "\\udfff"}'),
    *('{"agent": "' + "Mozilla/5.0 (" * 1000 + '"}', '{"remembered": true}', '{"remembered": "yes", "at": true}'),
)


class Forger:
    """Makes hostile records, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = random.Random(seed)

    def __repr__(self) -> str:
        return f"Forger({self._seed})"

    def some_of(self, keys: list[bytes]) -> list[bytes]:
        """Return some keys: one, several or all."""
        return self._random.sample(keys, self._random.choice((1, 1, 2, 3, len(keys))) % (len(keys) + 1))

    def forged(self, key: bytes, data: bytes) -> bytes:
        """Return an entry for the place of this one."""
        return self.synthesized(key) if self._random.random() < 0.25 else self.mutated(key, data)

    def mutated(self, key: bytes, data: bytes) -> bytes:
        """Return an entry of a real site with something wrong in it, under a right checksum."""
        header, payload, _ = envelope.open_header(data, key)
        kind = self._random.choice(
            ("value", "value", "inside", "inside", "header", "owner", "payload", "flags", "bytes")
        )
        if kind in ("header", "owner"):
            return self._packed(key, self.header(header, only_owner=kind == "owner"), payload)
        if kind == "flags":
            return signed(self._random.randrange(256), data[6:])
        if kind == "bytes":
            return signed(data[1], self._scratched(data[6:]))
        try:
            values = envelope.unpack_values(payload, codec.unpack)
        except EnvelopeError:  # a tombstone
            return self._packed(key, header, self._scratched(payload))
        if kind == "payload":
            return self._packed(key, header, self.payload(values))
        name = self._random.choice((*values, *self._names_for(header)))
        values[name] = self._inside(values[name]) if kind == "inside" and name in values else self.value()
        return self._packed(key, header, msgpack.packb(values, unicode_errors="surrogatepass"))

    def synthesized(self, key: bytes) -> bytes:
        """Return an entry of no site at all."""
        now = int(time.time())
        kind, *others = EntryKind
        if self._random.random() < 0.4:
            kind = self._random.choice(others)
        header = Header(now, now, now, kind=kind, carries=self._random.random() < 0.15)
        if self._random.random() < 0.3:
            header = self.header(header)
        names = self._names_for(header)
        chosen = self._random.sample(names, self._random.randint(0, len(names)))
        values = {name: self.value() for name in chosen}
        payload = self.payload(values) if self._random.random() < 0.3 else None
        if payload is None:
            payload = msgpack.packb(values, unicode_errors="surrogatepass")
        if header.kind is EntryKind.TOMBSTONE:
            payload = self._random.choice((b"", key, key[:9], bytes(32), key + bytes(43), key + payload, payload))
        return self._packed(key, header, payload)

    def header(self, header: Header, *, only_owner: bool = False) -> Header:
        """Return a header with one field, or the owner, of another value."""
        field = "owner" if only_owner else self._random.choice(Header._fields)
        now = int(time.time())
        times = (0, 1, now - 86_400, now - 100, now, now + 50, now + 100, now + 86_400, 2**32 - 1)
        kind = Header._field_defaults.get(field, 0)
        if field == "owner":
            parts = header.owner.split(".", 2)
            choice = self._random.randrange(4)
            if choice == 0:
                return header._replace(
                    owner=self._random.choice(("", ".", "..", "a.b", "x" * 60_000, "☂.☂.☂", "\0.\0."))
                )
            name, handle = (parts + [""] * 2)[:2]
            return header._replace(owner=f"{name}.{handle}.{self._random.choice(NOTES)}"[:65_000])
        if field == "kind":
            return header._replace(kind=self._random.choice(list(EntryKind)))
        if isinstance(kind, bool):
            return header._replace(**{field: not getattr(header, field)})
        long = (2**64 - 1, int(time.time() * 1000) + 500) if field in ("lease_until", "turn_until") else ()
        return header._replace(**{field: self._random.choice((*times, *long))})

    def value(self) -> Any:
        """Return what stands as a packed value in a payload: mostly bytes, and often bytes of a value."""
        choice = self._random.random()
        if choice < 0.75:
            return codec.pack(self._random.choice((*VALUES, *NUMBERS, *TEXTS)))
        if choice < 0.95:
            return self._random.choice((*PACKED, *DEEP))
        return self._random.choice((None, 5, "text", [1], {"a": 1}, 1.5, True))

    def payload(self, values: dict[Any, Any]) -> bytes:
        """Return a payload that is no map from text to bytes, or a map of strange keys."""
        whole: bytes = msgpack.packb(values, unicode_errors="surrogatepass")
        pairs = [
            [codec.pack(self._random.choice((*VALUES[:20], *NUMBERS, *TEXTS, name))), value]
            for name, value in values.items()
        ]
        strange: bytes = b"\xc1" + msgpack.packb(pairs, unicode_errors="surrogatepass")
        deep = b"\xc1" + msgpack.packb([[self._random.choice(DEEP), codec.pack(1)]])
        return self._random.choice(
            (
                b"",
                b"\xc1",
                b"\x80",
                b"\xc0",
                whole[:-1],
                whole + b"\0",
                whole * 2,
                self._scratched(whole),
                strange,
                deep,
            )
        )

    def _inside(self, packed: Any) -> Any:
        """Return a packed value with something else at one place inside."""
        try:
            value = codec.unpack(packed)
        except codec.CodecError:
            return self.value()
        changed = self._replaced(value)
        try:
            return codec.pack(changed)
        except codec.UnsupportedTypeError:
            return self.value()

    def _replaced(self, value: Any) -> Any:
        other = self._random.choice((*VALUES, *NUMBERS, *TEXTS))
        if not value or self._random.random() < 0.2:
            return other
        if isinstance(value, bytes) and self._random.random() < 0.8:
            return self._inside(value)  # a packed value in a packed value, as in the log of a merge
        if isinstance(value, dict):
            name = self._random.choice(list(value))
            return {**value, name: self._replaced(value[name])}
        if isinstance(value, list | tuple):
            at = self._random.randrange(len(value))
            return type(value)([*value[:at], self._replaced(value[at]), *value[at + 1 :]])
        return other

    def _scratched(self, data: bytes) -> bytes:
        """Return bytes with some changed, cut or added."""
        scratched = bytearray(data)
        for _ in range(self._random.randint(1, 4)):
            if scratched:
                scratched[self._random.randrange(len(scratched))] = self._random.randrange(256)
        return bytes(scratched[: self._random.choice((None, None, -1, 5, 40))]) + self._random.choice((b"", b"", b"\0"))

    def _names_for(self, header: Header) -> tuple[str, ...]:
        if header.kind is EntryKind.REMEMBER_FAMILY:
            return FAMILY_KEYS
        return USER_KEYS if header.kind is EntryKind.USER_DATA else SESSION_KEYS

    def _packed(self, key: bytes, header: Header, payload: bytes) -> bytes:
        data = envelope.pack(header, payload, key)
        if self._random.random() < 0.3:  # as the version before wrote it
            data = signed(data[1] & ~envelope._KEYED, data[6:])
        return data


def signed(flags: int, rest: bytes) -> bytes:
    """Return an entry with these flags and this header and payload, under a right checksum."""
    return struct.pack(">BBI", envelope.FORMAT, flags, zlib.crc32(rest, flags)) + rest


def cases(seed: int, number: int, worlds: int, pages: int) -> Iterator[tuple[Forger, int, int]]:
    """Yield a forger, a world and a page so many times: every page in every world, again and again."""
    for count in range(number):
        yield Forger(seed * 1_000_000 + count), count % worlds, count // worlds % pages
