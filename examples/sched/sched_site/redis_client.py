"""The site's Redis client. Each part that keeps something there has a module of its own.

It is the application's own, because it wants text where a plain client returns bytes; ``Cloakroom(app)`` finds it and
keeps the sessions through it. Every key and channel of the site begins with ``sched:``.
"""

from __future__ import annotations

from flask_cloakroom import FlaskRedis

#: Seconds that a page waits for an answer. It can do without most of them.
TIMEOUT = 2.0

redis = FlaskRedis(decode_responses=True, socket_timeout=TIMEOUT)
