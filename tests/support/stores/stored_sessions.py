"""Read a store: the values of a ticket's session, and all live sessions with their claims."""

from __future__ import annotations

from typing import Any

from flask_cloakroom.core.entries.envelope import EntryKind
from flask_cloakroom.core.entries.ownership import Ownership
from flask_cloakroom.core.entries.record import Record
from flask_cloakroom.core.sessions.ending import header_of
from flask_cloakroom.core.sessions.repository import Repository
from flask_cloakroom.core.values import codec


def values_of(repository: Repository, ticket: str) -> dict[Any, Any]:
    """Return the values of a ticket's session. The ticket must have a session."""
    found = repository.load(ticket)
    assert isinstance(found, Record), found
    return {key: codec.unpack(value) for key, value in found.values.items()}


def live_sessions(repository: Repository) -> set[bytes]:
    """Return the store keys of all live sessions, after a check that each session of a user has its claim."""
    store: Any = repository.store
    live = set()
    for key, entry in store.walk():
        header = header_of(key, entry)
        assert header is not None
        if header.kind is not EntryKind.SESSION:
            continue
        live.add(bytes(key))
        owner = Ownership.parse(header.owner)
        if owner is not None:
            claimed = [claim.key for claim in repository.index.claims_of(owner.name)]
            assert key in claimed, "a session without a claim"
    return live
