"""The people who can sign in."""

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

#: The greatest number that the database takes for an id.
LAST_ID = 2**31 - 1
_LONGEST_ID = len(str(LAST_ID))
#: Characters of a username at most.
LONGEST_USERNAME = 64


def _new_stamp() -> str:
    return secrets.token_urlsafe(16)


class User(UserMixin, db.Model):
    """Somebody who can sign in. Of the password there is only a hash."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    #: As :func:`normal` makes it.
    username: Mapped[str] = mapped_column(String(LONGEST_USERNAME), unique=True)
    #: How the person is called on pages.
    name: Mapped[str] = mapped_column(String(200))
    password_hash: Mapped[str] = mapped_column(String(255))
    #: False switches the account off without deleting it.
    active: Mapped[bool] = mapped_column(default=True)
    #: What :meth:`session_auth_hash` returns.
    stamp: Mapped[str] = mapped_column(String(32), default=_new_stamp)
    #: The zone whose clocks the person goes by, as the tz database names it.
    time_zone: Mapped[str] = mapped_column(String(64), default=DEFAULT_ZONE, server_default=DEFAULT_ZONE)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone itself."""
        return ZoneInfo(self.time_zone)

    @property
    def is_active(self) -> bool:
        """Whether the account is switched on. If not it cannot log in, and its logins end."""
        return self.active

    def session_auth_hash(self) -> str:
        """Return what every login of the user depends on, remembered ones too: another value ends them all.

        It is a random stamp of its own and not the password's hash, because the hash also changes when the same
        password is hashed anew, at a login with better parameters, and that is no reason to end other devices' logins.
        And if a database gives the id of a deleted account to a new one, no old login fits it.
        """
        return self.stamp

    def has_password(self, password: str) -> bool:
        """Tell whether that is the password."""
        return passwords.matches(self.password_hash, password)

    def set_password(self, password: str) -> None:
        """Change the password, which ends all logins. Is written with the database session's next commit."""
        self.password_hash = passwords.hashed(password)
        self.stamp = _new_stamp()

    @classmethod
    def authenticate(cls, query: Callable[..., Query[Any]], username: str, password: str) -> tuple[User | None, bool]:
        """Return the user of that name, if there is one, and whether they may log in with that password.

        ``query`` is ``db.session.query``. An account that is switched off may not, and nothing tells it from a wrong
        password or a name that there is not: neither what is returned as the second, nor the time that it takes.

        A hash that is not of today's kind is replaced, and committed.
        """
        # PostgreSQL cannot be asked for a NUL, and no name has one.
        user: User | None = None if "\0" in username else query(cls).filter_by(username=username).one_or_none()
        matches = passwords.matches(None if user is None else user.password_hash, password)
        if user is None or not (matches and user.active):
            return user, False
        if passwords.needs_upgrade(user.password_hash):
            # Only in the place of what was compared: another request may have changed the password meanwhile.
            same = query(cls).filter_by(id=user.id, password_hash=user.password_hash)
            same.update({"password_hash": passwords.hashed(password)})
            same.session.commit()
        return user, True


def normal(username: str | None) -> str:
    """Return a username as accounts have it: capitals, and spaces around it, do not matter."""
    return (username or "").lower().strip()


def load_user(user_id: str) -> User | None:
    """Return the user of an id, for the login; None for what is no id of this site's."""
    is_number = isinstance(user_id, str) and user_id.isascii() and user_id.isdecimal() and len(user_id) <= _LONGEST_ID
    return db.session.get(User, int(user_id)) if is_number and int(user_id) <= LAST_ID else None


class Sample(NamedTuple):
    """An account that is there from the start."""

    username: str
    password: str
    name: str
    password_hash: str


#: What the login page and the demo show, so that a visitor can try. A real site has nothing like it. The hashes are as
#: the site made them before it had argon2; a login upgrades them.
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
    # Whom ``python -m sched_site`` makes an operator.
    Sample(
        "vera",
        "a-quarter-to-six",
        "Vera",
        "scrypt:32768:8:1$RqF6Wxsp32OiiQ7W$9d0a2ae88cdec6a9860ff7c222cc7f6b9307ac511b50e01723bb24e34d439c461d"
        "615db68da0f35a6daf03c2f804d89e82ccd35e188cb9d5acfb3a9aa00dd60e",
    ),
)
