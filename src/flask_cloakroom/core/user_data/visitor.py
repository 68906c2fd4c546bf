"""What belongs to a visitor who is not logged in: how it lies in their session until it is brought to their account."""

from __future__ import annotations

import secrets
from typing import Any, Final, NamedTuple

from ...secret import SecretBytes
from ..entries import envelope
from ..entries.envelope import EntryKind, EnvelopeError, Seal
from ..entries.ownership import Ownership
from ..entries.record import Record
from ..values import codec, own_keys
from ..values.own_keys import VISITOR_ID
from ..values.rebase import Values

#: What the session's keys begin with of all that the visitor will bring.
PREFIX: Final = "_user_session:"
#: Random bytes of that id: none is ever met twice.
_ID_BYTES: Final = 12


def new_visitor_id() -> str:
    """Return an id for what a visitor will bring. It opens nothing."""
    return secrets.token_urlsafe(_ID_BYTES)


class Brought(NamedTuple):
    """What a visitor brings to an account."""

    visitor_id: str
    #: Key, without the prefix, to packed value.
    values: Values


class Left(NamedTuple):
    """The same, in the mark of the session that it was brought from."""

    #: To whose account: :meth:`.tickets.Tickets.owner_name`.
    name: str
    brought: Brought


def is_visitors(key: Any) -> bool:
    """Tell whether a session's key is that of something that the visitor will bring."""
    return isinstance(key, str) and key.startswith(PREFIX)


def brought_in(values: Values) -> Brought | None:
    """Return what the values of a session hold of a visitor's; None if that is nothing."""
    packed = values.get(VISITOR_ID)
    if packed is None:
        return None
    try:
        visitor_id = own_keys.unpack(VISITOR_ID, packed)
    except codec.CodecError:
        return None
    brought: Values = {key[len(PREFIX) :]: SecretBytes(value) for key, value in values.items() if is_visitors(key)}
    return Brought(visitor_id, brought)


def pack_left(old: Record, owner: str, values: Values, *, encrypt: bool) -> bytes:
    """Return what the mark of ``old`` keeps of a session's values, which move to a session of ``owner``; b"": nothing.

    ``owner`` is what the header of that says. It is only the login that brings something: later moves do not.
    """
    to, was = Ownership.parse(owner), Ownership.parse(old.header.owner)
    if to is None or (was is not None and was.name == to.name):
        return b""
    brought = brought_in(values)
    if brought is None or not brought.values:
        return b""
    kept = {VISITOR_ID: values[VISITOR_ID], **{PREFIX + key: packed for key, packed in brought.values.items()}}
    header = old.header._replace(owner=to.name, kind=EntryKind.USER_DATA)
    payload = envelope.pack_values(kept, codec.pack)
    return envelope.pack(header, payload, old.key, seal_for=Seal(old.ticket, old.key) if encrypt else None)


def open_left(seal: Seal, carried: bytes, *, encrypted: bool) -> Left | None:
    """Return what a tombstone carries of a visitor's, with the ticket that led there; None if that is nothing.

    ``encrypted``: only if it is sealed with that ticket.
    """
    try:
        header, payload, sealed = envelope.open_header(carried, seal.key)
        if sealed:
            payload = envelope.unseal(carried, payload, seal)
        elif encrypted:
            return None
        brought = brought_in(envelope.unpack_values(payload, codec.unpack_key))
    except (EnvelopeError, codec.CodecError):
        return None
    return None if brought is None else Left(header.owner, brought)
