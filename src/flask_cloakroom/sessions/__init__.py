"""Server-side sessions: ``Session(app)`` puts them in the place of Flask's cookie."""

from .codec import register_type
from .extension import Session, locked_session, passive
from .merge import MISSING
from .session import ServerSession

__all__ = ["MISSING", "ServerSession", "Session", "locked_session", "passive", "register_type"]
