"""The module in which Flask-Redis has its class."""

from flask_cloakroom import FlaskRedis

__all__ = ["FlaskRedis"]
