"""The bytes of an entry: a header and a payload. A session's payload maps each key to the packed bytes of its value.

====== ===== ==========================================================================
offset bytes content
====== ===== ==========================================================================
0      1     format, always :data:`FORMAT`
1      1     flags
2      4     CRC-32 of all following bytes, with the flags as start value
6      4     time of creation
10     4     time at which the current ticket or token was issued
14     4     time of the last activity
18     4     absolute deadline; 0: none
22     4     fence: how often the session was locked
26     8     end of the lock's lease, in milliseconds; 0: not locked
34     8     first bytes of the key under which the entry is stored
42     8     end of a request's turn to write, in milliseconds; 0: no request has the turn
50     2     length of the owner
52     n     owner, UTF-8
52+n   …     payload: the packed map; or a nonce and the encrypted map; or a tombstone's
====== ===== ==========================================================================

Times are whole seconds since the epoch, in UTC. All numbers are big-endian.

An earlier version wrote entries without the flag ``_KEYED``. Its 8 bytes at offset 34 named the lock's holder, and no
code read them. So both versions read each other's entries, and a site can update one server after the other.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import partial
from typing import Any, Final, NamedTuple

import msgpack

from ...errors import StoreError
from ...secret import SecretBytes
from .tickets import sealing_key

FORMAT: Final = 1
_PERMANENT: Final = 1
_SEALED: Final = 2
#: On a tombstone: the payload holds carried data.
_CARRIES: Final = 16
#: The entry names its key. The checksum covers this flag, so damage cannot turn such an entry into one without a key.
_KEYED: Final = 32


class EntryKind(IntEnum):
    """The content of an entry. The values are flags of the second byte."""

    SESSION = 0
    TOMBSTONE = 4
    REMEMBER_FAMILY = 8
    USER_DATA = 16


#: The kind of entry for these flags, and whether the entry holds carried data.
_KINDS: Final = {
    **{int(kind): (kind, False) for kind in EntryKind},
    EntryKind.TOMBSTONE | _CARRIES: (EntryKind.TOMBSTONE, True),
}
_KIND_FLAGS: Final = EntryKind.TOMBSTONE | EntryKind.REMEMBER_FAMILY | EntryKind.USER_DATA

_FIRST: Final = struct.Struct(">BBI")
#: Bytes of the key that an entry names. Keys are hashes: two of them begin alike with a probability of 2**-64.
_KEY_PART: Final = 8
_HEADER: Final = struct.Struct(f">IIIIIQ{_KEY_PART}sQH")
_BOTH: Final = struct.Struct(_FIRST.format + _HEADER.format[1:])
_START: Final = _FIRST.size
_OWNER_AT: Final = _BOTH.size

#: Length of AES-GCM's nonce: 96 bits (NIST SP 800-38D, 8.2). Nonces are random. One key encrypts the few thousand
#: versions of one session. NIST allows 2**32 random nonces for one key.
NONCE_BYTES: Final = 12

_STR: Final = frozenset({str})

# The library's default buffer is 256 KiB. To allocate it takes longer than to pack a session.
_packer: Callable[[], Any] = partial(msgpack.Packer, unicode_errors="surrogatepass", buf_size=4096)

_BYTES: Final = frozenset({bytes})


class EnvelopeError(ValueError):
    """The bytes are no readable entry: damaged, cut short, of an unknown format, or encrypted with another key."""


class Seal(NamedTuple):
    """The secrets that encrypt a payload: the ticket, and the key under which the entry is stored."""

    ticket: str
    key: bytes

    def __repr__(self) -> str:
        return "<Seal>"


class Header(NamedTuple):
    """The first part of an entry. It can be read without the ticket."""

    created: int
    renewed: int
    seen: int
    deadline: int = 0
    fence: int = 0
    lease_until: int = 0
    turn_until: int = 0
    permanent: bool = True
    owner: str = ""
    kind: EntryKind = EntryKind.SESSION
    #: Whether a tombstone holds carried data.
    carries: bool = False


def pack(header: Header, payload: bytes, key: bytes, *, seal_for: Seal | None = None) -> SecretBytes:
    """Return the bytes of an entry to store under ``key``.

    ``seal_for``: encrypt the payload with these secrets, and bind the header to it.
    """
    created, renewed, seen, deadline, fence, until, turn, permanent, text, kind, carries = header
    owner = text.encode()
    fixed = _HEADER.pack(created, renewed, seen, deadline, fence, until, key[:_KEY_PART], turn, len(owner))
    flags = _KEYED | permanent * _PERMANENT | (seal_for is not None) * _SEALED | kind | carries * _CARRIES
    if seal_for is not None:
        nonce, bound = os.urandom(NONCE_BYTES), _bound(seal_for, flags, fixed + owner)
        payload = nonce + bytes(_cipher(seal_for).encrypt(nonce, payload, bound))
    rest = b"".join((fixed, owner, payload))
    return SecretBytes(_FIRST.pack(FORMAT, flags, zlib.crc32(rest, flags)) + rest)


def open_header(data: bytes, key: bytes) -> tuple[Header, bytes, bool]:
    """Return an entry's header, its payload, and whether the payload is encrypted.

    ``data``: the bytes that the store returned for ``key``. Raises :class:`EnvelopeError` if they are no entry, and
    StoreError if they are the entry of another key. In the second case the store answered a different question. The
    session of ``key`` may well exist, so the caller must not treat its visitor as logged out.
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
            "the store returned an entry that belongs to another key, so this request logged nobody in or out. If this "
            "happens again, look for a proxy or connection that mixes up the store's answers"
        )
    payload_at = _OWNER_AT + length
    try:
        kind, carries = _KINDS[flags & _KIND_FLAGS]
        owner = data[_OWNER_AT:payload_at].decode() if length else ""
    except KeyError as error:
        raise EnvelopeError("unknown kind of entry") from error
    except UnicodeDecodeError as error:
        raise EnvelopeError("the owner is not UTF-8") from error
    permanent = flags & _PERMANENT != 0
    header = Header(created, renewed, seen, deadline, fence, until, turn, permanent, owner, kind, carries)
    return header, data[payload_at:], flags & _SEALED != 0


def pack_values(values: Mapping[Any, bytes], pack_key: Callable[[Any], bytes]) -> bytes:
    """Return the payload for packed values. ``pack_key``: packs all keys if one of them is no str."""
    if _STR.issuperset(map(type, values)):
        packed: bytes = _packer().pack(values)
        return packed
    pairs = [[pack_key(key), value] for key, value in values.items()]
    return b"".join((b"\xc1", _packer().pack(pairs)))


def unpack_values(payload: bytes, unpack_key: Callable[[bytes], Any]) -> dict[Any, bytes]:
    """Return the packed values in a payload of :func:`pack_values`.

    Raises :class:`EnvelopeError` if the payload is no map whose values are bytes.
    """
    values: Any
    try:
        # MessagePack never uses the byte 0xc1. At the start of a payload it means that the keys are packed.
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
    """Return the decrypted ``payload``, which is the last part of ``data``. Raises :class:`EnvelopeError`."""
    try:
        from cryptography.exceptions import InvalidTag
    except ImportError as error:
        raise EnvelopeError("the payload is encrypted, and the package cryptography is not installed") from error
    bound = _bound(seal, data[1], data[_START : len(data) - len(payload)])
    try:
        opened: bytes = _cipher(seal).decrypt(payload[:NONCE_BYTES], payload[NONCE_BYTES:], bound)
    except (InvalidTag, ValueError) as error:
        raise EnvelopeError("the payload is not encrypted with this ticket") from error
    return opened


def _bound(seal: Seal, flags: int, head: bytes) -> bytes:
    """Return the data that decryption checks: the key in the store and the header. Neither can be exchanged."""
    return b"".join((seal.key, bytes((FORMAT, flags)), head))


def _cipher(seal: Seal) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(sealing_key(seal.ticket))
