"""The module in which Flask-Login has its test client."""

from flask_cloakroom import FlaskLoginClient

__all__ = ["FlaskLoginClient"]
