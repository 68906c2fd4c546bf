"""Flask-Session's import name, with Flask-Cloakroom behind it."""

from flask_cloakroom import ServerSession as ServerSideSession
from flask_cloakroom import Session

__all__ = ["ServerSideSession", "Session"]
