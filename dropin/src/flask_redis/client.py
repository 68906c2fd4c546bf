"""Flask-Redis's module for ``FlaskRedis``."""

from flask_cloakroom import FlaskRedis

__all__ = ["FlaskRedis"]
