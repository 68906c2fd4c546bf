"""The forms of signing in, what they say when something is amiss, and when a form carries the session's token."""

from __future__ import annotations

import unicodedata

from flask import current_app, session
from wtforms import BooleanField, Field, Form, PasswordField, SelectField, StringField, ValidationError
from wtforms.fields.choices import SelectChoice
from wtforms.validators import EqualTo, InputRequired, Length, Regexp

from flask_cloakroom import current_user
from flask_cloakroom.csrf.forms import CloakroomCSRF

from . import local_time, passwords
from .accounts import LONGEST_USERNAME, normal

#: Characters of a person's name at most.
LONGEST_NAME = 80
#: What changes the direction of the text that follows (Unicode Standard Annex 9).
TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
#: What a username is made of: nothing that looks like something else.
USERNAME = r"[a-z0-9][a-z0-9._-]+\Z"


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


class PasswordTwiceForm(SiteForm):
    """A new password, twice: of whatever one likes (OWASP ASVS 5.0, 6.2.5), but none that is guessed first."""

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

    def whose(self) -> str:
        """Return the username that the password is for."""
        raise NotImplementedError

    def validate_password(self, field: Field) -> None:
        """Refuse what is guessed first."""
        if reason := passwords.weakness(field.data, self.whose()):
            raise ValidationError(reason)


class NewPasswordForm(PasswordTwiceForm):
    """Another password, for whoever is signed in."""

    def whose(self) -> str:
        """Return the name of whoever is signed in."""
        return str(current_user.username)


def time_zone_field() -> SelectField:
    """Make the field in which one chooses a time zone, by region."""
    choices = [
        SelectChoice(name, name.removeprefix(f"{region}/").replace("_", " "), optgroup=region)
        for region, names in local_time.zone_names().items()
        for name in names
    ]
    return SelectField("Time zone", choices=choices, default=local_time.DEFAULT_ZONE)


def plain(form: Form, field: Field) -> None:
    """Refuse control characters, but for tabs and the ends of lines, and those that turn the direction of other text.

    PostgreSQL cannot keep a NUL, and a name shall not turn the page around it.
    """
    for character in field.data or "":
        if (unicodedata.category(character) == "Cc" and character not in "\t\n") or character in TURNING:
            raise ValidationError("There is a character in it that cannot be shown.")


class RegistrationForm(PasswordTwiceForm):
    """Who one wants to be."""

    name = StringField(
        "Your name",
        [
            InputRequired("Enter a name."),
            Length(max=LONGEST_NAME, message=f"Take at most {LONGEST_NAME} characters."),
            plain,
        ],
        filters=[lambda text: (text or "").strip()],
    )
    username = StringField(
        "Username",
        [
            InputRequired("Enter a username."),
            Length(2, LONGEST_USERNAME, f"Take 2 to {LONGEST_USERNAME} characters."),
            Regexp(USERNAME, message="Take letters from a to z and digits; dots, hyphens and underscores inside."),
        ],
        filters=[normal],
    )
    time_zone = time_zone_field()

    def whose(self) -> str:
        """Return the name that is wanted."""
        return str(self.username.data)

    def validate_name(self, field: Field) -> None:
        """Refuse a name that is only spaces."""
        if not field.data:
            raise ValidationError("Enter a name.")


class TimeZoneForm(SiteForm):
    """Another time zone."""

    time_zone = time_zone_field()
