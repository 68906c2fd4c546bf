"""``flask sessions`` and ``flask redis``: what an operator does."""

from .redis_commands import redis
from .session_commands import sessions

__all__ = ["redis", "sessions"]
