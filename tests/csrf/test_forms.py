"""CSRF tokens in forms of the packages WTForms and Flask-WTF."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from typing import Any

import pytest
from flask import Blueprint, Flask, g, render_template_string, request
from flask_wtf import CSRFProtect as TheirProtect
from flask_wtf import FlaskForm
from flask_wtf.csrf import _FlaskFormCSRF
from wtforms import Form, StringField

from flask_cloakroom import CSRFError
from flask_cloakroom.csrf.forms import CloakroomCSRF
from support.sites.csrf import FOREIGN, make_app, reason_of

MISSING_IN_FORM = "{'csrf_token': ['The CSRF token is missing.']}"
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


def form_of(app: Flask, given: Any) -> Any:
    """Return a form of the site's class, filled with what was given."""
    return app.extensions["form class"](given)


def add_views(app: Flask, form_class: Any) -> None:
    app.extensions["form class"] = form_class

    def handle() -> str:
        form = form_class() if issubclass(form_class, FlaskForm) else form_class(request.form)
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
    """A form in an exempt view does not check again, whatever the request holds."""
    client = site.test_client()
    assert client.post("/exempt", headers=FOREIGN).text == "valid"
    assert client.post("/exempt").text == "valid"
    assert client.post("/exempt", data={"csrf_token": "x" * 72}, headers=FOREIGN).text == "valid"


@pytest.mark.parametrize("how", ["blueprint", "url", "skipped"])
def test_exempt_otherwise(site: Flask, how: str) -> None:
    """Nor in one that is exempt by its blueprint, its URL, or the application's word; a neighbour's form checks."""
    csrf = site.extensions["csrf"]
    blueprint = Blueprint("api", __name__, url_prefix="/api")
    blueprint.add_url_rule("/page", "page", site.view_functions["page"], methods=["POST"])
    if how == "blueprint":
        csrf.exempt(blueprint)
    elif how == "url":
        csrf.exempt_urls("/api")
    else:
        csrf.skip_validation(lambda request: request.path == "/api/page")
    site.register_blueprint(blueprint)
    client = site.test_client()
    assert client.post("/api/page", headers=FOREIGN).text == "valid"
    assert client.post("/page", headers=FOREIGN).status_code == 400


@pytest.mark.parametrize("setting", [{"WTF_CSRF_CHECK_DEFAULT": False}, {"WTF_CSRF_METHODS": ["PUT"]}])
def test_request_that_was_not_checked(site: Flask, setting: dict[str, Any]) -> None:
    """Its form checks its token itself, whatever the headers say; unless the view is exempt."""
    site.config.update(setting)
    client = site.test_client()
    own = {"Sec-Fetch-Site": "same-origin"}
    token = token_in(client.get("/page").text)
    assert client.post("/page", headers=own).text == MISSING_IN_FORM
    assert client.post("/page", data={"csrf_token": token}, headers=own).text == "valid"
    assert client.post("/exempt", headers=FOREIGN).text == "valid"


def test_form_of_a_get(site: Flask) -> None:
    """A form that is validated in a GET checks its token: nobody checked that of the request."""
    site.add_url_rule("/search", "search", lambda: str(form_of(site, request.args).validate()))
    client = site.test_client()
    token = client.get("/form").text
    assert client.get("/search").text == "False"
    assert client.get(f"/search?csrf_token={token}").text == "True"


def test_requests_that_share_g(site: Flask) -> None:
    """In tests an application context may be around several requests: each has its own answer."""
    site.config["WTF_CSRF_CHECK_DEFAULT"] = False
    csrf = site.extensions["csrf"]

    def checked() -> str:
        csrf.protect()
        return str(bool(g.csrf_valid))

    site.add_url_rule("/checked", "checked", checked, methods=["POST"])
    client = site.test_client()
    with site.app_context():
        assert client.post("/checked", headers={"Sec-Fetch-Site": "same-origin"}).text == "True"
        assert "csrf_valid" in g
        assert not g.csrf_valid
        assert client.post("/page").text == MISSING_IN_FORM
        assert client.post("/exempt").text == "valid"
        assert client.post("/page").text == MISSING_IN_FORM
        site.config["WTF_CSRF_CHECK_DEFAULT"] = True
        assert client.post("/page", headers=FOREIGN).status_code == 400


def test_their_own_form_class(kind: str) -> None:
    """A form that insists on Flask-WTF's own tokens asks for none either where the request has passed."""

    class Theirs(FlaskForm):
        class Meta:
            csrf_class = _FlaskFormCSRF

    app = make_app(kind, SECRET_KEY="a key that is long enough")
    add_views(app, Theirs)
    client = app.test_client()
    with app.app_context():
        assert client.post("/page", headers={"Sec-Fetch-Site": "same-origin"}).text == "valid"
        assert client.post("/exempt", headers=FOREIGN).text == "valid"
        app.config["WTF_CSRF_CHECK_DEFAULT"] = False
        assert client.post("/page").text == MISSING_IN_FORM


def test_refusal_that_was_caught(site: Flask) -> None:
    """A form asks for its token where ``protect()`` refused the request, also in a view that is exempt."""
    csrf = site.extensions["csrf"]

    def view() -> str:
        with contextlib.suppress(CSRFError):
            csrf.protect()
        return str(form_of(site, request.form).validate())

    site.add_url_rule("/caught", "caught", csrf.exempt(view), methods=["POST"])
    assert site.test_client().post("/caught", headers=FOREIGN).text == "False"
    assert site.test_client().post("/caught", headers={"Sec-Fetch-Site": "same-origin"}).text == "True"


def test_form_after_a_login(site: Flask) -> None:
    """The page after a login works; the form from before it does not."""
    client = site.test_client()
    before = token_in(client.get("/page").text)
    client.get("/login/7")
    assert client.post("/page", data={"csrf_token": before}).status_code == 400
    after = token_in(client.get("/page").text)
    assert client.post("/page", data={"csrf_token": after}).text == "valid"


def test_switched_off(site: Flask) -> None:
    """WTF_CSRF_ENABLED = False switches the forms' own check off, too."""
    site.config["WTF_CSRF_ENABLED"] = False
    assert site.test_client().post("/page").text == "valid"


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
        lambda: str(Own().validate_on_submit()) + str(Own().own_token.current_token),
        methods=["GET", "POST"],
    )
    app.config["WTF_CSRF_CHECK_DEFAULT"] = False
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
