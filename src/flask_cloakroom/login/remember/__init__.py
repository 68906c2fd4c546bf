"""Remember tokens, which log a user in again after the session has ended."""

from .tokens import Remembered, RememberTokens, Used

__all__ = ["RememberTokens", "Remembered", "Used"]
