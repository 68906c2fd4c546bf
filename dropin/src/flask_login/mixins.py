"""Flask-Login's module for its mixins."""

from flask_cloakroom import AnonymousUserMixin, UserMixin

__all__ = ["AnonymousUserMixin", "UserMixin"]
