"""What a session notes of its login, for the list of a user's sessions: where it came from, and how."""

from __future__ import annotations

import json
from typing import Any, Final

from ..sessions.owners import Begun
from . import kept
from .state import LoginState

#: Characters of a User-Agent header that are kept: those of today's browsers have 60 to 250.
LONGEST_AGENT: Final = 300
#: Characters of an address: the longest text of an IPv6 address has 45 (RFC 4291, 2.2), and a zone may follow.
LONGEST_ADDRESS: Final = 64


def begun_by(state: LoginState, *, remembered: bool, handle: str = "") -> Begun:
    """Return what is said of a login for :func:`active_sessions`. Nothing of the browser if the session is sealed.

    With SESSION_ENCRYPTION only the ticket opens what a session holds, so what can be read without one must not be
    there.
    """
    note: dict[str, Any] = {"remembered": True} if remembered else {}
    found = kept.server_session(state.session)
    if found is not None and not found._interface.settings.encrypt:
        if address := state.request.remote_addr:
            note["address"] = address[:LONGEST_ADDRESS]
        if agent := state.user_agent:
            note["agent"] = agent[:LONGEST_AGENT]
    return Begun(json.dumps(note) if note else "", handle)


def read_note(text: str) -> dict[str, Any]:
    """Return what :func:`begun_by` wrote; an empty dict for what is no note."""
    try:
        note = json.loads(text) if text else {}
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def is_remembered_by(text: str) -> bool:
    """Tell whether a note says that the login is remembered."""
    return read_note(text).get("remembered") is True


def text_in(value: object) -> str | None:
    """Return a note's value if it is text."""
    return value if isinstance(value, str) else None
