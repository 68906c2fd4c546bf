"""Flask-Login's module for its test client."""

from flask_cloakroom import FlaskLoginClient

__all__ = ["FlaskLoginClient"]
