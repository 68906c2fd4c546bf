"""Password hashes: argon2, and how those of the time before are told apart and compared.

The work is the same whatever is compared with whatever, one hash of each kind, so the time of an answer tells neither
whether a name exists nor how old its hash is.
"""

from __future__ import annotations

import secrets
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from werkzeug.security import check_password_hash
from zxcvbn.frequency_lists import FREQUENCY_LISTS

#: Characters that a new password has at least: OWASP ASVS 5.0, 6.2.1.
SHORTEST = 8
#: And at most. ASVS 5.0, 6.2.9, asks for 64 or more; a bound keeps the form from being a place to send megabytes to.
LONGEST = 256

#: The 30,000 that people take most often, in small letters. ASVS 5.0, 6.2.4, asks for 3,000 that are long enough; some
#: 11,000 of these are.
COMMON = frozenset(FREQUENCY_LISTS["passwords"])
#: Shorter usernames are in too many good passwords.
_TELLING = 4

#: With the package's own choice: the parameters that RFC 9106 (section 4) has for memory that is not plenty.
HASHER = PasswordHasher()
_ARGON2 = "$argon2"

# A hash of the old kind, of a password that nobody has. Once no account has an old hash any more, this can go, and
# the comparison that it is for.
_NOBODY_OLD = (
    "scrypt:32768:8:1$vqloRdH0Fx4TdgqK$b25c5c81a43740fedf6dccde529105f33b864253faeb260db9c23b943b02f076"
    "5947b79819d06c0a11a2de563a4b244e06c653e7ac31f56ca16f165cff6d6501"
)


def weakness(password: str, username: str) -> str | None:
    """Say why nobody should have that password, or the one of that name; None if nothing is known against it.

    How long it is, is not looked at here.
    """
    small = password.lower()
    if small in COMMON:
        return "Many people have that password, so it is tried first. Take another one."
    if len(username) >= _TELLING and username in small:
        return "Your username is in it, so it is tried first. Take another one."
    return None


def hashed(password: str) -> str:
    """Return what is kept of a password."""
    return HASHER.hash(password)


def matches(stored: str | None, password: str) -> bool:
    """Tell whether the password is the one that ``stored`` was made of. None stands for nobody: then it never is.

    Raises argon2's VerificationError or InvalidHashError if ``stored`` is damaged.
    """
    is_new = stored is not None and stored.startswith(_ARGON2)
    is_old = stored is not None and not is_new
    new_matches = _verify(stored if stored is not None and is_new else nobody(HASHER), password)
    old_matches = check_password_hash(stored if stored is not None and is_old else _NOBODY_OLD, password)
    return (is_new and new_matches) or (is_old and old_matches)


def needs_upgrade(stored: str) -> bool:
    """Tell whether a hash is of another kind, or of other parameters, than those in use."""
    return not stored.startswith(_ARGON2) or HASHER.check_needs_rehash(stored)


@cache
def nobody(hasher: PasswordHasher) -> str:
    """Return the hash to compare with when there is none: of the parameters in use, and of nobody's password."""
    return hasher.hash(secrets.token_hex())


def _verify(stored: str, password: str) -> bool:
    try:
        return HASHER.verify(stored, password)
    except VerifyMismatchError:
        return False
