"""The forms for login and accounts, their error messages, and the rule which forms have a CSRF token."""

from __future__ import annotations

import unicodedata

from flask import current_app, session
from wtforms import BooleanField, Field, Form, PasswordField, SelectField, StringField, ValidationError
from wtforms.fields.choices import SelectChoice
from wtforms.validators import EqualTo, InputRequired, Length, Regexp

from flask_cloakroom import current_user
from flask_cloakroom.csrf.forms import CloakroomCSRF

from . import local_time, passwords
from .accounts import MAX_USERNAME_LENGTH, normalize_username

#: The most characters of a user's name.
MAX_NAME_LENGTH = 80
#: Characters that change the direction of the text after them (Unicode Standard Annex 9).
DIRECTION_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
#: The pattern of a username. It has no letters of other alphabets, which can look like a letter from a to z.
USERNAME_PATTERN = r"[a-z0-9][a-z0-9._-]+\Z"


def has_token() -> bool:
    """Return whether the forms of this page have a CSRF token. Templates call this by the same name.

    They have one as soon as the session is not empty. Flash messages do not count, because this page shows them. In an
    empty session a token would create a session for every robot, and browsers report the origin of a form anyway.
    """
    return any(key != "_flashes" for key in session) or bool(current_app.config.get("CSRF_REQUIRE_TOKEN"))


class SiteForm(Form):
    """The base class of all forms of this site."""

    class Meta:
        """The settings by which WTForms adds the CSRF token."""

        csrf_class = CloakroomCSRF
        csrf_field_name = "csrf_token"  # the same as in token() of macros.html

        @property
        def csrf(self) -> bool:
            """Whether the form has the field with the token."""
            return has_token()


class LoginForm(SiteForm):
    """The login form."""

    username = StringField("Username", [InputRequired("Enter your username.")], filters=[normalize_username])
    password = PasswordField("Password", [InputRequired("Enter your password.")])
    remember = BooleanField("Remember me on this device")


class ConfirmForm(SiteForm):
    """The form for the password of the signed-in user. It has no field for a username."""

    password = PasswordField("Your password", [InputRequired("Enter your password.")])


class RepeatedPasswordForm(SiteForm):
    """The base class for forms with a new password, entered twice.

    Any characters are allowed (OWASP ASVS 5.0, 6.2.5). Common passwords are refused.
    """

    password = PasswordField(
        "New password",
        [
            InputRequired("Enter a new password."),
            Length(passwords.MIN_LENGTH, message=f"Use at least {passwords.MIN_LENGTH} characters."),
            Length(max=passwords.MAX_LENGTH, message=f"Use at most {passwords.MAX_LENGTH} characters."),
        ],
    )
    repeat = PasswordField(
        "Repeat the new password",
        [InputRequired("Repeat the password."), EqualTo("password", "The passwords do not match.")],
    )

    def username_for_password(self) -> str:
        """Return the username of the user who will have the password."""
        raise NotImplementedError

    def validate_password(self, field: Field) -> None:
        """Refuse a common password, and a password with the username in it."""
        if reason := passwords.weakness(field.data, self.username_for_password()):
            raise ValidationError(reason)


class NewPasswordForm(RepeatedPasswordForm):
    """The form for a new password of the signed-in user."""

    def username_for_password(self) -> str:
        """Return the username of the signed-in user."""
        return str(current_user.username)


def time_zone_field() -> SelectField:
    """Return a select field with all time zones, grouped by region."""
    choices = [
        SelectChoice(name, name.removeprefix(f"{region}/").replace("_", " "), optgroup=region)
        for region, names in local_time.zone_names().items()
        for name in names
    ]
    return SelectField("Time zone", choices=choices, default=local_time.DEFAULT_ZONE)


def refuse_control_characters(form: Form, field: Field) -> None:
    """Refuse control characters other than tabs and line ends, and characters that change the direction of text.

    PostgreSQL cannot store a NUL, and a name must not reverse the text after it on a page.
    """
    for character in field.data or "":
        if (unicodedata.category(character) == "Cc" and character not in "\t\n") or character in DIRECTION_CONTROLS:
            raise ValidationError("The text contains a character that cannot be displayed. Remove it.")


class RegistrationForm(RepeatedPasswordForm):
    """The form for a new account."""

    name = StringField(
        "Your name",
        [
            InputRequired("Enter a name."),
            Length(max=MAX_NAME_LENGTH, message=f"Use at most {MAX_NAME_LENGTH} characters."),
            refuse_control_characters,
        ],
        filters=[lambda text: (text or "").strip()],
    )
    username = StringField(
        "Username",
        [
            InputRequired("Enter a username."),
            Length(2, MAX_USERNAME_LENGTH, f"Use 2 to {MAX_USERNAME_LENGTH} characters."),
            Regexp(
                USERNAME_PATTERN,
                message="Use letters from a to z and digits. After the first character you may use . - and _ too.",
            ),
        ],
        filters=[normalize_username],
    )
    time_zone = time_zone_field()

    def username_for_password(self) -> str:
        """Return the username that was entered."""
        return str(self.username.data)

    def validate_name(self, field: Field) -> None:
        """Refuse a name of spaces."""
        if not field.data:
            raise ValidationError("Enter a name.")


class TimeZoneForm(SiteForm):
    """The form for another time zone."""

    time_zone = time_zone_field()
