"""Sessions on the server: ``Session(app)`` keeps ``flask.session`` in a store instead of a cookie."""

from ..core.values.merge import MISSING
from ..core.values.registered_types import register_type
from .extension import Session, locked_session, passive
from .session import ServerSession

__all__ = ["MISSING", "ServerSession", "Session", "locked_session", "passive", "register_type"]
