"""What a session notes of its login, for the list of a user's sessions: where it came from, and how."""

from __future__ import annotations

import json
import time
from typing import Any, Final

from flask import Request
from flask.sessions import SessionMixin

from ...core.entries.ownership import Begun
from ...sessions import ServerSession

#: Characters of a User-Agent header that are kept: those of today's browsers have 60 to 250.
LONGEST_AGENT: Final = 300
#: Characters of an address: the longest text of an IPv6 address has 45 (RFC 4291, 2.2), and a zone may follow.
LONGEST_ADDRESS: Final = 64
#: The latest time that a session's header holds, in seconds since the epoch.
LATEST: Final = 2**32 - 1


def describe_login(session: SessionMixin, request: Request, *, remembered: bool, handle: str) -> Begun:
    """Return the description of a login that a request makes, for :func:`active_sessions`.

    ``handle`` is that of the remember tokens of the login, "" for a new one. With SESSION_ENCRYPTION the description
    has no address and no browser: it lies in the header, which can be read without the ticket.
    """
    note: dict[str, Any] = {"at": int(time.time())}
    if remembered:
        note["remembered"] = True
    if isinstance(session, ServerSession) and not session.repository.encrypts:
        if request.remote_addr:
            note["address"] = request.remote_addr[:LONGEST_ADDRESS]
        if agent := request.headers.get("User-Agent"):
            note["agent"] = agent[:LONGEST_AGENT]
    return Begun(json.dumps(note), handle)


def read_note(text: str) -> dict[str, Any]:
    """Return what :func:`describe_login` wrote; an empty dict for what is no note."""
    try:
        note = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}


def was_remembered(text: str) -> bool:
    """Tell whether a note says that the login is remembered."""
    return read_note(text).get("remembered") is True


def as_time(value: object) -> int | None:
    """Return a note's value if it is a time, in seconds since the epoch."""
    return value if type(value) is int and 0 < value <= LATEST else None


def as_text(value: object) -> str | None:
    """Return a note's value if it is text that a page can show: JSON can spell half of a surrogate pair."""
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value[:LONGEST_AGENT]
