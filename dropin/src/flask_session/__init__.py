"""Flask-Session's import name, for Flask-Cloakroom."""

from flask_cloakroom import ServerSession as ServerSideSession
from flask_cloakroom import Session

__all__ = ["ServerSideSession", "Session"]
