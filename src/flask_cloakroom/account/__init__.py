"""Ready-made account pages: users see the devices on which they are signed in, and sign them out."""

from .pages import TEXTS, account_blueprint

__all__ = ["TEXTS", "account_blueprint"]
