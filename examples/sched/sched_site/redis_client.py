"""The site's Redis client. Each kind of data in Redis has a module of its own.

The site makes the client itself, because it needs text and a plain client returns bytes. ``Cloakroom(app)`` finds this
client and uses it for the sessions. Every key and channel of the site begins with ``sched:``.
"""

from __future__ import annotations

from flask_cloakroom import FlaskRedis

#: Seconds that a page waits for an answer of Redis. Most pages can do without it.
TIMEOUT = 2.0

redis = FlaskRedis(decode_responses=True, socket_timeout=TIMEOUT)
