"""SESSION_PROTECTION: whether a session is still in the browser in which its login was made.

Only the User-Agent header is looked at. Addresses change while people travel, and what a proxy says of them can be
said by anybody.
"""

from __future__ import annotations

import hmac
from hashlib import sha256


def browser_id(user_agent: str | None) -> str:
    """Return what the session keeps of the browser: a digest, hexadecimal."""
    return sha256((user_agent or "").encode("utf-8", "surrogatepass")).hexdigest()


def is_same_browser(kept: object, user_agent: str | None) -> bool:
    """Tell whether that is the browser. False for a session that says nothing of one."""
    if not isinstance(kept, str):
        return False
    return hmac.compare_digest(kept.encode("utf-8", "surrogatepass"), browser_id(user_agent).encode())
