"""Flask-Login's module for ``LoginManager``."""

from flask_cloakroom import LoginManager

__all__ = ["LoginManager"]
