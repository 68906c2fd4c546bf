"""Password hashes: argon2 for new passwords, and scrypt for old accounts.

Every check computes one hash of each kind. So the response time does not tell whether a username exists, or which kind
of hash it has.
"""

from __future__ import annotations

import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from werkzeug.security import check_password_hash
from zxcvbn.frequency_lists import FREQUENCY_LISTS

#: The least characters of a new password: OWASP ASVS 5.0, 6.2.1.
MIN_LENGTH = 8
#: The most characters. ASVS 5.0, 6.2.9, asks for 64 or more. Without a limit, hashing megabytes would block the server.
MAX_LENGTH = 256

#: The 30,000 most common passwords, in lower case. ASVS 5.0, 6.2.4, asks for 3,000 of at least MIN_LENGTH characters;
#: about 11,000 of these have that many.
COMMON = frozenset(FREQUENCY_LISTS["passwords"])
#: The least characters of a username that a password must not contain. Shorter names occur in many good passwords.
_MIN_USERNAME_LENGTH = 4

#: With argon2-cffi's default parameters, which are those of RFC 9106, section 4, for computers with little memory.
HASHER = PasswordHasher()
_ARGON2 = "$argon2"

# An scrypt hash of a password that no account has. It can go when all accounts have argon2 hashes.
_DUMMY_SCRYPT = (
    "scrypt:32768:8:1$vqloRdH0Fx4TdgqK$b25c5c81a43740fedf6dccde529105f33b864253faeb260db9c23b943b02f076"
    "5947b79819d06c0a11a2de563a4b244e06c653e7ac31f56ca16f165cff6d6501"
)


def weakness(password: str, username: str) -> str | None:
    """Return why the password is weak for this username; None if it is not.

    The length is not checked here.
    """
    lower = password.lower()
    if lower in COMMON:
        return "Many people use this password. Choose another one."
    if len(username) >= _MIN_USERNAME_LENGTH and username in lower:
        return "The password contains your username. Choose another one."
    return None


def hash_password(password: str) -> str:
    """Return the argon2 hash of a password."""
    return HASHER.hash(password)


def matches(stored: str | None, password: str) -> bool:
    """Return whether a password fits the hash ``stored``. If ``stored`` is None, do the same work and return False.

    Raises argon2's VerificationError or InvalidHashError if ``stored`` is damaged.
    """
    is_new = stored is not None and stored.startswith(_ARGON2)
    is_old = stored is not None and not is_new
    new_matches = _verify(stored if stored is not None and is_new else dummy_hash(HASHER), password)
    old_matches = check_password_hash(stored if stored is not None and is_old else _DUMMY_SCRYPT, password)
    return (is_new and new_matches) or (is_old and old_matches)


def needs_upgrade(stored: str) -> bool:
    """Return whether a hash is scrypt, or argon2 with other parameters than today's."""
    return not stored.startswith(_ARGON2) or HASHER.check_needs_rehash(stored)


@cache
def dummy_hash(hasher: PasswordHasher) -> str:
    """Return an argon2 hash of a random password, for the comparison when there is no hash."""
    return hasher.hash(secrets.token_hex())


def _verify(stored: str, password: str) -> bool:
    try:
        return HASHER.verify(stored, password)
    except VerifyMismatchError:
        return False
