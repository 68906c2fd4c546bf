"""Shared connections to Redis and Valkey, by URL, with a limit for each server. No module here imports Flask."""

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
