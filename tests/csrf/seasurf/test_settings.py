"""The settings of Flask-SeaSurf, which requests they refuse, and other extensions beside it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import Blueprint, Flask, render_template_string, session
from flask.testing import FlaskClient
from werkzeug.exceptions import Forbidden, HTTPException

from flask_cloakroom import (
    Cloakroom,
    CSRFClient,
    CSRFError,
    CSRFProtect,
    SettingError,
    csrf_refused,
    generate_csrf,
)
from support.sites.csrf import FOREIGN
from support.sites.seasurf import OWN, SECURE, Make, cookie_of, send


class TestSettings:
    """The others."""

    def test_cookie_name(self, make: Make) -> None:
        """Is that of the field and of the session's key as well."""
        app = make(CSRF_COOKIE_NAME="XSRF")
        app.add_url_rule("/keys", "keys", lambda: str(list(session)))
        client = app.test_client()
        token = client.get("/form").text
        assert client.post("/change", data={"XSRF": token}).text == "changed"
        assert client.post("/change", data={"_csrf_token": token}).status_code == 403
        assert client.get("/keys").text == "['XSRF']"

    def test_header_name(self, make: Make) -> None:
        """Is the only one that is looked at."""
        client = make(CSRF_HEADER_NAME="X-My-Token").test_client()
        token = client.get("/form").text
        assert client.post("/change", headers={"X-My-Token": token}).text == "changed"
        assert client.post("/change", headers={"X-CSRFToken": token}).status_code == 403

    @pytest.mark.parametrize("off", [{"CSRF_DISABLE": True}, {"WTF_CSRF_ENABLED": False}])
    def test_off(self, make: Make, off: dict[str, Any]) -> None:
        """No request is checked and no cookie is set. Outside of debug mode and tests, a log line says so."""
        client = make(**off).test_client()
        assert cookie_of(client.get("/plain")) is None
        assert client.post("/change", headers=FOREIGN).text == "changed"

    def test_off_in_production(self, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        """A line in the log says so."""
        make(CSRF_DISABLE=True, TESTING=False)
        assert "CSRF_DISABLE" in caplog.text

    @pytest.mark.parametrize("testing", [True, False])
    def test_on_under_testing(self, make: Make, testing: bool) -> None:
        """Unless CSRF_DISABLE says otherwise: a test that passes says what the site does."""
        assert make(TESTING=testing).test_client().post("/change").status_code == 403

    @pytest.mark.parametrize(
        ("name", "value", "says"),
        [
            ("SEASURF_INCLUDE_OR_EXEMPT_VIEWS", "exemt", "'exemt'"),
            ("SEASURF_INCLUDE_OR_EXEMPT_VIEWS", None, "exempt"),
            ("CSRF_DISABLE", "False", "True or False"),
            ("CSRF_CHECK_REFERER", 0.0, "True or False"),
            ("CSRF_COOKIE_NAME", "", "cookie name"),
            ("CSRF_COOKIE_NAME", None, "must be a str"),
            ("CSRF_COOKIE_NAME", "session", "Choose another name"),
            ("CSRF_COOKIE_TIMEOUT", "5", "timedelta or seconds"),
            ("CSRF_COOKIE_SECURE", "yes", "True or False"),
            ("CSRF_COOKIE_HTTPONLY", None, "True or False"),
            ("CSRF_COOKIE_SAMESITE", "lacks", "Lax"),
            ("CSRF_COOKIE_PATH", "shop", "begins with"),
            ("CSRF_HEADER_NAME", "X Token", "names of headers"),
            ("CSRF_HEADER_NAME", None, "list of str"),
            ("CSRF_COOKIE", "XSRF", "CSRF_COOKIE_NAME"),
            ("SEASURF_INCLUDE_OR_EXEMPT_VIEW", "include", "SEASURF_INCLUDE_OR_EXEMPT_VIEWS"),
            ("CSRF_CHECK_REFERRER", False, "CSRF_CHECK_REFERER"),
        ],
    )
    def test_wrong_settings(self, make: Make, name: str, value: Any, says: str) -> None:
        """Each is an error at start that names the setting, and what to do."""
        with pytest.raises(SettingError, match=f"^{name}: .*{says}"):
            make(**{name: value})

    def test_wrong_setting_later(self, app: Flask, client: FlaskClient) -> None:
        """An error at the next request, and no protection that is silently none."""
        app.config["SEASURF_INCLUDE_OR_EXEMPT_VIEWS"] = "inculde"
        with pytest.raises(SettingError, match="SEASURF_INCLUDE_OR_EXEMPT_VIEWS"):
            client.post("/change")


class TestReferer:
    """Over HTTPS a request must say where it comes from, unless CSRF_CHECK_REFERER is False."""

    def post(self, app: Flask, **headers: str) -> int:
        client = app.test_client()
        token = client.get("/form", base_url=SECURE).text
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return send(client, token, base_url=SECURE, headers=sent).status_code

    def test_over_https(self, app: Flask) -> None:
        """With a good token: another site's is refused, one's own passes, and none is refused."""
        assert self.post(app, Referer="https://www.evil.com/foobar") == 403
        assert self.post(app, Referer="https://www.example.com/foobar") == 200
        assert self.post(app, Referer="http://www.example.com/foobar") == 403
        assert self.post(app) == 403

    def test_other_headers_say_it_as_well(self, app: Flask) -> None:
        """A visitor who hides the Referer is not locked out."""
        assert self.post(app, Origin=SECURE) == 200
        assert self.post(app, Sec_Fetch_Site="same-origin") == 200

    def test_it_is_never_compared_with_the_requests_own_origin(self, app: Flask) -> None:
        """Both hostile, and equal: refused."""
        assert self.post(app, Origin="https://evil.com", Referer="https://evil.com/") == 403

    def test_switched_off(self, make: Make) -> None:
        """Then it is not looked at, and the token decides; Origin and Sec-Fetch-Site count all the same."""
        app = make(CSRF_CHECK_REFERER=False)
        assert self.post(app, Referer="https://www.evil.com/foobar") == 200
        assert self.post(app) == 200
        assert app.test_client().post("/change", headers={"Referer": "http://localhost/"}).status_code == 403
        assert self.post(app, Origin="https://www.evil.com") == 403
        assert self.post(app, Sec_Fetch_Site="cross-site") == 403

    def test_without_https(self, client: FlaskClient) -> None:
        """A request that says nothing passes by its token; one that says it is another site's does not."""
        token = client.get("/form").text
        assert send(client, token).status_code == 200
        assert send(client, token, headers={"Referer": "http://evil.example/"}).status_code == 403


class TestRefusals:
    """A 403, for which every handler is found that one would write."""

    def test_answer(self, client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
        """With the reason, and a line in the log; neither holds what the request said."""
        with caplog.at_level(logging.INFO, "flask_cloakroom.csrf"):
            response = send(client, "hostile", headers={"Referer": "https://hostile.example/"})
        assert (response.status_code, "referrer" in response.text) == (403, True)
        assert "POST change was refused" in caplog.text
        assert "hostile" not in response.text + caplog.text

    @pytest.mark.parametrize("handled", [403, Forbidden, CSRFError, HTTPException, Exception])
    @pytest.mark.parametrize("in_blueprint", [True, False])
    def test_handler(self, app: Flask, handled: Any, in_blueprint: bool) -> None:
        """By code, by Forbidden, by CSRFError or by a class above; in the application or a blueprint."""
        seen: list[Any] = []
        blueprint = Blueprint("api", __name__)
        blueprint.add_url_rule("/api", "api", lambda: "api", methods=["POST"])
        (blueprint if in_blueprint else app).register_error_handler(
            handled, lambda error: (seen.append(error), ("mine", 418))[1]
        )
        app.register_blueprint(blueprint)
        assert app.test_client().post("/api").text == "mine"
        (error,) = seen
        assert isinstance(error, CSRFError)
        assert isinstance(error, Forbidden)
        assert error.code == 403
        assert app.test_client().post("/change").status_code == (403 if in_blueprint else 418)

    @pytest.mark.parametrize(
        ("handled", "answers"), [([400], ""), ([400, 403], "403"), ([400, 403, CSRFError], "CSRFError")]
    )
    def test_the_most_specific_handler(self, app: Flask, client: FlaskClient, handled: list[Any], answers: str) -> None:
        """That for CSRFError, if there is one for 403 as well; and that for 400 is for something else."""
        for one in handled:
            app.register_error_handler(one, lambda error, one=one: getattr(one, "__name__", str(one)))
        response = client.post("/change")
        assert response.text == answers if answers else response.status_code == 403

    def test_handler_that_returns_the_error(self, app: Flask, client: FlaskClient) -> None:
        """Answers with a 403."""
        app.register_error_handler(CSRFError, lambda error: error)
        assert client.post("/change").status_code == 403

    def test_signal(self, app: Flask, client: FlaskClient) -> None:
        """As elsewhere."""
        heard: list[str] = []
        with csrf_refused.connected_to(lambda sender, reason: heard.append(reason), app):
            client.post("/change")
        assert heard == ["The CSRF token is missing."]


class TestWithOthers:
    """Beside the other parts."""

    @pytest.mark.parametrize("first", [True, False])
    def test_cloakroom(self, flask_seasurf: Any, first: bool) -> None:
        """Whichever is set up first, SeaSurf protects, and alone."""
        app = Flask("shop")
        app.config.update(TESTING=True, SESSION_STORE="memory://")
        if first:
            csrf = flask_seasurf.SeaSurf(app)
            assert Cloakroom(app).csrf is csrf
        else:
            Cloakroom(app)
            with app.test_request_context():
                generate_csrf()
            flask_seasurf.SeaSurf(app)
        app.add_url_rule("/form", "form", lambda: render_template_string("{{ csrf_token() }}"))
        app.add_url_rule("/change", "change", lambda: "changed", methods=["POST"])
        client = app.test_client()
        response = client.get("/form")
        assert cookie_of(response)
        assert send(client).status_code == 403
        assert send(client, response.text).text == "changed"
        assert client.post("/change", data={"csrf_token": response.text}).status_code == 403

    def test_other_applications(self, make: Make) -> None:
        """In one process with ours, one that has CSRFProtect keeps its names."""
        make()
        app = Flask("other")
        app.secret_key = "a key that is long enough"
        CSRFProtect(app)
        app.add_url_rule("/change", "change", lambda: "changed", methods=["POST"])
        assert app.test_client().post("/change").status_code == 400

    def test_forms_of_flask_wtf(self, app: Flask, client: FlaskClient) -> None:
        """Their hidden field has SeaSurf's name and our token, so that it is enough."""
        from flask_wtf import FlaskForm

        app.add_url_rule("/page", "page", lambda: str(FlaskForm()._csrf_token))
        app.add_url_rule("/send", "send", lambda: str(FlaskForm().validate()), methods=["POST"])
        token = client.get("/page").text.partition('value="')[2].partition('"')[0]
        assert send(client, token, "/send").text == "True"

    def test_client_for_tests(self, app: Flask) -> None:
        """``CSRFClient`` posts as the site's own pages do, over HTTPS as well; a test of what is refused says so."""
        app.test_client_class = CSRFClient
        client = app.test_client()
        assert client.post("/change").text == "changed"
        assert client.post("/change", base_url=SECURE).text == "changed"
        assert client.post("/change", headers=FOREIGN).status_code == 403

    def test_settings_of_ours(self, make: Make) -> None:
        """Those that SeaSurf has no name for count with it."""
        app = make(CSRF_REQUIRE_TOKEN=True, CSRF_TRUSTED_ORIGINS=["https://pay.example"])
        client = app.test_client()
        token = client.get("/form").text
        assert client.post("/change", headers=OWN).status_code == 403
        assert send(client, token, headers={"Origin": "https://pay.example"}).text == "changed"
