"""Request forgery: whether a request that changes something was meant by who seems to send it."""

from .errors import CSRFError
from .protect import CSRFProtect
from .seasurf.protect import SeaSurf
from .session_tokens import csrf_meta_tag, generate_csrf, validate_csrf
from .test_client import CSRFClient

__all__ = ["CSRFClient", "CSRFError", "CSRFProtect", "SeaSurf", "csrf_meta_tag", "generate_csrf", "validate_csrf"]
