"""Connections to Redis and Valkey that all clients with the same URL share, with a limit for each server.

No module of this package imports Flask.
"""

from .connector import Connector, ExternalClient, UsesRedis, connect
from .endpoint import Endpoint
from .url import REDIS_SCHEMES, RedisURL, Topology

__all__ = [
    "REDIS_SCHEMES",
    "Connector",
    "Endpoint",
    "ExternalClient",
    "RedisURL",
    "Topology",
    "UsesRedis",
    "connect",
]
