"""Health checks for proxies and monitoring: does the process answer, and can it reach its servers?

No check reads the session, so a check sets no cookie and creates no session.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, current_app
from flask.typing import ResponseReturnValue
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from flask_cloakroom import StoreError

from .database import db
from .redis_client import redis

blueprint = Blueprint("health", __name__, url_prefix="/health")

#: A key that no session has. Keys of sessions are digests of 32 bytes.
UNUSED_KEY = b"sched-health"
#: Seconds after which a client should ask again while a server is down.
RETRY_AFTER = 5


@blueprint.get("", strict_slashes=False)
def alive() -> dict[str, str]:
    """Answer that the process is alive. The view asks no other server, so it also works while all of them are down."""
    return {"status": "ok"}


@blueprint.get("/ready")
def ready() -> ResponseReturnValue:
    """Return the state of each server that the site needs, with status 503 if one does not answer.

    The reason is logged and not shown: an error may contain an address.
    """
    servers = {name: "ok" if _answers(name, check) else "away" for name, check in CHECKS.items()}
    is_ready = set(servers.values()) == {"ok"}
    answer = {"status": "ok" if is_ready else "away", **servers}
    return (answer, 200) if is_ready else (answer, 503, {"Retry-After": str(RETRY_AFTER)})


def check_redis() -> None:
    """Raise RedisError if Redis does not answer."""
    redis.ping()


def check_session_store() -> None:
    """Raise StoreError if the session store does not answer."""
    current_app.session_interface.store.load(UNUSED_KEY)  # type: ignore[attr-defined]


def check_database() -> None:
    """Raise SQLAlchemyError if the database does not answer or has no table of users."""
    db.session.execute(text("SELECT 1 FROM users WHERE 1 = 0"))


CHECKS: dict[str, Callable[[], None]] = {
    "redis": check_redis,
    "sessions": check_session_store,
    "database": check_database,
}


def _answers(name: str, check: Callable[[], None]) -> bool:
    try:
        check()
    except (RedisError, StoreError, SQLAlchemyError) as error:
        # Only the type of the error: a driver's text may contain an address with a password.
        current_app.logger.error("not ready: %s: %s", name, type(error).__name__)
        return False
    return True
