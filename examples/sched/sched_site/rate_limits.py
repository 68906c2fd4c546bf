"""Limits on password attempts, for each username and for each address, and on registrations.

Every attempt counts before the password is checked, so parallel requests do not get around the limit. A username
counts whether or not it exists. A successful login resets the count of its username, but not that of the address:
otherwise an attacker with an account could reset the count and guess other users' passwords for ever.
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
from .accounts import normalize_username
from .optional import none_if_redis_is_down
from .redis_client import redis

#: Attempts for one username: 60 in an hour. OWASP ASVS 4.0.3 (2.2.1) allows 100, and 5.0 leaves the number to the site.
#: A user who is locked out by an attacker waits for minutes, and stays signed in on other devices.
PER_NAME = "10 per 10 minutes"
#: Attempts from one address, which a whole office may share.
PER_ADDRESS = "60 per 10 minutes"
#: Registrations from one address, including those that fail. This limits the accounts that one person can create, and
#: the usernames that one person can test.
REGISTRATIONS = "20 per hour"

EXTENSION_KEY = "sched.limiter"
#: The prefix of keys for usernames.
_NAME_PREFIX = "name:"
#: The last bits of an IPv6 address, which are ignored. A customer has all addresses of such a network (RFC 6177).
_HOST_BITS = 64


def init_app(app: Flask) -> None:
    """Limit the views for login, confirmation and registration, which must be registered before."""
    uri, options = _storage(app)
    # A new limiter for each application, because the limiter object holds its storage.
    limiter = Limiter(
        _address,
        strategy="moving-window",
        # While Redis is down, each process counts in its memory. The limits still hold, and users can still sign in.
        in_memory_fallback_enabled=True,
        storage_uri=uri,
        storage_options=options,
    )
    limiter.init_app(app)
    app.extensions[EXTENSION_KEY] = limiter
    for endpoint, limit, key in (
        *(("auth.login", PER_NAME, _entered_name), ("auth.login", PER_ADDRESS, _address)),
        *(("auth.confirm", PER_NAME, _user_name), ("auth.confirm", PER_ADDRESS, _address)),
        ("registration.register", REGISTRATIONS, _address),
    ):
        limited = limiter.limit(limit, key_func=key, methods=["POST"])
        view: Callable[..., Any] = app.view_functions[endpoint]
        app.view_functions[endpoint] = limited(view)
    app.register_error_handler(RateLimitExceeded, _show_error_page)


@none_if_redis_is_down
def reset_name_limit() -> None:
    """Reset the count of this request's username after a right password."""
    limiter: Limiter = current_app.extensions[EXTENSION_KEY]
    for limit in limiter.current_limits:
        if any(part.startswith(_NAME_PREFIX) for part in limit.request_args):
            limit.limiter.clear(limit.limit, *limit.request_args)


def _storage(app: Flask) -> tuple[str, dict[str, Any]]:
    """Return the storage URI and options of the limiter, which uses the connections of the site's Redis client."""
    if "+cluster" in urlsplit(app.config["REDIS_URL"]).scheme:
        return "memory://", {}  # a cluster has no pool to share, so each process counts for itself
    with app.app_context():
        return "redis://", {"connection_pool": redis.connection_pool, "key_prefix": "sched:limits"}


def _address() -> str:
    text = request.remote_addr or "none"
    try:
        address = ip_address(text)
    except ValueError:  # of a Unix socket
        return f"address:{text}"
    return f"network:{int(address) >> _HOST_BITS:x}" if address.version == 6 else f"address:{address}"


def _entered_name() -> str:
    # A digest, because people sometimes type a password into this field, and keys in Redis are readable.
    return _NAME_PREFIX + sha256(normalize_username(request.form.get("username")).encode()).hexdigest()


def _user_name() -> str:
    return f"{_NAME_PREFIX}{current_user.get_id() or 'nobody'}"


def _show_error_page(error: RateLimitExceeded) -> ResponseReturnValue:
    limiter: Limiter = current_app.extensions[EXTENSION_KEY]
    limit = limiter.current_limit
    # Not limit.reset_at, which is rounded up to a whole second: with a limit of 600 seconds it can be 601 seconds away.
    error.retry_after = max(1, ceil(limit.window.reset_time - time.time())) if limit else None
    return errors.show_error_page(error)
