"""CSRF tokens in the forms of WTForms and Flask-WTF. Import this module only if WTForms is installed.

A form of WTForms needs::

    class Meta:
        csrf = True
        csrf_class = CloakroomCSRF

Forms of Flask-WTF need no change. In an application with this package's protection they use this package's tokens.
"""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any, Final

from flask import current_app
from wtforms import ValidationError
from wtforms.csrf.core import CSRF

from .errors import CSRFError
from .session_tokens import generate_csrf, validate_csrf
from .state import has_passed, protection_of_this_app

log = logging.getLogger("flask_cloakroom.csrf")

#: The attribute that marks a Meta.csrf_class that :func:`patch` has made.
_PATCHED: Final = "_flask_cloakroom_patched"


class CloakroomCSRF(CSRF):  # type: ignore[misc]  # WTForms is not typed
    """The ``Meta.csrf_class`` of a form with a hidden field for the session's CSRF token."""

    def setup_form(self, form: Any) -> Any:
        """Return the hidden field, as WTForms expects it."""
        self.field_name: str = form.meta.csrf_field_name
        return super().setup_form(form)

    def generate_csrf_token(self, csrf_token_field: Any) -> str:
        """Return a token for the hidden field."""
        return generate_csrf(token_key=self._token_key())

    def validate_csrf_token(self, form: Any, field: Any) -> None:
        """Raise WTForms' ValidationError unless the field contains a valid token of the session.

        A form needs no token if the protection has checked its request already, or does not check it.
        """
        if has_passed():
            return
        try:
            validate_csrf(field.data, token_key=self._token_key())
        except CSRFError as error:
            log.info(error.description)
            raise ValidationError(error.description) from error

    def _token_key(self) -> str | None:
        """Return the name of the form's token field, or None if it is the application's WTF_CSRF_FIELD_NAME."""
        default = current_app.config.get("WTF_CSRF_FIELD_NAME", "csrf_token")
        return None if self.field_name == default else self.field_name


def patch(module: ModuleType) -> bool:
    """Let ``FlaskForm`` in the module ``flask_wtf.form`` use this package's tokens.

    Return False if the import of the module has not ended yet; then call this function again later. Applications
    without this package's protection, and forms with another ``csrf_class``, do not change.
    """
    form = getattr(module, "FlaskForm", None)
    if form is None:
        return False  # another thread is still importing the module
    original = form.Meta.csrf_class
    if not hasattr(original, _PATCHED):

        def make_csrf() -> Any:
            return CloakroomCSRF() if protection_of_this_app() else original()

        setattr(make_csrf, _PATCHED, True)
        form.Meta.csrf_class = staticmethod(make_csrf)
    return True
