"""The cookie with the token: when a response sets it, and with which attributes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, render_template_string
from flask.testing import FlaskClient

from flask_cloakroom.sessions.interface import ServerSessionInterface
from support.sites.csrf import FOREIGN
from support.sites.seasurf import OWN, Make, cookie_of, send, value_of


class TestCookie:
    """When the cookie is set, and how."""

    def test_when(self, client: FlaskClient) -> None:
        """Where the browser has none, and where the page renders a token; not else."""
        assert cookie_of(client.get("/plain"))
        assert cookie_of(client.get("/plain")) is None
        assert cookie_of(client.get("/form"))
        assert cookie_of(client.get("/plain")) is None
        client.delete_cookie("_csrf_token")
        assert cookie_of(client.get("/plain"))

    def test_with_a_post(self, client: FlaskClient) -> None:
        """A post that passed brings one as well."""
        assert cookie_of(client.post("/change", headers=OWN))
        assert send(client, value_of(client)).text == "changed"

    @pytest.mark.parametrize("headers", [{}, FOREIGN, {"X-CSRFToken": "x" * 72}])
    @pytest.mark.parametrize("cookie", ["", "x" * 72])
    def test_with_a_refusal(self, client: FlaskClient, headers: dict[str, str], cookie: str) -> None:
        """No session is begun, so that a form of another site cannot take the visitor's away. What is void goes."""
        if cookie:
            client.set_cookie("_csrf_token", cookie)
        response = client.post("/change", headers=headers)
        assert response.status_code == 403
        gone = ["_csrf_token"] if cookie and "X-CSRFToken" in headers else []
        assert [text.partition("=;")[0] for text in response.headers.getlist("Set-Cookie")] == gone

    @pytest.mark.parametrize("headers", [{}, OWN])
    @pytest.mark.parametrize("ends", ["logout", "lost", "both"])
    def test_when_the_session_is_over(self, make: Make, headers: dict[str, str], ends: str) -> None:
        """A script that has nothing but the cookie gets a good one with the next page: nobody is locked out."""
        client = make(CSRF_REQUIRE_TOKEN=True).test_client()
        client.get("/login/7", headers=headers)
        client.get("/plain", headers=headers)
        if ends != "lost":
            client.get("/logout", headers=headers)
        if ends != "logout":
            client.delete_cookie("session")
            client.set_cookie("_csrf_token", "x" * 72)
            assert send(client, value_of(client), headers=headers).status_code == 403
        client.get("/plain", headers=headers)
        assert send(client, value_of(client), headers=headers).text == "changed"

    def test_request_that_is_older_than_a_login(self, flask_seasurf: Any, make: Make) -> None:
        """Leaves the browser the cookie that the login has set."""
        app = make()
        if not isinstance(app.session_interface, ServerSessionInterface):
            pytest.skip("Flask's own sessions do not know that")
        client, late = app.test_client(), app.test_client()
        client.get("/form")
        late.set_cookie("session", value_of(client, "session"))
        late.set_cookie("_csrf_token", value_of(client))
        client.get("/login/7")
        response = send(late, value_of(late))
        assert response.status_code == 403
        assert "Set-Cookie" not in response.headers

    def test_with_a_servers_error(self, app: Flask, client: FlaskClient) -> None:
        """Nor with a page that failed."""
        app.add_url_rule("/fails", "fails", lambda: ("sorry", 500))
        assert "Set-Cookie" not in client.get("/fails").headers

    @pytest.mark.parametrize("strict", ["CSRF_COOKIE_SAMESITE", "SESSION_COOKIE_SAMESITE"])
    def test_link_from_another_site(self, make: Make, strict: str) -> None:
        """With Strict cookies the browser may have a session and not have sent it: none is begun in its place."""
        app = make(**{strict: "strict"})
        assert "Set-Cookie" not in app.test_client().get("/plain", headers=FOREIGN).headers
        assert cookie_of(app.test_client().get("/plain", headers=OWN))
        assert cookie_of(make().test_client().get("/plain", headers=FOREIGN))

    @pytest.mark.parametrize("passes", ["trusted", "skipped", "exempt", "unchecked"])
    @pytest.mark.parametrize("site", [{"Sec-Fetch-Site": "cross-site"}, {}])
    def test_form_of_another_site_that_passes(self, make: Make, passes: str, site: dict[str, str]) -> None:
        """As that by which a payment page sends the visitor back. Browsers keep Lax cookies from it, and take those
        that answer it: no session is begun in the place of the visitor's."""
        settings = {
            "trusted": {"CSRF_TRUSTED_ORIGINS": ["https://pay.example"]},
            "unchecked": {"WTF_CSRF_CHECK_DEFAULT": False},
        }
        app = make(**settings.get(passes, {}))
        csrf, view = app.extensions["csrf"], app.view_functions["change"]
        if passes == "skipped":
            csrf.skip_validation(lambda request: True)
        elif passes == "exempt":
            csrf.exempt(csrf.set_cookie(view))
        response = app.test_client().post("/change", headers={"Origin": "https://pay.example", **site})
        assert response.text == "changed"
        assert "Set-Cookie" not in response.headers
        assert cookie_of(app.test_client().post("/change", headers=OWN))

    def test_void_one(self, app: Flask, client: FlaskClient) -> None:
        """Is replaced where the session is opened anyway: a refused request brings the one that will pass."""
        client.get("/plain")
        client.set_cookie("_csrf_token", "x" * 72)
        assert send(client, value_of(client)).status_code == 403
        assert send(client, value_of(client)).text == "changed"

    def test_exempt_view(self, app: Flask, csrf: Any, client: FlaskClient) -> None:
        """Sets none, unless it has ``set_cookie``; in either order of the decorators."""
        app.add_url_rule("/none", "none", csrf.exempt(lambda: render_template_string("{{ csrf_token() }}")))
        app.add_url_rule("/one", "one", csrf.exempt(csrf.set_cookie(lambda: "one")))
        app.add_url_rule("/two", "two", csrf.set_cookie(csrf.exempt(lambda: "two")))
        app.add_url_rule("/url/x", "url", lambda: "url")
        csrf.exempt_urls(("/url",))
        found = [bool(cookie_of(app.test_client().get(path))) for path in ("/none", "/one", "/two", "/url/x")]
        assert found == [False, True, True, False]

    def test_included_view(self, make: Make) -> None:
        """Sets one, in that mode; others do not."""
        app = make(SEASURF_INCLUDE_OR_EXEMPT_VIEWS="include")
        app.extensions["csrf"].include(app.view_functions["plain"])
        assert cookie_of(app.test_client().get("/plain"))
        assert cookie_of(app.test_client().get("/change")) is None

    def test_disable_cookie(self, csrf: Any, client: FlaskClient) -> None:
        """A function decides of each response that would have it."""
        asked: list[int] = []

        @csrf.disable_cookie
        def disable(response: Response) -> bool:
            asked.append(response.status_code)
            return len(asked) == 1

        response = client.get("/form")
        assert cookie_of(response) is None
        assert send(client, response.text).text == "changed"
        assert asked == [200, 200]
        assert cookie_of(client.get("/form"))

    def test_disable_cookie_always(self, csrf: Any, client: FlaskClient) -> None:
        """Pages that render no token begin no session then."""
        csrf.disable_cookie(lambda response: True)
        assert "Set-Cookie" not in client.get("/plain").headers

    def test_static_files_and_what_there_is_not(self, app: Flask, tmp_path: Path) -> None:
        """Set none: caches keep the first, and nothing is known of the second."""
        app.static_folder = str(tmp_path)
        (tmp_path / "x.css").write_text("")
        for path in ("/static/x.css", "/nowhere"):
            response = app.test_client().get(path)
            response.close()
            assert "Set-Cookie" not in response.headers

    def test_attributes(self, client: FlaskClient) -> None:
        """Those that the documentation gives; and nothing keeps the response."""
        response = client.get("/plain")
        parts = (cookie_of(response) or "").split("; ")[1:]
        assert {part.partition("=")[0] for part in parts} == {"Expires", "Max-Age", "Path", "SameSite"}
        assert {"Max-Age=432000", "Path=/", "SameSite=Lax"} <= set(parts)
        assert "no-store" in response.headers["Cache-Control"]
        assert "Cookie" in ", ".join(response.headers.getlist("Vary"))

    def test_settings(self, make: Make) -> None:
        """Each CSRF_COOKIE_… is the attribute of that name."""
        app = make(
            CSRF_COOKIE_NAME="XSRF",
            CSRF_COOKIE_TIMEOUT=timedelta(hours=1),
            CSRF_COOKIE_SECURE=True,
            CSRF_COOKIE_HTTPONLY=True,
            CSRF_COOKIE_PATH="/shop",
            CSRF_COOKIE_DOMAIN="example.com",
            CSRF_COOKIE_SAMESITE="Strict",
        )
        parts = set((cookie_of(app.test_client().get("/plain"), "XSRF") or "").split("; "))
        wanted = {"Max-Age=3600", "Secure", "HttpOnly", "Path=/shop", "Domain=example.com", "SameSite=Strict"}
        assert wanted <= parts

    def test_timeout_in_seconds_or_none(self, make: Make) -> None:
        """A number is seconds; None is until the browser is closed."""
        assert "Max-Age=60;" in (cookie_of(make(CSRF_COOKIE_TIMEOUT=60).test_client().get("/plain")) or "")
        assert "Max-Age" not in (cookie_of(make(CSRF_COOKIE_TIMEOUT=None).test_client().get("/plain")) or "")
