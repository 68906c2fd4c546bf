"""How a session lies in the store: a header, and a map from key to the packed bytes of its value.

====== ===== =====================================================================
offset bytes what
====== ===== =====================================================================
0      1     format, always :data:`FORMAT`
1      1     flags
2      4     CRC-32 of all that follows, begun with the flags
6      4     created
10     4     renewed: when the present ticket was issued
14     4     last seen
18     4     absolute deadline; 0 is none
22     4     fence: how often the session was locked
26     8     the lock's lease: until when, in milliseconds; 0 is none
34     8     the first bytes of the key that the entry is stored under
42     8     until when another request has its turn, in milliseconds; 0 is nobody
50     2     length of the owner
52     n     owner, UTF-8
52+n   …     payload: the packed map, or nonce and sealed map, or the masked successor
====== ===== =====================================================================

Times are whole seconds since the epoch, in UTC; all numbers are big-endian.

Entries without the flag ``_KEYED`` were written by an earlier version. Their 8 bytes at offset 34 named the lock's
holder, which nothing ever read. So both versions read each other's entries, and a site can be updated server by server.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import msgpack

from ...errors import StoreError
from ...secret import SecretBytes
from .tickets import sealing_key

FORMAT: Final = 1
_PERMANENT: Final = 1
_SEALED: Final = 2
_SUPERSEDED: Final = 4
_REMEMBERS: Final = 8
_BELONGS: Final = 16
#: The entry names its key. The checksum covers this flag, so damage cannot turn such an entry into one without a key.
_KEYED: Final = 32

_FIRST: Final = struct.Struct(">BBI")
#: Bytes of the key that an entry names. Keys are hashes, so two of them begin alike with odds of 2**-64.
_KEY_PART: Final = 8
_HEADER: Final = struct.Struct(f">IIIIIQ{_KEY_PART}sQH")
_BOTH: Final = struct.Struct(_FIRST.format + _HEADER.format[1:])
_START: Final = _FIRST.size
_OWNER_AT: Final = _BOTH.size

#: AES-GCM's nonce, 96 bits (NIST SP 800-38D, 8.2). Random: a key seals one session's few thousand versions, far from
#: the 2**32 at which two random nonces of one key become likely enough to matter.
NONCE_BYTES: Final = 12

_STR: Final = frozenset({str})

# The library's first buffer of 256 KiB costs more to get than a session costs to pack.
_packer: Callable[[], Any] = partial(msgpack.Packer, unicode_errors="surrogatepass", buf_size=4096)

_BYTES: Final = frozenset({bytes})


class EnvelopeError(ValueError):
    """The bytes are no session: garbage, cut short, of an unknown format, or sealed with another key."""


class Seal(NamedTuple):
    """What a payload is sealed with: the ticket, and the store's key that it must be found under."""

    ticket: str
    key: bytes

    def __repr__(self) -> str:
        return "<Seal>"


class Header(NamedTuple):
    """What is known of a session without opening its payload."""

    created: int
    renewed: int
    seen: int
    deadline: int = 0
    fence: int = 0
    lease_until: int = 0
    turn_until: int = 0
    permanent: bool = True
    owner: str = ""
    #: A mark: the session that was here has ended or moved on. The payload is the masked successor, or empty.
    superseded: bool = False
    #: No session, but what begins one again: a family of remember tokens.
    remembers: bool = False
    #: No session, but what belongs to a user; of a mark, that it holds what a visitor is about to bring to one.
    belongs: bool = False


def pack(header: Header, payload: bytes, key: bytes, *, seal_for: Seal | None = None) -> SecretBytes:
    """Return the bytes of an entry that is stored under ``key``.

    With ``seal_for`` the payload is encrypted and the header is bound to it.
    """
    created, renewed, seen, deadline, fence, until, turn, permanent, text, superseded, remembers, belongs = header
    owner = text.encode()
    fixed = _HEADER.pack(created, renewed, seen, deadline, fence, until, key[:_KEY_PART], turn, len(owner))
    flags = _KEYED | permanent * _PERMANENT | (seal_for is not None) * _SEALED
    flags |= superseded * _SUPERSEDED | remembers * _REMEMBERS | belongs * _BELONGS
    if seal_for is not None:
        payload = _seal(payload, seal_for, flags, fixed + owner)
    rest = b"".join((fixed, owner, payload))
    return SecretBytes(_FIRST.pack(FORMAT, flags, zlib.crc32(rest, flags)) + rest)


def open_header(data: bytes, key: bytes) -> tuple[Header, bytes, bool]:
    """Return header, payload, and whether the payload is sealed, of what the store returned for ``key``.

    Raises :class:`EnvelopeError` if that is no entry; StoreError if it is the entry of another key. Then the store
    answered another question, and nothing is known of this one: the session may well be there, so whoever asked must
    not be logged out.
    """
    try:
        form, flags, checksum, created, renewed, seen, deadline, fence, until, part, turn, length = _BOTH.unpack_from(
            data
        )
    except struct.error as error:
        raise EnvelopeError("cut short") from error
    if form != FORMAT:
        raise EnvelopeError(f"unknown format {form}")
    if zlib.crc32(data[_START:], flags) != checksum:
        raise EnvelopeError("checksum does not match")
    if flags & _KEYED and part != key[:_KEY_PART]:
        raise StoreError(
            "the store returned an entry that belongs to another key, so nobody was logged in or out by it. If this "
            "happens again, look for what mixes up answers on the way to the store"
        )
    payload_at = _OWNER_AT + length
    try:
        owner = data[_OWNER_AT:payload_at].decode() if length else ""
    except UnicodeDecodeError as error:
        raise EnvelopeError("the owner is not UTF-8") from error
    header = Header(
        created,
        renewed,
        seen,
        deadline,
        fence,
        until,
        turn,
        flags & _PERMANENT != 0,
        owner,
        flags & _SUPERSEDED != 0,
        flags & _REMEMBERS != 0,
        flags & _BELONGS != 0,
    )
    return header, data[payload_at:], flags & _SEALED != 0


def pack_values(values: Mapping[Any, bytes], pack_key: Callable[[Any], bytes]) -> bytes:
    """Return the payload. Keys are packed by ``pack_key`` unless they are str, so that they keep their types."""
    if _STR.issuperset(map(type, values)):
        packed: bytes = _packer().pack(values)
        return packed
    pairs = [[pack_key(key), value] for key, value in values.items()]
    return b"".join((b"\xc1", _packer().pack(pairs)))


def unpack_values(payload: bytes, unpack_key: Callable[[bytes], Any]) -> dict[Any, bytes]:
    """Return the packed values of a payload that :func:`pack_values` made.

    Raises :class:`EnvelopeError` for anything but a map whose values are bytes.
    """
    values: Any
    try:
        # 0xc1 is the one byte that MessagePack never uses: here it says that the keys are packed.
        if payload[:1] == b"\xc1":
            values = {unpack_key(key): value for key, value in msgpack.unpackb(memoryview(payload)[1:])}
        else:
            values = msgpack.unpackb(payload, unicode_errors="surrogatepass")
    except (ValueError, TypeError) as error:
        raise EnvelopeError("the payload cannot be read") from error
    if type(values) is not dict or not _BYTES.issuperset(map(type, values.values())):
        raise EnvelopeError("the payload is not a map of bytes")
    return values


def unseal(data: bytes, payload: bytes, seal: Seal) -> bytes:
    """Return what ``pack`` sealed into ``payload``, the last part of ``data``. Raises :class:`EnvelopeError`."""
    try:
        from cryptography.exceptions import InvalidTag
    except ImportError as error:
        raise EnvelopeError("it is sealed, and the package cryptography is not installed") from error
    bound = _bound(seal, data[1], data[_START : len(data) - len(payload)])
    try:
        opened: bytes = _cipher(seal).decrypt(payload[:NONCE_BYTES], payload[NONCE_BYTES:], bound)
    except (InvalidTag, ValueError) as error:
        raise EnvelopeError("the payload is not sealed with this ticket") from error
    return opened


def _seal(payload: bytes, seal: Seal, flags: int, head: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + bytes(_cipher(seal).encrypt(nonce, payload, _bound(seal, flags, head)))


def _bound(seal: Seal, flags: int, head: bytes) -> bytes:
    """Return what must be as it was when the payload was sealed: its place in the store, and its header."""
    return b"".join((seal.key, bytes((FORMAT, flags)), head))


def _cipher(seal: Seal) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(sealing_key(seal.ticket))
