"""What a session notes of its login, for the list of a user's sessions: where it came from, and how."""

from __future__ import annotations

import json
import time
from typing import Any, Final

from flask.sessions import SessionMixin

from ...core.entries.ownership import NewLogin
from ...sessions import ServerSession

#: Characters of a User-Agent header that are kept: those of today's browsers have 60 to 250.
LONGEST_AGENT: Final = 300
#: Characters of an address: the longest text of an IPv6 address has 45 (RFC 4291, 2.2), and a zone may follow.
LONGEST_ADDRESS: Final = 64
#: The latest time that a session's header holds, in seconds since the epoch.
LATEST: Final = 2**32 - 1


def begun_by(
    session: SessionMixin, address: str | None, user_agent: str | None, *, remembered: bool, handle: str
) -> NewLogin:
    """Return what is said of a login for :func:`active_sessions`. Nothing of the browser if the session is sealed.

    With SESSION_ENCRYPTION only the ticket opens what a session holds, so what can be read without one must not be
    there.
    """
    note: dict[str, Any] = {"at": int(time.time())}
    if remembered:
        note["remembered"] = True
    if isinstance(session, ServerSession) and not session.repository.encrypts:
        if address:
            note["address"] = address[:LONGEST_ADDRESS]
        if user_agent:
            note["agent"] = user_agent[:LONGEST_AGENT]
    return NewLogin(json.dumps(note), handle)


def read_note(text: str) -> dict[str, Any]:
    """Return what :func:`begun_by` wrote; an empty dict for what is no note."""
    try:
        note = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}


def is_remembered_by(text: str) -> bool:
    """Tell whether a note says that the login is remembered."""
    return read_note(text).get("remembered") is True


def moment_in(value: object) -> int | None:
    """Return a note's value if it is a time, in seconds since the epoch."""
    return value if type(value) is int and 0 < value <= LATEST else None


def text_in(value: object) -> str | None:
    """Return a note's value if it is text that a page can show: JSON can spell half of a surrogate pair."""
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value[:LONGEST_AGENT]
