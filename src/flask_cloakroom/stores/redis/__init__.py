"""The store in Redis or Valkey."""

from .store import RedisClient, RedisStore

__all__ = ["RedisClient", "RedisStore"]
