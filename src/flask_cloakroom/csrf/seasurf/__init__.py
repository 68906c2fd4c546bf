"""``SeaSurf``: CSRF protection with the names, settings and answers of Flask-SeaSurf."""

from .protect import SeaSurf

__all__ = ["SeaSurf"]
