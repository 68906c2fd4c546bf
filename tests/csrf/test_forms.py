"""Forms of WTForms and of Flask-WTF, with the packages themselves."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from csrf_sites import make_app, reason_of
from flask import Flask, render_template_string
from flask_wtf import CSRFProtect as TheirProtect
from flask_wtf import FlaskForm
from wtforms import Form, StringField

from flask_cloakroom.csrf.forms import CloakroomCSRF

PAGE = "{{ form.hidden_tag() if form.hidden_tag else form.csrf_token }}"


class TheirForm(FlaskForm):
    """As an application of Flask-WTF has it."""

    name = StringField()


class PlainForm(Form):
    """As an application of WTForms has it."""

    class Meta:
        csrf = True
        csrf_class = CloakroomCSRF

    name = StringField()


def add_views(app: Flask, form_class: Any) -> None:
    from flask import request

    def make() -> Any:
        return form_class() if issubclass(form_class, FlaskForm) else form_class(request.form)

    def handle() -> str:
        form = make()
        if request.method == "POST":
            return "valid" if form.validate() else str(form.errors)
        return render_template_string(PAGE, form=form)

    app.add_url_rule("/page", "page", handle, methods=["GET", "POST"])
    exempt = app.extensions["csrf"].exempt(lambda: handle())
    app.add_url_rule("/exempt", "exempt", exempt, methods=["GET", "POST"])


def token_in(page: str) -> str:
    found = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', page)
    assert found
    return found[1]


@pytest.fixture(params=[TheirForm, PlainForm])
def site(request: pytest.FixtureRequest, kind: str) -> Flask:
    """A site with forms of each kind; on the server without a SECRET_KEY."""
    app = make_app(kind)
    add_views(app, request.param)
    return app


def test_forms_take_our_token(site: Flask) -> None:
    """Their hidden field holds it, it passes the protection, and the form asks for nothing more."""
    client = site.test_client()
    token = token_in(client.get("/page").text)
    assert client.post("/page", data={"csrf_token": token}).text == "valid"
    assert client.post("/page", data={"csrf_token": client.get("/form").text}).text == "valid"
    assert reason_of(client.post("/page")) == "The CSRF token is missing."


def test_request_that_was_checked(site: Flask) -> None:
    """A request that passed by its headers needs no token in its form."""
    client = site.test_client()
    assert client.post("/page", headers={"Sec-Fetch-Site": "same-origin"}).text == "valid"
    assert client.post("/page", headers={"Sec-Fetch-Site": "same-site"}).status_code == 400


def test_exempt_view(site: Flask) -> None:
    """A form in an exempt view checks for itself, as it does with Flask-WTF, and takes our token."""
    client = site.test_client()
    token = token_in(client.get("/exempt").text)
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert client.post("/exempt", data={"csrf_token": token}, headers=foreign).text == "valid"
    assert client.post("/exempt", data={"csrf_token": client.get("/form").text}).text == "valid"
    refused = client.post("/exempt", headers=foreign).text
    assert refused == "{'csrf_token': ['The CSRF token is missing.']}"
    assert "do not match" in client.post("/exempt", data={"csrf_token": "x" * 72}, headers=foreign).text


def test_form_after_a_login(site: Flask) -> None:
    """The page after a login works; the form from before it does not."""
    client = site.test_client()
    before = token_in(client.get("/page").text)
    client.get("/login/7")
    assert client.post("/page", data={"csrf_token": before}).status_code == 400
    after = token_in(client.get("/page").text)
    assert client.post("/page", data={"csrf_token": after}).text == "valid"


def test_switched_off(kind: str) -> None:
    """WTF_CSRF_ENABLED = False switches the forms' own check off, too."""
    app = make_app(kind, WTF_CSRF_ENABLED=False)
    add_views(app, TheirForm)
    assert app.test_client().post("/page").text == "valid"


def test_another_applications_forms() -> None:
    """In one process with ours, an application that Flask-WTF protects keeps its own tokens."""
    ours = make_app()
    add_views(ours, TheirForm)
    token_in(ours.test_client().get("/page").text)
    theirs = Flask("theirs")
    theirs.config.update(TESTING=True, SECRET_KEY="a key that is long enough")
    TheirProtect(theirs)
    add_views(theirs, TheirForm)
    client = theirs.test_client()
    token = token_in(client.get("/page").text)
    assert "." in token
    assert client.post("/page", data={"csrf_token": token}).text == "valid"


def test_another_field_name() -> None:
    """A form with a field name of its own has a token of its own."""
    app = make_app()

    class Own(FlaskForm):
        class Meta:
            csrf_field_name = "own_token"

    app.add_url_rule(
        "/own",
        "own",
        app.extensions["csrf"].exempt(lambda: str(Own().validate_on_submit()) + str(Own().own_token.current_token)),
        methods=["GET", "POST"],
    )
    client = app.test_client()
    token = client.get("/own").text.removeprefix("False")
    assert client.post("/own", data={"own_token": token}).text.startswith("True")
    assert client.post("/own", data={"own_token": client.get("/form").text}).text.startswith("False")


def test_nothing_of_them_is_imported() -> None:
    """A site that uses neither loads neither."""
    code = """
        import sys
        from flask import Flask
        from flask_cloakroom import CSRFClient, CSRFProtect
        app = Flask("shop")
        app.test_client_class = CSRFClient
        CSRFProtect(app)
        app.add_url_rule("/", "index", lambda: "x", methods=["POST"])
        assert app.test_client().post("/").status_code == 200
        print([name for name in sys.modules if "wtf" in name])
    """
    code = "\n".join(line.strip() for line in code.splitlines())
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout.strip() == "[]", result.stderr
