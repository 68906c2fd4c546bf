"""The module in which Flask-Login has its manager."""

from flask_cloakroom import LoginManager

__all__ = ["LoginManager"]
