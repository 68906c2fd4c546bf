"""What a proxy or an operator's program asks: does the site live, and has it what it needs?

Neither answer touches the session, so asking sets no cookie and begins nothing.
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

#: A key that no session has: theirs are digests, of 32 bytes.
NO_SESSION = b"sched-health"
#: Seconds after which to ask again while something is away.
RETRY_AFTER = 5


@blueprint.get("", strict_slashes=False)
def alive() -> dict[str, str]:
    """Say that the server answers. It asks nobody, so it is right also when everything else is down."""
    return {"status": "ok"}


@blueprint.get("/ready")
def ready() -> ResponseReturnValue:
    """Say of each part that the site needs whether it answers; 503 if one does not.

    Why not is in the log, for those who may read it.
    """
    parts = {name: "ok" if _answers(name, ask) else "away" for name, ask in PARTS.items()}
    is_ready = set(parts.values()) == {"ok"}
    answer = {"status": "ok" if is_ready else "away", **parts}
    return (answer, 200) if is_ready else (answer, 503, {"Retry-After": str(RETRY_AFTER)})


def _redis() -> None:
    redis.ping()


def _sessions() -> None:
    current_app.session_interface.store.load(NO_SESSION)  # type: ignore[attr-defined]


def _database() -> None:
    db.session.execute(text("SELECT 1 FROM users WHERE 1 = 0"))


PARTS: dict[str, Callable[[], None]] = {"redis": _redis, "sessions": _sessions, "database": _database}


def _answers(name: str, ask: Callable[[], None]) -> bool:
    try:
        ask()
    except (RedisError, StoreError, SQLAlchemyError) as error:
        # Only its kind: a driver's text may hold an address with a password in it.
        current_app.logger.error("not ready: %s: %s", name, type(error).__name__)
        return False
    return True
