"""``flask sessions`` and ``flask redis``: commands for operators."""

from .redis_commands import redis
from .session_commands import sessions

__all__ = ["redis", "sessions"]
