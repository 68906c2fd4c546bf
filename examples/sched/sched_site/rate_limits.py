"""How often one may try a password: for each name, and for each address that the tries come from. And register.

Every try counts before it is looked at, so many at once are no way around it, and a name counts whether there is such
an account or not. A try that succeeds takes back the count of its name, and not that of the address: else somebody
with an account could go on for ever with the names of others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from ipaddress import ip_address
from math import ceil
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, current_app, request
from flask.typing import ResponseReturnValue
from flask_limiter import Limiter, RateLimitExceeded

from flask_cloakroom import current_user

from . import errors
from .accounts import normal
from .optional import optional
from .redis_client import redis

#: Tries for one name, which are 60 in an hour: OWASP ASVS 4.0.3 (2.2.1) allows 100, and 5.0 leaves the number to the
#: site. Who is kept out by somebody else's tries waits for minutes, and stays signed in where they are.
PER_NAME = "10 per 10 minutes"
#: Tries from one address, which a whole office may share.
PER_ADDRESS = "60 per 10 minutes"
#: Registrations from one address, those that fail included: what bounds how many accounts somebody makes, and how many
#: usernames somebody tries to see which of them are taken.
REGISTRATIONS = "20 per hour"

EXTENSION_KEY = "sched.limiter"
#: What keys for names begin with.
_NAME = "name:"
#: Bits of an IPv6 address that tell one from another in a network. Whoever has one has all of them (RFC 6177).
_HOST_BITS = 64


def init_app(app: Flask) -> None:
    """Limit the views that compare a password, and the one that makes accounts. They have to be there."""
    uri, options = _storage(app)
    # One for each application, because the limiter keeps its storage in itself.
    limiter = Limiter(
        _address,
        strategy="moving-window",
        # Neither open to guessing nor closed to everybody while Redis is away: each process counts for itself then.
        in_memory_fallback_enabled=True,
        storage_uri=uri,
        storage_options=options,
    )
    limiter.init_app(app)
    app.extensions[EXTENSION_KEY] = limiter
    for endpoint, limit, key in (
        *(("auth.login", PER_NAME, _given_name), ("auth.login", PER_ADDRESS, _address)),
        *(("auth.confirm", PER_NAME, _own_name), ("auth.confirm", PER_ADDRESS, _address)),
        ("registration.register", REGISTRATIONS, _address),
    ):
        limited = limiter.limit(limit, key_func=key, methods=["POST"])
        view: Callable[..., Any] = app.view_functions[endpoint]
        app.view_functions[endpoint] = limited(view)
    app.register_error_handler(RateLimitExceeded, _show)


@optional
def forgive() -> None:
    """Take back the count of the name that this request has tried: it was the right password."""
    limiter: Limiter = current_app.extensions[EXTENSION_KEY]
    for limit in limiter.current_limits:
        if any(part.startswith(_NAME) for part in limit.request_args):
            limit.limiter.clear(limit.limit, *limit.request_args)


def _storage(app: Flask) -> tuple[str, dict[str, Any]]:
    """Return where tries are counted: in the site's Redis, on its connections, whatever kind of server that is."""
    if "+cluster" in urlsplit(app.config["REDIS_URL"]).scheme:
        return "memory://", {}  # a cluster's client has no pool to share: each process for itself
    with app.app_context():
        return "redis://", {"connection_pool": redis.connection_pool, "key_prefix": "sched:limits"}


def _address() -> str:
    text = request.remote_addr or "none"
    try:
        address = ip_address(text)
    except ValueError:  # a Unix socket's
        return f"address:{text}"
    return f"network:{int(address) >> _HOST_BITS:x}" if address.version == 6 else f"address:{address}"


def _given_name() -> str:
    # A digest, because people type passwords there by mistake, and keys can be read.
    return _NAME + sha256(normal(request.form.get("username")).encode()).hexdigest()


def _own_name() -> str:
    return f"{_NAME}{current_user.get_id() or 'nobody'}"


def _show(error: RateLimitExceeded) -> ResponseReturnValue:
    limiter: Limiter = current_app.extensions[EXTENSION_KEY]
    limit = limiter.current_limit
    # limit.reset_at is no use here: it is rounded up to the next whole second, so a full limit of 600 seconds, whose
    # first try was made in the middle of a second, would tell the visitor to wait for 601.
    error.retry_after = max(1, ceil(limit.window.reset_time - time.time())) if limit else None
    return errors.show(error)
