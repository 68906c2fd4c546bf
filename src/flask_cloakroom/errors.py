"""Every error that this package raises, in one place, so that an application can catch them by name.

No error's text carries a ticket, a store key or anything that a session holds.
"""

from __future__ import annotations


class CloakroomError(Exception):
    """The common base: ``except CloakroomError`` catches whatever this package raises on purpose."""


class SettingError(CloakroomError, ValueError):
    """A setting of ``app.config`` is wrong. Raised at start; the text names the setting and the fix."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting


class StoreError(CloakroomError):
    """The store could not do its work (unreachable, out of time, full, damaged).

    Only this leaves a store, with the driver's error as its cause. Whether a write was done before its
    answer was lost is not known.
    """


class ContentionError(StoreError):
    """Other requests kept changing the session for so long that this one gave up, saving nothing.

    The bound is ``core.entries.namespace.COMMIT_PATIENCE``, some seconds.
    """


class UserDataError(StoreError):
    """What is stored of a user cannot be read. It stays as it is until that is mended, or it is deleted on purpose."""


class SessionValueError(CloakroomError, TypeError):
    """A value that cannot be stored. Nothing was written; what was stored before stays.

    ``path`` says where it lies (``session["cart"]["items"][2]``), ``type_name`` what it is.
    """

    def __init__(self, path: str, type_name: str, hint: str) -> None:
        super().__init__(f"{path} holds a value of type {type_name}, which a session cannot store. {hint}")
        self.path = path
        self.type_name = type_name


class SessionTooLargeError(CloakroomError, ValueError):
    """The session, or what belongs to a user, would exceed ``SESSION_MAX_BYTES``.

    Nothing was written; what was stored before stays.
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
            f"the user has {limit} sessions already, which is what SESSION_LIMIT_PER_USER allows; one of them must end "
            'first. With SESSION_LIMIT_POLICY = "oldest" the one that was not used for longest would.'
        )
        self.limit = limit


class LockTimeoutError(CloakroomError):
    """``session.lock()`` did not get the lock within its ``timeout``."""


class LockLostError(CloakroomError):
    """The lock's lease ran out and somebody else took it before the changes were saved.

    The changes that were made under it were not written.
    """


class TransactionError(CloakroomError):
    """``multi()``, ``exec()`` or ``discard()`` of a Redis client out of turn. Nothing was sent."""
