"""Protection against request forgery (CSRF): another site makes a visitor's browser send a request to this site."""

from .errors import CSRFError
from .protect import CSRFProtect
from .seasurf.protect import SeaSurf
from .session_tokens import csrf_meta_tag, generate_csrf, validate_csrf
from .test_client import CSRFClient

__all__ = ["CSRFClient", "CSRFError", "CSRFProtect", "SeaSurf", "csrf_meta_tag", "generate_csrf", "validate_csrf"]
