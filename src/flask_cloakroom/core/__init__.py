"""Sessions, remembered logins and user data in a store. No module in this folder imports Flask."""

from .entries.record import Absence, Record
from .entries.tickets import public_id
from .sessions.repository import Repository
from .values import codec

__all__ = ["Absence", "Record", "Repository", "codec", "public_id"]
