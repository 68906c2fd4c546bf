"""The owner index in SQLite: a small table beside the entries.

It is no column of the entries, because a key is claimed before its entry exists. A claim also writes no session again.
"""

from __future__ import annotations

from typing import Final

#: A part of the schema: a file from an older version gets the table when it is opened. WITHOUT ROWID stores the rows in
#: the order of the primary key, so an owner's claims are side by side. ``expires`` is in microseconds since the epoch,
#: so that claims with one ``ttl`` are in the order in which they were made.
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS cloakroom_owners (
    owner BLOB NOT NULL,
    key BLOB NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (owner, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS cloakroom_owners_expires ON cloakroom_owners (expires);
"""
CLAIM: Final = """
INSERT INTO cloakroom_owners (owner, key, expires) SELECT ?, ?, ? WHERE true
ON CONFLICT (owner, key) DO UPDATE SET expires = max(expires, excluded.expires)
"""
# One statement, and so one write transaction: no other claim can come between counting and storing.
CLAIM_WITHIN: Final = """
INSERT INTO cloakroom_owners (owner, key, expires) SELECT ?1, ?2, ?3
WHERE (SELECT count(*) FROM cloakroom_owners WHERE owner = ?1 AND key != ?2 AND expires > ?4) < ?5
ON CONFLICT (owner, key) DO UPDATE SET expires = max(expires, excluded.expires)
"""
RELEASE: Final = "DELETE FROM cloakroom_owners WHERE owner = ? AND key = ? AND expires > ?"
OWNED: Final = "SELECT key, expires FROM cloakroom_owners WHERE owner = ? AND expires > ? ORDER BY expires, key"
PURGE: Final = """
DELETE FROM cloakroom_owners WHERE (owner, key) IN (
    SELECT owner, key FROM cloakroom_owners WHERE expires <= ? LIMIT ?
)
"""
