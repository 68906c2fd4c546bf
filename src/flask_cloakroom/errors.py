"""Every error of this package, in one place, so that an application can catch errors by name.

The text of an error never contains a ticket, a store's key or a value of a session.
"""

from __future__ import annotations


class CloakroomError(Exception):
    """The base class of all errors of this package."""


class SettingError(CloakroomError, ValueError):
    """A setting of ``app.config`` is wrong. Raised at start. The text names the setting and says what to do."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting


class StoreError(CloakroomError):
    """The store cannot do its work: it is unreachable, too slow, full or damaged.

    This is the only error that leaves a store. Its cause is the driver's error. If the answer to a write was lost, it
    is not known whether the store wrote.
    """


class ContentionError(StoreError):
    """Other requests kept changing the session for some seconds, so this request gave up and saved nothing."""


class UserDataError(StoreError):
    """A user's data in the store cannot be read. The entry stays as it is until it is repaired or deleted."""


class SessionValueError(CloakroomError, TypeError):
    """A value cannot be stored in a session. Nothing was written, and the stored session stays as it was.

    ``path`` names the place (``session["cart"]["items"][2]``), ``type_name`` the value's type.
    """

    def __init__(self, path: str, type_name: str, hint: str) -> None:
        super().__init__(f"{path} holds a value of type {type_name}, which a session cannot store. {hint}")
        self.path = path
        self.type_name = type_name


class SessionTooLargeError(CloakroomError, ValueError):
    """The session, or the user's data, would be larger than ``SESSION_MAX_BYTES``.

    Nothing was written, and the stored session stays as it was. ``size``, ``limit`` and ``key_size`` are bytes; ``key``
    is the key with the largest value.
    """

    def __init__(self, size: int, limit: int, key: object, key_size: int, what: str = "session") -> None:
        super().__init__(
            f"The {what} would take {size} bytes; SESSION_MAX_BYTES allows {limit}. The largest part is "
            f"{what}[{key!r}] with {key_size} bytes. Keep a reference (an id) there and the data in a "
            f"database, or raise SESSION_MAX_BYTES."
        )
        self.size = size
        self.limit = limit
        self.key = key
        self.key_size = key_size


class SessionLimitError(CloakroomError):
    """A login was refused, because the user has as many sessions as ``SESSION_LIMIT_PER_USER`` allows."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The user already has {limit} sessions, as many as SESSION_LIMIT_PER_USER allows. End one of them first, "
            'or set SESSION_LIMIT_POLICY = "oldest", which ends the session that was not used for longest.'
        )
        self.limit = limit


class LockTimeoutError(CloakroomError):
    """``session.lock()`` did not get the lock within its ``timeout``."""


class LockLostError(CloakroomError):
    """The lock's lease ended, and another request took the lock before the changes were saved.

    The changes that were made under the lock were not written.
    """


class TransactionError(CloakroomError):
    """``multi()``, ``exec()`` or ``discard()`` of a Redis client was called in the wrong order. Nothing was sent."""
