"""The module in which Flask-Login has its mixins."""

from flask_cloakroom import AnonymousUserMixin, UserMixin

__all__ = ["AnonymousUserMixin", "UserMixin"]
