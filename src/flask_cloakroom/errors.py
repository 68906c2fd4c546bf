"""The errors of this package that an application can catch.

The text of an error never contains a ticket, a store key or a value of a session.
"""

from __future__ import annotations


class CloakroomError(Exception):
    """The base class of all errors of this package."""


class SettingError(CloakroomError, ValueError):
    """A setting of ``app.config`` is wrong. The text names the setting and says what to do. Mostly raised at start."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting


class StoreError(CloakroomError):
    """The store cannot do its work: it is unreachable, too slow, full or damaged.

    A store raises no other error when it fails. ``__cause__`` is the driver's error. If the answer to a write was lost,
    the caller cannot know whether the store has written.
    """


class ContentionError(StoreError):
    """Other requests changed the session again and again for some seconds, so this request saved nothing."""


class UserDataError(StoreError):
    """A user's data in the store cannot be read. The package does not overwrite it: repair or delete the entry."""


class SessionValueError(CloakroomError, TypeError):
    """A value cannot be stored in a session. Nothing was written, and the stored session stays as it was.

    ``path`` is the place of the value (``session["cart"]["items"][2]``), and ``type_name`` is the value's type.
    """

    def __init__(self, path: str, type_name: str, hint: str) -> None:
        super().__init__(f"{path} has a value of type {type_name}, which a session cannot store. {hint}")
        self.path = path
        self.type_name = type_name


class SessionTooLargeError(CloakroomError, ValueError):
    """The session, or the user's data, would be larger than ``SESSION_MAX_BYTES``.

    Nothing was written, and the stored session stays as it was. ``size``, ``limit`` and ``key_size`` are in bytes;
    ``key`` is the session key with the largest value.
    """

    def __init__(self, size: int, limit: int, key: object, key_size: int, what: str = "session") -> None:
        super().__init__(
            f"The {what} would take {size} bytes; SESSION_MAX_BYTES allows {limit}. The largest part is "
            f"{what}[{key!r}] with {key_size} bytes. Put this data into a database and only its id into the "
            f"{what}, or raise SESSION_MAX_BYTES."
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
            'or set SESSION_LIMIT_POLICY = "oldest", which ends the session with the oldest activity.'
        )
        self.limit = limit


class LockTimeoutError(CloakroomError):
    """``session.lock()`` did not get the lock within its ``timeout``."""


class LockLostError(CloakroomError):
    """The session has ended, or the lease of its lock ended and another request got the lock.

    The changes that were made inside ``session.lock()`` were not written.
    """


class TransactionError(CloakroomError):
    """A method of FlaskRedis was called that is not allowed now, such as ``exec()`` without ``multi()``.

    Nothing was sent to the server.
    """
