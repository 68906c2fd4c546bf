"""The forms of signing in, and what they say when something is amiss."""

from __future__ import annotations

from wtforms import BooleanField, Form, PasswordField, StringField
from wtforms.validators import EqualTo, InputRequired, Length

from . import passwords
from .accounts import normal


class LoginForm(Form):
    """Who one is, and whether the browser shall be remembered."""

    username = StringField("Username", [InputRequired("Enter your username.")], filters=[normal])
    password = PasswordField("Password", [InputRequired("Enter your password.")])
    remember = BooleanField("Remember me on this device")


class ConfirmForm(Form):
    """The password alone, of whoever is signed in: nothing in the form says who that is."""

    password = PasswordField("Your password", [InputRequired("Enter your password.")])


class NewPasswordForm(Form):
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
