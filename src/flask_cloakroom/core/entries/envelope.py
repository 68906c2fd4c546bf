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
34     8     first bytes of the entry's store key
42     8     end of a request's turn to write, in milliseconds; 0: no request has the turn
50     2     length of the owner in bytes
52     n     owner, UTF-8
52+n   …     payload: the packed map; or a nonce and the encrypted map; or of a tombstone
====== ===== ==========================================================================

Times are whole seconds since the epoch, in UTC. All numbers are big-endian.

An earlier version of this package wrote entries without the flag ``_KEYED``. In these entries, the 8 bytes at offset 34
are the name of the lock's holder, which no code ever read. So both versions of the package can read all entries, and a
site with several servers can update one server after the other.
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
#: A flag of tombstones: the payload contains carried data.
_CARRIES: Final = 16
#: The flag of an entry that contains the first bytes of its store key. The checksum includes the flags. So
#: open_header() notices if damage has removed this flag.
_KEYED: Final = 32


class EntryKind(IntEnum):
    """The kind of an entry. Each value is a flag in the second byte of the entry."""

    SESSION = 0
    TOMBSTONE = 4
    REMEMBER_FAMILY = 8
    USER_DATA = 16


#: For each valid combination of these flags: the kind of the entry, and whether the entry contains carried data.
_KINDS: Final = {
    **{int(kind): (kind, False) for kind in EntryKind},
    EntryKind.TOMBSTONE | _CARRIES: (EntryKind.TOMBSTONE, True),
}
_KIND_FLAGS: Final = EntryKind.TOMBSTONE | EntryKind.REMEMBER_FAMILY | EntryKind.USER_DATA

_FIRST: Final = struct.Struct(">BBI")
#: The number of bytes of the store key that an entry contains. Store keys are hashes, so two store keys begin with the
#: same 8 bytes with a probability of 2**-64.
_KEY_PART: Final = 8
_HEADER: Final = struct.Struct(f">IIIIIQ{_KEY_PART}sQH")
_BOTH: Final = struct.Struct(_FIRST.format + _HEADER.format[1:])
_START: Final = _FIRST.size
_OWNER_AT: Final = _BOTH.size

#: Length of an AES-GCM nonce in bytes: 96 bits (NIST SP 800-38D, 8.2). Nonces are random. NIST allows 2**32 random
#: nonces for one encryption key. Here, one encryption key encrypts only the few thousand versions of one session.
NONCE_BYTES: Final = 12

_STR: Final = frozenset({str})

# With a buffer of 4 KiB. To allocate the default buffer of msgpack, 256 KiB, takes longer than to pack a session.
_packer: Callable[[], Any] = partial(msgpack.Packer, unicode_errors="surrogatepass", buf_size=4096)

_BYTES: Final = frozenset({bytes})


class EnvelopeError(ValueError):
    """The bytes are no readable entry: damaged, too short, of an unknown format, or encrypted with another secret."""


class Seal(NamedTuple):
    """The two values that encryption of a payload needs: the secret (the ticket), and the store key of the entry."""

    ticket: str
    key: bytes

    def __repr__(self) -> str:
        return "<Seal>"


class Header(NamedTuple):
    """The first part of an entry, which can be read without the ticket. The table at the top explains the fields.

    ``created``, ``renewed``, ``seen`` and ``deadline`` are seconds since the epoch: the times of the creation, of the
    current ticket or token, of the last activity, and of the absolute end. ``lease_until`` and ``turn_until`` are
    milliseconds since the epoch. For all of these except the first three, 0 means that there is no such time.
    """

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
    #: True if the entry is a tombstone with carried data.
    carries: bool = False


def pack(header: Header, payload: bytes, key: bytes, *, seal_for: Seal | None = None) -> SecretBytes:
    """Return the bytes of an entry. ``key``: the store key under which the caller stores the entry.

    ``seal_for``: encrypt the payload with this seal, so that nobody can exchange the header of the entry. None: do not
    encrypt.
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
    """Return an entry's header, its payload, and True if the payload is encrypted, otherwise False.

    ``data``: the bytes that the store returned for ``key``. Raises :class:`EnvelopeError` if ``data`` is no entry.
    Raises StoreError if ``data`` is an entry with another store key. Then the store has mixed up its answers. The
    session under ``key`` may exist, so the caller must not treat its visitor as logged out.
    """
    try:
        form, flags, checksum, created, renewed, seen, deadline, fence, until, part, turn, length = _BOTH.unpack_from(
            data
        )
    except struct.error as error:
        raise EnvelopeError("the entry is too short") from error
    if form != FORMAT:
        raise EnvelopeError(f"the entry has the unknown format {form}")
    if zlib.crc32(data[_START:], flags) != checksum:
        raise EnvelopeError("the entry does not have its checksum")
    if flags & _KEYED and part != key[:_KEY_PART]:
        raise StoreError(
            "The store returned an entry that belongs to another key, so this request logged nobody in or out. If this "
            "happens again, look for a proxy or connection that mixes up the store's answers."
        )
    payload_at = _OWNER_AT + length
    try:
        kind, carries = _KINDS[flags & _KIND_FLAGS]
        owner = data[_OWNER_AT:payload_at].decode() if length else ""
    except KeyError as error:
        raise EnvelopeError("the entry is of an unknown kind") from error
    except UnicodeDecodeError as error:
        raise EnvelopeError("the owner is not UTF-8") from error
    permanent = flags & _PERMANENT != 0
    header = Header(created, renewed, seen, deadline, fence, until, turn, permanent, owner, kind, carries)
    return header, data[payload_at:], flags & _SEALED != 0


def pack_values(values: Mapping[Any, bytes], pack_key: Callable[[Any], bytes]) -> bytes:
    """Return the payload of an entry with these packed values.

    ``pack_key``: a function that packs one session key. It is used for all keys if at least one key is no str.
    """
    if _STR.issuperset(map(type, values)):
        packed: bytes = _packer().pack(values)
        return packed
    pairs = [[pack_key(key), value] for key, value in values.items()]
    return b"".join((b"\xc1", _packer().pack(pairs)))


def unpack_values(payload: bytes, unpack_key: Callable[[bytes], Any]) -> dict[Any, bytes]:
    """Return the packed values in a payload that :func:`pack_values` made.

    Raises :class:`EnvelopeError` if the payload is no map whose values are bytes.
    """
    values: Any
    try:
        # MessagePack never uses the byte 0xc1. pack_values() writes it at the start of a payload with packed keys.
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
    """Return the decrypted ``payload``. ``data``: the whole entry, which ends with the payload.

    Raises :class:`EnvelopeError` if ``seal`` does not fit, or if the package cryptography is not installed.
    """
    try:
        from cryptography.exceptions import InvalidTag
    except ImportError as error:
        raise EnvelopeError("the payload is encrypted, and the package cryptography is not installed") from error
    bound = _bound(seal, data[1], data[_START : len(data) - len(payload)])
    try:
        opened: bytes = _cipher(seal).decrypt(payload[:NONCE_BYTES], payload[NONCE_BYTES:], bound)
    except (InvalidTag, ValueError) as error:
        raise EnvelopeError("the payload is damaged or encrypted with another secret") from error
    return opened


def _bound(seal: Seal, flags: int, head: bytes) -> bytes:
    """Return the bytes that AES-GCM authenticates with the payload: the store key and the header of the entry.

    So an attacker with access to the store can neither change the header nor store the payload under another store key.
    """
    return b"".join((seal.key, bytes((FORMAT, flags)), head))


def _cipher(seal: Seal) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(sealing_key(seal.ticket))
