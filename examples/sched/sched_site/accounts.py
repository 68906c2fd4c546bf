"""The users of the site, and the sample accounts."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import String
from sqlalchemy.orm import Mapped, Query, mapped_column

from flask_cloakroom import UserMixin

from . import passwords
from .database import db
from .local_time import DEFAULT_ZONE

#: The greatest id that the database accepts: PostgreSQL's integers have 32 bits.
MAX_USER_ID = 2**31 - 1
_MAX_ID_DIGITS = len(str(MAX_USER_ID))
#: The most characters of a username.
MAX_USERNAME_LENGTH = 64


def _new_stamp() -> str:
    return secrets.token_urlsafe(16)


class User(UserMixin, db.Model):
    """A user who can sign in. The database holds a hash of the password, and not the password."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    #: In the form that :func:`normalize_username` returns.
    username: Mapped[str] = mapped_column(String(MAX_USERNAME_LENGTH), unique=True)
    #: The name that pages show.
    name: Mapped[str] = mapped_column(String(200))
    password_hash: Mapped[str] = mapped_column(String(255))
    #: False disables the account without deleting it.
    active: Mapped[bool] = mapped_column(default=True)
    #: A random text that changes with the password; see :meth:`session_auth_hash`.
    stamp: Mapped[str] = mapped_column(String(32), default=_new_stamp)
    #: The user's time zone, by its name in the tz database.
    time_zone: Mapped[str] = mapped_column(String(64), default=DEFAULT_ZONE, server_default=DEFAULT_ZONE)

    @property
    def zone(self) -> ZoneInfo:
        """The user's time zone as an object."""
        return ZoneInfo(self.time_zone)

    @property
    def is_active(self) -> bool:
        """Whether the account is enabled. A disabled account cannot log in, and its logins end."""
        return self.active

    def session_auth_hash(self) -> str:
        """Return the stamp that every login of the user is bound to. A new stamp ends all logins and remember tokens.

        The password's hash would not do. It also changes when the same password is hashed again with better
        parameters, and that would sign the user out on all other devices. The stamp is random: if the database reuses
        the id of a deleted account, the logins of the deleted account do not fit the new one.
        """
        return self.stamp

    def has_password(self, password: str) -> bool:
        """Return whether the password is the user's password."""
        return passwords.matches(self.password_hash, password)

    def set_password(self, password: str) -> None:
        """Change the password and the stamp, which ends all logins. The caller commits the change."""
        self.password_hash = passwords.hash_password(password)
        self.stamp = _new_stamp()

    @classmethod
    def authenticate(cls, query: Callable[..., Query[Any]], username: str, password: str) -> tuple[User | None, bool]:
        """Return the user with this name or None, and whether they may log in with this password.

        ``query`` is ``db.session.query``. The second value is False for a wrong password, an unknown name and a
        disabled account. All three take the same time, so a stranger cannot find out which names exist.

        After a right password an outdated hash is replaced and committed.
        """
        # PostgreSQL refuses a query with a NUL character. No username contains one.
        user: User | None = None if "\0" in username else query(cls).filter_by(username=username).one_or_none()
        matches = passwords.matches(None if user is None else user.password_hash, password)
        if user is None or not (matches and user.active):
            return user, False
        if passwords.needs_upgrade(user.password_hash):
            # The filter has the hash that was compared. Otherwise this could undo a password change of another request.
            same = query(cls).filter_by(id=user.id, password_hash=user.password_hash)
            same.update({"password_hash": passwords.hash_password(password)})
            same.session.commit()
        return user, True


def normalize_username(username: str | None) -> str:
    """Return a username in lower case and without surrounding spaces, as accounts store it."""
    return (username or "").lower().strip()


def load_user(user_id: str) -> User | None:
    """Return the user with an id, for the login; None if there is no such user or the text is not an id."""
    is_number = (
        isinstance(user_id, str) and user_id.isascii() and user_id.isdecimal() and len(user_id) <= _MAX_ID_DIGITS
    )
    return db.session.get(User, int(user_id)) if is_number and int(user_id) <= MAX_USER_ID else None


class Sample(NamedTuple):
    """An account that the site creates at its first start."""

    username: str
    password: str
    name: str
    password_hash: str


#: Accounts for visitors who want to try the site; the login page shows their passwords. A real site must not have them.
#: The hashes are scrypt, which the site used before argon2. A login replaces them.
SAMPLES = (
    Sample(
        "mira",
        "half-past-nine",
        "Mira",
        "scrypt:32768:8:1$UuIrHuaRSs0wzZm4$6fd8862e40d105f1a0af25bcf87ad8e8f3918aee0e51d3de3b65485dac084e43"
        "6870e9949faef4fba312aaa5ea5b4e378d5065b53dc42c578186f617e76c56c3",
    ),
    Sample(
        "tomas",
        "tea-at-four",
        "Tomás",
        "scrypt:32768:8:1$dgG72thVOzgpocN3$4f88763df1fdaf0de4cb80bc134c41de07765cbe11252a5b6cde4dee6f9df11f"
        "8f3e9b7a9a77a81dc2e244654bc584e4eb011aeaf2909cb8dd8695c133e305ad",
    ),
    Sample(
        "june",
        "noon-sharp",
        "June",
        "scrypt:32768:8:1$LPQJHjZq9FxLnKyv$2e147b24fa3d4dc6144cb90681759bd414a28241683d9c1a98cad33481e90ece"
        "0768cd29a0daa6f46076576b70baa7433782858301da6ae1fe934592ae45ce29",
    ),
    # ``python -m sched_site`` makes this user an operator.
    Sample(
        "vera",
        "a-quarter-to-six",
        "Vera",
        "scrypt:32768:8:1$RqF6Wxsp32OiiQ7W$9d0a2ae88cdec6a9860ff7c222cc7f6b9307ac511b50e01723bb24e34d439c461d"
        "615db68da0f35a6daf03c2f804d89e82ccd35e188cb9d5acfb3a9aa00dd60e",
    ),
)
