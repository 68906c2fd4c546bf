"""Tokens in the forms of WTForms and Flask-WTF. Imported only where one of them is in use.

For a form of WTForms::

    class Meta:
        csrf = True
        csrf_class = CloakroomCSRF

Forms of Flask-WTF need nothing: in an application that has our protection they take our tokens.
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

#: Says of a Meta.csrf_class that it is ours already.
_ADOPTED: Final = "_flask_cloakroom_adopted"


class CloakroomCSRF(CSRF):  # type: ignore[misc]  # WTForms is not typed
    """Meta.csrf_class of a form whose hidden field shall hold the session's token."""

    def setup_form(self, form: Any) -> Any:
        """Return the form's field, as WTForms wants it."""
        self.field_name: str = form.meta.csrf_field_name
        return super().setup_form(form)

    def generate_csrf_token(self, csrf_token_field: Any) -> str:
        """Return the field's value."""
        return generate_csrf(token_key=self._token_key())

    def validate_csrf_token(self, form: Any, field: Any) -> None:
        """Raise WTForms' ValidationError for a field that holds no token of the session.

        Where the request as a whole was found good, or its view is exempt, nothing is asked of the form.
        """
        if has_passed():
            return
        try:
            validate_csrf(field.data, token_key=self._token_key())
        except CSRFError as error:
            log.info(error.description)
            raise ValidationError(error.description) from error

    def _token_key(self) -> str | None:
        """Return the key of the session if the form has another than the application."""
        default = current_app.config.get("WTF_CSRF_FIELD_NAME", "csrf_token")
        return None if self.field_name == default else self.field_name


def adopt(module: ModuleType) -> bool:
    """Give the FlaskForm of ``flask_wtf.form`` our tokens in the applications that we protect; True when it is done.

    In other applications of the same process it keeps its own, and so does a form that names another ``csrf_class``.
    """
    form = getattr(module, "FlaskForm", None)
    if form is None:
        return False  # another thread is importing it
    theirs = form.Meta.csrf_class
    if not hasattr(theirs, _ADOPTED):

        def choose() -> Any:
            return CloakroomCSRF() if protection_of_this_app() else theirs()

        setattr(choose, _ADOPTED, True)
        form.Meta.csrf_class = staticmethod(choose)
    return True
