"""Flask-Redis's import name, for Flask-Cloakroom."""

from .client import FlaskRedis

#: The version of Flask-Redis that has these names.
__version__ = "0.4.0"

__all__ = ["FlaskRedis"]
