"""Visitor data: the ``user_session`` of a visitor who is not logged in, in the visitor's session until a login."""

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

#: The beginning of each session key that holds visitor data.
VISITOR_PREFIX: Final = "_user_session:"
#: Random bytes of a visitor id, so many that no id is ever used twice.
_ID_BYTES: Final = 12


def new_visitor_id() -> str:
    """Return a new visitor id. It is no secret."""
    return secrets.token_urlsafe(_ID_BYTES)


class VisitorData(NamedTuple):
    """The data of one visitor."""

    visitor_id: str
    #: Key, without the prefix, to packed value.
    values: Values


class Carried(NamedTuple):
    """Visitor data that a tombstone carries for a login."""

    #: The user who logs in, as :meth:`.tickets.Tickets.owner_name` names them.
    owner: str
    data: VisitorData


def is_visitor_key(key: Any) -> bool:
    """Return True for a session key that holds visitor data."""
    return isinstance(key, str) and key.startswith(VISITOR_PREFIX)


def visitor_data_in(values: Values) -> VisitorData | None:
    """Return the visitor data in a session's values, or None if there is no readable visitor id."""
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
    """Return the visitor data for the tombstone of ``old``, whose ``values`` move to a session of ``owner``.

    ``owner`` is the text in the header of the new session. The result is b"" if there is no visitor data, or if the
    session belonged to this user before: only a login merges visitor data. ``encrypt``: seal it with the old ticket.
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
    """Return the visitor data in a tombstone, or None if there is none that can be read.

    ``seal`` has the ticket that led to the tombstone. ``encrypted``: refuse data that is not sealed with that ticket.
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
