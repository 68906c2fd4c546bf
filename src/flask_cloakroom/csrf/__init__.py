"""Request forgery: whether a request that changes something was meant by who seems to send it."""

from .client import CSRFClient
from .errors import CSRFError
from .protect import CSRFProtect
from .seasurf import SeaSurf
from .tokens import csrf_meta_tag, generate_csrf, validate_csrf

__all__ = ["CSRFClient", "CSRFError", "CSRFProtect", "SeaSurf", "csrf_meta_tag", "generate_csrf", "validate_csrf"]
