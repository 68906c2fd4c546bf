"""Flask-Cloakroom: what a Flask site knows its visitors by. You hand in your coat and get a ticket."""

from .errors import (
    CloakroomError,
    ContentionError,
    LockLostError,
    LockTimeoutError,
    SessionTooLargeError,
    SessionValueError,
    SettingError,
    StoreError,
    TransactionError,
)
from .extension import Cloakroom
from .redis_client import FlaskRedis
from .sessions import MISSING, ServerSession, Session, locked_session, passive, register_type
from .sessions.extension import session
from .signals import (
    redis_lost,
    redis_moved,
    redis_restored,
    session_conflict,
    session_created,
    session_destroyed,
    session_discarded,
    session_rejected,
    session_reused,
    session_rotated,
)

__version__ = "0.1.0"

__all__ = [
    "MISSING",
    "Cloakroom",
    "CloakroomError",
    "ContentionError",
    "FlaskRedis",
    "LockLostError",
    "LockTimeoutError",
    "ServerSession",
    "Session",
    "SessionTooLargeError",
    "SessionValueError",
    "SettingError",
    "StoreError",
    "TransactionError",
    "locked_session",
    "passive",
    "redis_lost",
    "redis_moved",
    "redis_restored",
    "register_type",
    "session",
    "session_conflict",
    "session_created",
    "session_destroyed",
    "session_discarded",
    "session_rejected",
    "session_reused",
    "session_rotated",
]
