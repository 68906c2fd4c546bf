"""The people who can sign in: a handful of samples. They move to a database when the site gets one."""

from __future__ import annotations

from typing import NamedTuple

from werkzeug.security import check_password_hash


class Account(NamedTuple):
    """Somebody who can sign in. The password is kept as a hash only."""

    username: str
    name: str
    password_hash: str


_ACCOUNTS = {
    account.username: account
    for account in (
        Account(
            "mira",
            "Mira",
            "scrypt:32768:8:1$UuIrHuaRSs0wzZm4$6fd8862e40d105f1a0af25bcf87ad8e8f3918aee0e51d3de3b65485dac084e43"
            "6870e9949faef4fba312aaa5ea5b4e378d5065b53dc42c578186f617e76c56c3",
        ),
        Account(
            "tomas",
            "Tomás",
            "scrypt:32768:8:1$dgG72thVOzgpocN3$4f88763df1fdaf0de4cb80bc134c41de07765cbe11252a5b6cde4dee6f9df11f"
            "8f3e9b7a9a77a81dc2e244654bc584e4eb011aeaf2909cb8dd8695c133e305ad",
        ),
        Account(
            "june",
            "June",
            "scrypt:32768:8:1$LPQJHjZq9FxLnKyv$2e147b24fa3d4dc6144cb90681759bd414a28241683d9c1a98cad33481e90ece"
            "0768cd29a0daa6f46076576b70baa7433782858301da6ae1fe934592ae45ce29",
        ),
    )
}

# Compared with when the name is unknown, so that the time of the answer does not tell which names exist.
# The password that it was made from is known to nobody's account.
_NOBODY_HASH = (
    "scrypt:32768:8:1$vqloRdH0Fx4TdgqK$b25c5c81a43740fedf6dccde529105f33b864253faeb260db9c23b943b02f076"
    "5947b79819d06c0a11a2de563a4b244e06c653e7ac31f56ca16f165cff6d6501"
)

#: What the login page and the demo show, so that a visitor can try. A real site has nothing like it.
SAMPLE_LOGINS = (
    ("mira", "half-past-nine"),
    ("tomas", "tea-at-four"),
    ("june", "noon-sharp"),
)


def find(username: str | None) -> Account | None:
    """Return the account of that name, or None."""
    return _ACCOUNTS.get(username or "")


def authenticate(username: str, password: str) -> Account | None:
    """Return the account if the password is right, else None; one hash is computed in every case."""
    account = find(username)
    matches = check_password_hash(account.password_hash if account else _NOBODY_HASH, password)
    return account if account and matches else None
