"""Flask-Redis's import name, with Flask-Cloakroom behind it."""

from .client import FlaskRedis

#: The version of Flask-Redis whose names are here.
__version__ = "0.4.0"

__all__ = ["FlaskRedis"]
