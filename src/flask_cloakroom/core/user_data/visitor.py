"""Visitor data: the ``user_session`` of a visitor, which is in the visitor's session until the visitor logs in."""

from __future__ import annotations

import secrets
from typing import Any, Final, NamedTuple

from ...secret import SecretBytes
from ..entries import envelope
from ..entries.envelope import EntryKind, EnvelopeError, Seal
from ..entries.ownership import Ownership
from ..entries.record import Record
from ..values import codec, own_keys
from ..values.own_keys import VISITOR_ID_KEY
from ..values.rebase import Values

#: The beginning of each session key whose value belongs to the visitor data.
VISITOR_PREFIX: Final = "_user_session:"
#: Length of a visitor id in random bytes. It gives 96 bits, so two visitors never get the same id by chance.
_ID_BYTES: Final = 12


def new_visitor_id() -> str:
    """Return a new visitor id. It is no secret."""
    return secrets.token_urlsafe(_ID_BYTES)


class VisitorData(NamedTuple):
    """The visitor data of one visitor, and the visitor id."""

    visitor_id: str
    #: Each key of ``user_session`` with its packed value. The keys do not have the prefix.
    values: Values


class Carried(NamedTuple):
    """The carried data of a tombstone: visitor data, and the user who logged in."""

    #: The owner name of the user, which :meth:`.tickets.Tickets.owner_name` returns.
    owner: str
    data: VisitorData


def is_visitor_key(key: Any) -> bool:
    """Return True if the value of this session key belongs to the visitor data."""
    return isinstance(key, str) and key.startswith(VISITOR_PREFIX)


def visitor_data_in(values: Values) -> VisitorData | None:
    """Return the visitor data in a session's values. Return None if the values have no readable visitor id."""
    packed = values.get(VISITOR_ID_KEY)
    if packed is None:
        return None
    try:
        visitor_id = own_keys.unpack(VISITOR_ID_KEY, packed)
    except codec.CodecError:
        return None
    prefix = len(VISITOR_PREFIX)
    return VisitorData(visitor_id, {k[prefix:]: SecretBytes(v) for k, v in values.items() if is_visitor_key(k)})


def pack_carried(old: Record, owner: str, values: Values, *, encrypt: bool) -> bytes:
    """Return the bytes of the carried data for the tombstone of the session ``old``.

    ``values``: the values of ``old``, which move to a new session. ``owner``: the owner in the header of the new
    session. ``encrypt``: encrypt the carried data with the old ticket. Return b"" if the values have no visitor data.
    Return b"" also if ``old`` belonged to the same user already, because only a login merges visitor data.
    """
    new_owner, old_owner = Ownership.parse(owner), Ownership.parse(old.header.owner)
    if new_owner is None or (old_owner is not None and old_owner.name == new_owner.name):
        return b""
    data = visitor_data_in(values)
    if data is None or not data.values:
        return b""
    carried = {VISITOR_ID_KEY: values[VISITOR_ID_KEY], **{VISITOR_PREFIX + key: v for key, v in data.values.items()}}
    header = old.header._replace(owner=new_owner.name, kind=EntryKind.USER_DATA)
    payload = envelope.pack_values(carried, codec.pack)
    return envelope.pack(header, payload, old.key, seal_for=Seal(old.ticket, old.key) if encrypt else None)


def open_carried(seal: Seal, carried: bytes, *, encrypted: bool) -> Carried | None:
    """Return the carried data of a tombstone. Return None if it has no carried data or the data cannot be read.

    ``seal``: the old ticket and the tombstone's store key. ``carried``: the bytes from :func:`pack_carried`.
    ``encrypted``: return None also for data that is not encrypted.
    """
    try:
        header, payload, sealed = envelope.open_header(carried, seal.key)
        if sealed:
            payload = envelope.unseal(carried, payload, seal)
        elif encrypted:
            return None
        data = visitor_data_in(envelope.unpack_values(payload, codec.unpack_key))
    except (EnvelopeError, codec.CodecError):
        return None
    return None if data is None else Carried(header.owner, data)
