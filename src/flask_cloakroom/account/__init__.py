"""Ready-made pages for a user's account: on which devices they are signed in, to end each of them."""

from .pages import TEXTS, account_blueprint

__all__ = ["TEXTS", "account_blueprint"]
