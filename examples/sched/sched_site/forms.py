"""The forms of signing in, what they say when something is amiss, and when a form carries the session's token."""

from __future__ import annotations

from flask import current_app, session
from wtforms import BooleanField, Form, PasswordField, StringField
from wtforms.validators import EqualTo, InputRequired, Length

from flask_cloakroom.csrf.forms import CloakroomCSRF

from . import passwords
from .accounts import normal


def has_token() -> bool:
    """Tell whether the forms of the present page carry the session's token; pages know it by the same name.

    They do once the session holds something, other than a message that this very page shows. A token would begin a
    session, for every robot that looks at the shelf, and browsers say where a form comes from without it.
    """
    return any(key != "_flashes" for key in session) or bool(current_app.config.get("CSRF_REQUIRE_TOKEN"))


class SiteForm(Form):
    """What every form of WTForms on this site inherits."""

    class Meta:
        """How WTForms is told to put the token in."""

        csrf_class = CloakroomCSRF
        csrf_field_name = "csrf_token"  # as in the other forms: macros.html

        @property
        def csrf(self) -> bool:
            """Whether the form has the field."""
            return has_token()


class LoginForm(SiteForm):
    """Who one is, and whether the browser shall be remembered."""

    username = StringField("Username", [InputRequired("Enter your username.")], filters=[normal])
    password = PasswordField("Password", [InputRequired("Enter your password.")])
    remember = BooleanField("Remember me on this device")


class ConfirmForm(SiteForm):
    """The password alone, of whoever is signed in: nothing in the form says who that is."""

    password = PasswordField("Your password", [InputRequired("Enter your password.")])


class NewPasswordForm(SiteForm):
    """A new password, twice. How long it must be is the only rule: OWASP ASVS 5.0, 6.2.5."""

    password = PasswordField(
        "New password",
        [
            InputRequired("Enter a new password."),
            Length(passwords.SHORTEST, message=f"Take at least {passwords.SHORTEST} characters."),
            Length(max=passwords.LONGEST, message=f"Take at most {passwords.LONGEST} characters."),
        ],
    )
    repeat = PasswordField(
        "The new password again",
        [InputRequired("Enter it once more."), EqualTo("password", "The two are not the same.")],
    )
