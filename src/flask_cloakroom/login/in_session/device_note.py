"""The device note: address, browser and time of a login, for the list of a user's sessions."""

from __future__ import annotations

import json
import time
from typing import Any, Final

from flask import Request
from flask.sessions import SessionMixin

from ...core.entries.ownership import NewLogin
from ...sessions import ServerSession

#: The greatest number of stored characters of a User-Agent header. Headers of today's browsers have 60 to 250.
LONGEST_AGENT: Final = 300
#: The greatest number of stored characters of an address. An IPv6 address has up to 45 (RFC 4291, 2.2) and a zone.
LONGEST_ADDRESS: Final = 64
#: The latest time that the header of an entry can store in its four bytes, in seconds since the epoch.
LATEST: Final = 2**32 - 1


def describe_login(session: SessionMixin, request: Request, *, remembered: bool, handle: str) -> NewLogin:
    """Return the description of a login that a request makes, for :func:`.actions.active_sessions`.

    ``handle``: the handle of the login's remember tokens, or "" to make a new handle. With SESSION_ENCRYPTION the
    description has neither address nor browser, because it is in the entry's header, which is not encrypted.
    """
    note: dict[str, Any] = {"at": int(time.time())}
    if remembered:
        note["remembered"] = True
    if isinstance(session, ServerSession) and not session.repository.encrypts:
        if request.remote_addr:
            note["address"] = request.remote_addr[:LONGEST_ADDRESS]
        if agent := request.headers.get("User-Agent"):
            note["agent"] = agent[:LONGEST_AGENT]
    return NewLogin(json.dumps(note), handle)


def read_note(text: str) -> dict[str, Any]:
    """Return the device note in a text from :func:`describe_login`, or an empty dict for any other text."""
    try:
        note = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}


def was_remembered(text: str) -> bool:
    """Return whether the device note in a text says that the login has a remember token."""
    return read_note(text).get("remembered") is True


def as_time(value: object) -> int | None:
    """Return a value of a device note if it is a time in seconds since the epoch, otherwise None."""
    return value if type(value) is int and 0 < value <= LATEST else None


def as_text(value: object) -> str | None:
    """Return a value of a device note, shortened, if it is text that a page can show, otherwise None.

    JSON text can contain half of a surrogate pair, which cannot be encoded for a page.
    """
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value[:LONGEST_AGENT]
