"""Flask-WTF's module of this name, with the names of Flask-Cloakroom."""

from flask_cloakroom import CSRFError, CSRFProtect, csrf_meta_tag, generate_csrf, validate_csrf

__all__ = ["CSRFError", "CSRFProtect", "csrf_meta_tag", "generate_csrf", "validate_csrf"]
