"""The bytes of a session in the store: their format, damage, and encryption."""

from __future__ import annotations

import contextlib
import itertools
import struct
import zlib
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from flask_cloakroom.core.entries import envelope
from flask_cloakroom.core.entries.envelope import (
    EntryKind,
    EnvelopeError,
    Header,
    Seal,
    open_header,
    pack,
    pack_values,
    unpack_values,
    unseal,
)
from flask_cloakroom.core.entries.record import Absence, Record
from flask_cloakroom.core.entries.tickets import Tickets, sealing_key
from flask_cloakroom.core.sessions.repository import Repository
from flask_cloakroom.core.values import codec
from flask_cloakroom.errors import StoreError
from flask_cloakroom.stores.memory import MemoryStore
from support.values.every_type import HASHABLE, Colour, Point, Right, identical
from support.values.pickles import PROTOCOLS, touching_pickle

SECONDS = st.integers(0, 2**32 - 1)
MILLISECONDS = st.integers(0, 2**64 - 1)
HEADERS = st.builds(
    Header,
    created=SECONDS,
    renewed=SECONDS,
    seen=SECONDS,
    deadline=SECONDS,
    permanent=st.booleans(),
    owner=st.text(max_size=40),
    fence=SECONDS,
    lease_until=MILLISECONDS,
    turn_until=MILLISECONDS,
    kind=st.sampled_from(EntryKind),
    carries=st.just(False),
)

#: Everything in it differs from its default, so that no two fields can be exchanged unseen.
HEADER = Header(
    created=0x01020304,
    renewed=0x05060708,
    seen=0x090A0B0C,
    deadline=0x0D0E0F10,
    permanent=True,
    owner="ada ☂",
    fence=0x11121314,
    lease_until=0x15161718191A1B1C,
    turn_until=0x25262728292A2B2C,
)
VALUES = {"user": codec.pack("ada"), "cart": codec.pack({"items": [("tea", 2)]})}
TICKET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ"
SEAL = Seal(TICKET, bytes(range(32)))
SEALS = st.sampled_from([None, SEAL])

#: Written before an entry named its key, which is read for as long as such entries may live. Frozen.
STORED_WITHOUT_KEY = bytes.fromhex(
    """
    0101483f0c550102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c000761646120
    e2988282a475736572c404a3616461a463617274c41181a56974656d7391c7060192a374656102
    """
)
#: Frozen. A change here means that stored sessions can no longer be read: it takes a new FORMAT, and a note.
STORED = bytes.fromhex(
    """
    01215111e1750102030405060708090a0b0c0d0e0f101112131415161718191a1b1c000102030405060725262728292a2b2c000761646120
    e2988282a475736572c404a3616461a463617274c41181a56974656d7391c7060192a374656102
    """
)
STORED_PAYLOAD_WITH_OTHER_KEYS = bytes.fromhex(
    """
    c19392c40101c4010192c404a36f6e65c4010292c408c7050192c4016bc0c40103
    """
)
SEALED = bytes.fromhex(
    """
    0123f9f03ae90102030405060708090a0b0c0d0e0f101112131415161718191a1b1c000102030405060725262728292a2b2c000761646120
    e298821231e8b32dbea2c970887d8e3b2aa40eda837c31cf607babde8a833a77715e80bbeaf94a5d3e6b9ccacc9a5cf6e96308737e594945
    c70953dc69acad018cba5b
    """
)
SEALED_WITHOUT_KEY = bytes.fromhex(
    """
    010331d306280102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c000761646120
    e29882d5d919033a2dec0a38cc55cbbc0353f6a287e7071549327246c7e8af8435d8825c47dbf19ec402c5d0e75595c0d532892c8c70e01a
    35f136b44cc0fd8cd0449e
    """
)


def stored(**changes: Any) -> bytes:
    return pack(HEADER._replace(**changes), pack_values(VALUES, codec.pack), SEAL.key)


def opened(data: bytes, seal: Seal | None = SEAL) -> tuple[Header, bytes]:
    header, payload, sealed = open_header(data, SEAL.key)
    if sealed:
        assert seal is not None
        payload = unseal(data, payload, seal)
    return header, payload


class TestFormat:
    """The bytes of an entry, frozen."""

    def test_of_an_open_session(self) -> None:
        """An unencrypted session is written and read with the same bytes as when this test was written."""
        assert stored() == STORED
        header, payload = opened(STORED)
        assert header == HEADER
        assert unpack_values(payload, codec.unpack) == VALUES

    def test_of_a_payload_with_keys_that_are_no_str(self) -> None:
        """Marked by a first byte that MessagePack never writes; the keys keep their types and their order."""
        values = {1: b"\x01", "one": b"\x02", (b"k", None): b"\x03"}
        assert pack_values(values, codec.pack) == STORED_PAYLOAD_WITH_OTHER_KEYS
        assert identical(unpack_values(STORED_PAYLOAD_WITH_OTHER_KEYS, codec.unpack), values)

    def test_of_a_sealed_session(self) -> None:
        """An encrypted entry has a random nonce, so the frozen bytes are only read."""
        header, payload = opened(SEALED)
        assert header == HEADER
        assert unpack_values(payload, codec.unpack) == VALUES

    @pytest.mark.parametrize("data", [STORED_WITHOUT_KEY, SEALED_WITHOUT_KEY], ids=["open", "sealed"])
    def test_of_a_session_that_names_no_key(self, data: bytes) -> None:
        """As the version before wrote it: the bytes at the key's place named the lock's holder."""
        header, payload = opened(data)
        assert header == HEADER
        assert unpack_values(payload, codec.unpack) == VALUES

    def test_keeps_the_layout_of_the_version_before(self) -> None:
        """That version reads our entries while a site is updated server by server: same length, same checksum."""
        assert len(STORED) == len(STORED_WITHOUT_KEY)
        for data in (STORED, STORED_WITHOUT_KEY, SEALED, SEALED_WITHOUT_KEY):
            assert data[0] == 1
            assert struct.unpack_from(">I", data, 2)[0] == zlib.crc32(data[6:], data[1])

    def test_of_every_type(self) -> None:
        """One value of each extension type, as the codec has always written it."""
        for packed, value in FROZEN_VALUES:
            assert codec.pack(value).hex() == packed
            assert identical(codec.unpack(bytes.fromhex(packed)), value)

    def test_covers_every_extension_type(self) -> None:
        """A new type gets a line in this test's table."""
        found = {code for packed, _ in FROZEN_VALUES for code in extension_types(bytes.fromhex(packed))}
        assert found == set(codec._DECODERS)


def extension_types(data: bytes) -> set[int]:
    codes: set[int] = set()
    msgpack.unpackb(data, ext_hook=lambda code, inner: codes.add(code), strict_map_key=False)
    return codes


BERLIN = ZoneInfo("Europe/Berlin")
CEST = timezone(timedelta(hours=2), "CEST")
WEST = timezone(timedelta(hours=-5, minutes=-30))

#: As :data:`STORED`: frozen.
FROZEN_VALUES: list[tuple[str, Any]] = [
    ("c0", None),
    ("c3", True),
    ("01", 1),
    ("d1ff7f", -129),
    ("cb3ff8000000000000", 1.5),
    ("a774656120e29882", "tea ☂"),
    ("c403746561", b"tea"),
    ("9201a161", [1, "a"]),
    ("82a1610102a162", {"a": 1, 2: "b"}),
    ("d6019201a161", (1, "a")),
    ("d6029201a162", {1, "b"}),
    ("d5039102", frozenset({2})),
    ("c71e0493ba323032362d30372d30315431323a33303a31352e303030323530c000", datetime(2026, 7, 1, 12, 30, 15, 250)),
    ("c71f0493b3323032362d30372d30315431323a30303a3030cb000000000000000000", datetime(2026, 7, 1, 12, tzinfo=UTC)),
    (
        "c7240493b3323032362d31302d32355430323a33303a3030ad4575726f70652f4265726c696e01",
        datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    ),
    (
        "c71f0493b3323032362d30372d30315431323a30303a3030cbc0d356000000000000",
        datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=-5, minutes=-30))),
    ),
    (
        "c7250493b3323032362d30372d30315431323a30303a303092cb40bc200000000000a44345535400",
        datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2), "CEST")),
    ),
    ("c70a05323032362d30372d3031", date(2026, 7, 1)),
    ("c70c0693a831323a33303a3030c001", time(12, 30, fold=1)),
    ("d60793ff0203", timedelta(-1, 2, 3)),
    ("d80801000000000000000000000000000007", UUID(int=2**120 + 7)),
    ("c705092d312e3530", Decimal("-1.50")),
    ("c7090a400000000000000000", 2**70),
    ("c7090ac00000000000000000", -(2**70)),
    ("c7130b92cb3ff0000000000000cb4000000000000000", 1 + 2j),
    ("c7030c3c623e", Markup("<b>")),
    ("d60d2f612f62", Path("/a/b")),
    ("c7030e612f62", PurePosixPath("a/b")),
    ("d60f433a5c61", PureWindowsPath("C:/a")),
    ("c709103139322e302e322e31", ip_address("192.0.2.1")),
    ("c70b11323030313a6462383a3a31", ip_address("2001:db8::1")),
    ("c70c123139322e302e322e302f3234", ip_network("192.0.2.0/24")),
    ("c70d13323030313a6462383a3a2f3332", ip_network("2001:db8::/32")),
    ("c70c143139322e302e322e312f3234", ip_interface("192.0.2.1/24")),
    ("c70e15323030313a6462383a3a312f3634", ip_interface("2001:db8::1/64")),
    ("c7152092ad76616c7565732e436f6c6f7572a5475245454e", Colour.GREEN),
    ("c71c2092ac76616c7565732e52696768749292a452454144a54752414e5400", Right.READ | Right.GRANT),
    ("c7162092ac76616c7565732e506f696e7482a17801a179a179", Point(1, "y")),
]


class TestRoundTrip:
    """An entry is opened with the values that were packed."""

    @given(HEADERS, st.binary(max_size=100), SEALS)
    def test_header_and_payload(self, header: Header, payload: bytes, seal: Seal | None) -> None:
        """Every field of the header survives, also its smallest and largest value, with and without encryption."""
        assert opened(pack(header, payload, SEAL.key, seal_for=seal), seal) == (header, payload)

    @given(st.dictionaries(HASHABLE | st.text(st.characters()), st.binary(max_size=20), max_size=5))
    def test_values(self, values: dict[Any, bytes]) -> None:
        """Keys of every hashable type, in their order; the values' bytes untouched."""
        assert identical(unpack_values(pack_values(values, codec.pack), codec.unpack), values)

    def test_no_copy_for_a_session_of_str_keys(self) -> None:
        """The common payload is a plain MessagePack map, which other tools can read."""
        assert msgpack.unpackb(pack_values(VALUES, codec.pack)) == VALUES


class TestKeys:
    """An entry belongs to one key, and is never read as the entry of another key."""

    @given(HEADERS, st.binary(max_size=50), st.binary(min_size=32, max_size=32), SEALS)
    def test_another_keys_entry(self, header: Header, payload: bytes, key: bytes, seal: Seal | None) -> None:
        """An entry of another key is a StoreError: the store answered for the wrong key."""
        data = pack(header, payload, SEAL.key, seal_for=seal)
        assert open_header(data, SEAL.key)[0] == header
        if key[:8] != SEAL.key[:8]:
            with pytest.raises(StoreError, match="belongs to another key"):
                open_header(data, key)

    def test_damage_does_not_take_the_key_away(self) -> None:
        """One or two flipped bits never make an entry that is read under any key."""
        data, other = stored(), bytes(32)
        head = range(6 * 8)
        for first, second in [(bit, bit) for bit in range(len(data) * 8)] + list(itertools.combinations(head, 2)):
            damaged = bytearray(data)
            damaged[first // 8] ^= 1 << first % 8
            if second != first:
                damaged[second // 8] ^= 1 << second % 8
            with pytest.raises(EnvelopeError):
                open_header(bytes(damaged), other)

    def test_no_error_shows_a_key(self) -> None:
        """The error shows neither the requested key nor the key of the answer."""
        with pytest.raises(StoreError) as raised:
            open_header(stored(), bytes(32))
        assert SEAL.key.hex()[:6] not in str(raised.value)


@pytest.mark.promise(11)
class TestDamage:
    """Damaged bytes are an EnvelopeError, which leads to a new session and a log line."""

    def test_every_single_bit(self) -> None:
        """Every flipped bit is noticed, also in header, flags and checksum."""
        data = stored()
        for bit in range(len(data) * 8):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(EnvelopeError):
                open_header(bytes(damaged), SEAL.key)

    def test_every_truncation(self) -> None:
        """An entry that is cut short at any byte is refused, with and without encryption."""
        for data in (stored(), pack(HEADER, pack_values(VALUES, codec.pack), SEAL.key, seal_for=SEAL)):
            for length in range(len(data)):
                with pytest.raises(EnvelopeError):
                    opened(data[:length])

    @given(st.binary(min_size=1, max_size=20))
    def test_anything_after_it(self, rest: bytes) -> None:
        """An entry with further bytes at its end is refused."""
        with pytest.raises(EnvelopeError):
            open_header(stored() + rest, SEAL.key)

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        """Random bytes are refused."""
        with pytest.raises(EnvelopeError):
            open_header(data, SEAL.key)

    @given(st.integers(0, 255), st.binary(max_size=120))
    def test_a_right_checksum_is_no_proof(self, flags: int, rest: bytes) -> None:
        """Whoever can write to the store can make one; what he writes is read, or an EnvelopeError, never another."""
        data = with_checksum(flags, rest)
        with contextlib.suppress(EnvelopeError):
            unpack_values(opened(data)[1], codec.unpack)

    def test_another_format(self) -> None:
        """A record of a later version is refused, and the error names the version."""
        for number in (0, 2, 255):
            with pytest.raises(EnvelopeError, match=f"unknown format {number}"):
                open_header(bytes([number]) + stored()[1:], SEAL.key)

    @pytest.mark.parametrize("flags", [4 | 8, 8 | 16, 4 | 8 | 16])
    def test_an_entry_of_several_kinds(self, flags: int) -> None:
        """Is no entry. Only a tombstone may have the flag of user data as well: then it holds carried data."""
        with pytest.raises(EnvelopeError, match="unknown kind"):
            open_header(with_checksum(32 | flags, stored()[6:]), SEAL.key)
        header, _, _ = open_header(with_checksum(32 | 4 | 16, stored()[6:]), SEAL.key)
        assert header == HEADER._replace(kind=EntryKind.TOMBSTONE, carries=True, permanent=False)

    @pytest.mark.parametrize(
        ("kind", "flag"), [("SESSION", 0), ("TOMBSTONE", 4), ("REMEMBER_FAMILY", 8), ("USER_DATA", 16)]
    )
    def test_the_flag_of_each_kind(self, kind: str, flag: int) -> None:
        """Stays the same for as long as stored entries may live."""
        header = HEADER._replace(kind=EntryKind[kind])
        data = pack(header, b"", SEAL.key)
        assert data[1] == 32 | 1 | flag
        assert open_header(data, SEAL.key)[0] == header

    def test_an_owner_that_is_no_text(self) -> None:
        """An owner that is not text is refused, even under a right checksum."""
        rest = struct.pack(">IIIIIQ8sQH", 1, 1, 1, 0, 0, 0, bytes(8), 0, 2) + b"\xff\xfe" + b"\x80"
        with pytest.raises(EnvelopeError, match="owner"):
            open_header(with_checksum(1, rest), SEAL.key)

    @given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda data: b"\xc1" + data))
    @settings(max_examples=300)
    def test_any_payload(self, payload: bytes) -> None:
        """A payload is a map of keys and values, or an EnvelopeError."""
        with contextlib.suppress(EnvelopeError):
            assert type(unpack_values(payload, codec.unpack)) is dict

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"\xc1",
            b"\xc0",
            msgpack.packb([1, 2]),
            msgpack.packb("text"),
            b"\xc1" + msgpack.packb(5),
            b"\xc1" + msgpack.packb({"ab": 1}),
            b"\xc1" + msgpack.packb(["ab"]),
            b"\xc1" + msgpack.packb([[codec.pack([1]), b"unhashable key"]]),
            b"\xdf\xff\xff\xff\xff",
            b"\xc1\xdd\xff\xff\xff\xff",
            b"\x91" * 100_000,
            b"\x81\xa1k" * 100_000,
        ],
        ids=range(13),
    )
    def test_payloads_that_are_no_map(self, payload: bytes) -> None:
        """An empty payload, another type or a decompression bomb is an EnvelopeError."""
        with pytest.raises(EnvelopeError):
            unpack_values(payload, codec.unpack)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_pickles_are_not_executed(self, protocol: int, tmp_path: Path) -> None:
        """Promise 11, for what lies in a store: as the record, as the payload, and as a value."""
        witness = tmp_path / "executed"
        payload = touching_pickle(witness, protocol)
        repository = Repository(MemoryStore(), Tickets("app"))
        for kind in range(3):
            ticket = repository.tickets.issue()
            key = repository.tickets.fingerprint(ticket)
            record, value = pack(HEADER, payload, key), pack(HEADER, msgpack.packb({"key": payload}), key)
            repository.store.create(key, (payload, record, value)[kind], 60)
            found = repository.load(ticket)
            if isinstance(found, Record):
                with pytest.raises(codec.CodecError):
                    codec.unpack(found.values["key"])
        assert not witness.exists()


def with_checksum(flags: int, rest: bytes) -> bytes:
    return struct.pack(">BBI", envelope.FORMAT, flags, zlib.crc32(rest, flags)) + rest


def resealed(data: bytes, header: Header) -> bytes:
    """Return a sealed record with another header over the same sealed payload, checksum and all."""
    _, payload, sealed = open_header(data, SEAL.key)
    assert sealed
    flags, rest = pack(header, payload, SEAL.key)[1], pack(header, payload, SEAL.key)[6:]
    return with_checksum(flags | data[1] & 2, rest)


@pytest.mark.promise(8)
class TestSealed:
    """Promise 8: SESSION_ENCRYPTION."""

    DATA = pack(HEADER, pack_values(VALUES, codec.pack), SEAL.key, seal_for=SEAL)

    def test_every_single_bit(self) -> None:
        """A flipped bit is refused, also after the checksum was corrected."""
        for bit in range(len(self.DATA) * 8):
            damaged = bytearray(self.DATA)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(EnvelopeError):
                opened(bytes(damaged))
            if bit >= 48:
                mended = with_checksum(damaged[1], bytes(damaged[6:]))
                with pytest.raises((EnvelopeError, StoreError)):  # a StoreError where the key is named
                    opened(mended)

    @pytest.mark.parametrize("flag", [1, 4, 8, 16, 32, 64, 128])
    def test_the_flags_are_bound(self, flag: int) -> None:
        """Without the ticket, the flags cannot be changed: a session cannot become permanent or a tombstone."""
        with pytest.raises(EnvelopeError):
            opened(with_checksum(self.DATA[1] ^ flag, self.DATA[6:]))

    @pytest.mark.parametrize(
        "change",
        [
            {"created": 1},
            {"renewed": 1},
            {"seen": 1},
            {"deadline": 0},
            {"permanent": False},
            {"owner": "eve"},
            {"owner": ""},
            {"fence": 0},
            {"lease_until": 0},
            {"turn_until": 0},
            {"kind": EntryKind.TOMBSTONE},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_the_header_is_bound(self, change: dict[str, Any]) -> None:
        """Without the ticket, no field of the header can be changed, such as the owner or the deadline."""
        assert opened(resealed(self.DATA, HEADER))[0] == HEADER
        with pytest.raises(EnvelopeError):
            opened(resealed(self.DATA, HEADER._replace(**change)))

    def test_cannot_be_moved(self) -> None:
        """An encrypted entry does not open under another key of the store or with another ticket."""
        for seal in (Seal(TICKET, bytes(32)), Seal(TICKET[:-1] + "_", SEAL.key), Seal("", b"")):
            with pytest.raises(EnvelopeError):
                opened(self.DATA, seal)

    def test_shows_nothing(self) -> None:
        """The stored bytes contain neither the ticket nor the key nor a value of the session."""
        values = {"a long key of the session": codec.pack("a long value of the session")}
        data = pack(Header(1, 1, 1), pack_values(values, codec.pack), SEAL.key, seal_for=SEAL)
        for secret in (TICKET.encode(), SEAL.key, sealing_key(TICKET), b"long key", b"long value"):
            assert secret not in data

    def test_is_never_the_same_twice(self) -> None:
        """Each nonce is used once."""
        payload = pack_values(VALUES, codec.pack)
        sealed = {pack(HEADER, payload, SEAL.key, seal_for=SEAL)[-len(payload) - 28 :] for _ in range(1000)}
        assert len({data[:12] for data in sealed}) == 1000
        assert len({data[12:] for data in sealed}) == 1000

    @pytest.mark.parametrize("length", range(30))
    def test_sealed_payloads_that_are_too_short(self, length: int) -> None:
        """A payload that is too short for a nonce or a tag is refused."""
        with pytest.raises(EnvelopeError):
            opened(with_checksum(2, self.DATA[6 : 6 + 46] + b"\0\0" + bytes(length)))

    def test_without_the_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A sealed record that cannot be opened for want of the package is unreadable, and the reason says why."""
        monkeypatch.setitem(__import__("sys").modules, "cryptography.exceptions", None)
        with pytest.raises(EnvelopeError, match="cryptography is not installed"):
            opened(self.DATA)


class TestRepository:
    """Damaged and foreign entries, seen by a request."""

    def test_a_seal_is_not_optional_where_it_is_asked_for(self) -> None:
        """An unsealed record, which anybody with access to the store can write, is unreadable with encryption."""
        store, tickets = MemoryStore(), Tickets("app")
        record = Repository(store, tickets).create(VALUES)
        assert Repository(store, tickets, encrypt=True).load(record.ticket) is Absence.UNREADABLE

    @pytest.mark.parametrize("encrypt", [False, True])
    def test_one_sessions_record_under_anothers_key(self, encrypt: bool) -> None:
        """It is an error, neither the other session nor none: a wrong answer must not log a user in or out."""
        store = MemoryStore()
        repository = Repository(store, Tickets("app"), encrypt=encrypt)
        rich, poor = repository.create(VALUES), repository.create({"user": codec.pack("eve")})
        entry = store.load(rich.key)
        assert entry is not None
        store.replace(poor.key, entry.data, 60, poor.version)
        with pytest.raises(StoreError, match="belongs to another key"):
            repository.load(poor.ticket)

    @given(st.integers(0, 255), st.binary(max_size=100))
    def test_any_record_with_a_right_checksum(self, flags: int, payload: bytes) -> None:
        """Loading, reading and changing it raises nothing but what the codec raises for one value."""
        repository = Repository(MemoryStore(), Tickets("app"))
        now = int(repository.clock())
        ticket = repository.tickets.issue()
        fixed = struct.pack(">IIIIIQ8sQH", now, now, now, 0, 0, 0, bytes(8), 0, 0)
        repository.store.create(
            repository.tickets.fingerprint(ticket), with_checksum(flags & ~envelope._KEYED, fixed + payload), 60
        )
        found = repository.load(ticket)
        if isinstance(found, Record):
            for packed in found.values.values():
                try:
                    codec.unpack(packed)
                except codec.CodecError:
                    continue
