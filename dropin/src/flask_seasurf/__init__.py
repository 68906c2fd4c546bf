"""Flask-SeaSurf's import name, for Flask-Cloakroom."""

from flask_cloakroom import SeaSurf
from flask_cloakroom.csrf.origin import WRONG_REFERRER as REASON_BAD_REFERER
from flask_cloakroom.csrf.protect import NO_ORIGIN as REASON_NO_REFERER
from flask_cloakroom.csrf.seasurf.protect import NO_REQUEST as REASON_NO_REQUEST
from flask_cloakroom.csrf.token_format import MISMATCH as REASON_BAD_TOKEN
from flask_cloakroom.csrf.token_format import NO_TOKEN as REASON_NO_CSRF_TOKEN

__version_info__ = ("2", "0", "0")
#: The version of Flask-SeaSurf that has these names.
__version__ = ".".join(__version_info__)

__all__ = [
    "REASON_BAD_REFERER",
    "REASON_BAD_TOKEN",
    "REASON_NO_CSRF_TOKEN",
    "REASON_NO_REFERER",
    "REASON_NO_REQUEST",
    "SeaSurf",
]
