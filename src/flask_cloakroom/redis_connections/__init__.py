"""Connections to Redis and Valkey: by URL, shared, bounded, watched. Plain Python, below everything that uses them."""

from .connector import Connector, GivenClient, UsesRedis, connect
from .endpoint import Endpoint
from .url import SCHEMES, RedisURL, Topology

__all__ = [
    "SCHEMES",
    "Connector",
    "Endpoint",
    "GivenClient",
    "RedisURL",
    "Topology",
    "UsesRedis",
    "connect",
]
