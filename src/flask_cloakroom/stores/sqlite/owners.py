"""The SQL of the owner index in SQLite: a small table beside the table of the entries.

The owner is not a column of the table of entries, because a key is claimed before its entry exists. A table of its own
is also faster: a claim that is extended does not write the whole session.
"""

from __future__ import annotations

from typing import Final

#: Makes the table. It runs each time a file is opened, so the file of an older version of this package gets the table
#: as well. WITHOUT ROWID stores the rows in the order of the primary key, so the claims of one owner are side by side.
#: ``expires`` is in microseconds since the epoch, so that two claims with the same ``ttl`` get different expiries.
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
# A single statement, which is one write transaction. So no other process can store a claim after the count.
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
