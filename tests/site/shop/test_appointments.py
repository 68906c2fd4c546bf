"""The pages of appointments."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sched_site import appointments
from sched_site.accounts import User
from sched_site.database import db
from sched_site.diary import MAX_NOTES_LENGTH, MAX_TITLE_LENGTH, Appointment
from werkzeug.test import TestResponse

#: When these tests are: Thursday, at noon in Berlin.
NOW = datetime(2026, 11, 26, 11, tzinfo=UTC)
PATHS = ["", "/week", "/week/2026-W48", "/new", "/1", "/1/delete", "/time-zone"]


@pytest.fixture
def app(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """The application at that time, and with no appointments."""
    monkeypatch.setattr(appointments, "_now", lambda: NOW)
    with app.app_context():
        db.session.query(Appointment).delete()
        db.session.commit()
    return app


@pytest.fixture
def mira(app: Flask) -> FlaskClient:
    """Who lives in Berlin."""
    return signed_in(app, "mira", "half-past-nine")


@pytest.fixture
def tomas(app: Flask) -> FlaskClient:
    """Somebody else."""
    return signed_in(app, "tomas", "tea-at-four")


def signed_in(app: Flask, username: str, password: str) -> FlaskClient:
    client = app.test_client()
    client.post("/login", data={"username": username, "password": password})
    client.get("/")  # which shows the welcome
    return client


def make(client: FlaskClient, title: str = "Dentist", starts: str = "10:00", ends: str = "11:00", **more: str) -> int:
    """Make one, of the 27th if no day is said, and return its number."""
    assert send(client, "new", title=title, starts=starts, ends=ends, **more).status_code == 302
    client.get("/")  # which shows the message
    with client.application.app_context():
        return int(db.session.query(db.func.max(Appointment.id)).scalar())


def send(client: FlaskClient, path: str | int, **form: str) -> TestResponse:
    for name in ("starts", "ends"):
        if len(form.get(name, "")) == len("10:00"):
            form[name] = f"2026-11-27T{form[name]}"
    form = {"title": "Dentist", "starts": "2026-11-27T10:00", "ends": "2026-11-27T11:00", "notes": ""} | form
    return client.post(f"/appointments/{path}", data=form)


def all_of(app: Flask) -> list[tuple[str, str, str]]:
    with app.app_context():
        found = db.session.query(Appointment).order_by(Appointment.starts)
        return [(one.title, f"{one.starts:%d %H:%M}", f"{one.ends:%d %H:%M}") for one in found]


def outline(page: str) -> str:
    """The text of a page's main part, with one space between words."""
    return " ".join(re.sub(r"<[^>]*>", " ", page.partition("<main")[2].partition("</main>")[0]).split())


@pytest.mark.parametrize("path", PATHS)
def test_only_for_those_who_are_signed_in(app: Flask, path: str) -> None:
    """Strangers are led to the login, and from there back."""
    response = app.test_client().get(f"/appointments{path}")
    assert response.status_code == 302
    assert response.location.startswith("/login?next=")


class TestOwner:
    """What belongs to somebody else is not there."""

    @pytest.mark.parametrize("path", ["", "/delete"])
    def test_not_found(self, mira: FlaskClient, tomas: FlaskClient, path: str) -> None:
        """Looking, changing and deleting: 404, as for a number that there is not, and nothing happens."""
        number = make(mira)
        before = all_of(mira.application)
        theirs = f"/appointments/{number}{path}"
        form = {"version": "1", "title": "Mine", "starts": "2026-11-27T12:00", "ends": "2026-11-27T13:00"}
        none = f"/appointments/{number + 1}{path}"
        assert tomas.get(theirs).status_code == tomas.get(none).status_code == 404
        assert tomas.post(theirs, data=form).status_code == tomas.post(none, data=form).status_code == 404
        assert all_of(mira.application) == before
        assert mira.get(theirs).status_code == 200

    def test_not_in_list_or_week(self, mira: FlaskClient, tomas: FlaskClient) -> None:
        """Neither the list nor the week of others has it, and it is in nobody's way."""
        make(mira, "Secret meeting")
        for path in ("", "/week"):
            assert "Secret meeting" in mira.get(f"/appointments{path}").text
            assert "Secret meeting" not in tomas.get(f"/appointments{path}").text
        make(tomas, "Same time")

    def test_numbers_that_cannot_be(self, mira: FlaskClient) -> None:
        """A number beyond what databases count to is not there either."""
        for number in (0, 2**31 - 1, 2**31, 2**70):
            assert mira.get(f"/appointments/{number}").status_code == 404


class TestList:
    """The first page."""

    def test_upcoming_first(self, mira: FlaskClient) -> None:
        """Upcoming appointments come first, the next one on top. Past ones follow, the latest on top."""
        make(mira, "Later", "15:00", "16:00")
        make(mira, "Sooner", "08:00", "09:00")
        make(mira, "Long ago", "2026-11-01T08:00", "2026-11-01T09:00")
        make(mira, "Just over", "2026-11-26T11:00", "2026-11-26T12:00")
        make(mira, "Right now", "2026-11-26T12:00", "2026-11-26T13:00", notes="Bring <cake>.")
        text = outline(mira.get("/appointments").text)
        order = ["Upcoming", "Right now", "Now", "Sooner", "Later", "Past", "Just over", "Long ago"]
        places = [text.index(word) for word in order]
        assert places == sorted(places)
        assert "Right now Now Thu 26 Nov 2026, 12:00 to 13:00 Bring &lt;cake&gt;." in text

    def test_empty(self, mira: FlaskClient) -> None:
        """Who has none is told so."""
        text = outline(mira.get("/appointments").text)
        assert "You have no upcoming appointments." in text
        assert "Past" not in text

    def test_bound(self, app: Flask, mira: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        """The list shows so many, and says that there are more."""
        monkeypatch.setattr(appointments, "LISTED", 2)
        for hour in range(10, 12):
            make(mira, "One", f"{hour}:00", f"{hour + 1}:00")
        assert "listed here" not in outline(mira.get("/appointments").text)
        make(mira, "One", "12:00", "13:00")
        text = outline(mira.get("/appointments").text)
        assert text.count("One") == 2
        assert "Only 2 appointments are listed here. The week view shows all of them." in text

    @pytest.mark.parametrize(
        ("starts", "ends", "expected"),
        [
            ("2026-11-27T10:00", "2026-11-27T11:30", "Fri 27 Nov 2026, 10:00 to 11:30"),
            ("2026-11-27T22:00", "2026-11-28T06:00", "Fri 27 Nov 2026, 22:00 to Sat 28 Nov 2026, 06:00"),
            ("2026-11-27T00:00", "2026-11-28T00:00", "Fri 27 Nov 2026, all day"),
            ("2026-11-27T00:00", "2026-11-30T00:00", "Fri 27 Nov 2026 to Sun 29 Nov 2026, all day"),
            ("2027-03-28T01:30", "2027-03-28T03:30", "Sun 28 Mar 2027, 01:30 to 03:30"),
        ],
    )
    def test_spans(self, mira: FlaskClient, starts: str, ends: str, expected: str) -> None:
        """It says from when to when, in days where it is whole days."""
        make(mira, starts=starts, ends=ends)
        assert expected in outline(mira.get("/appointments").text)


class TestWeek:
    """The calendar."""

    def test_this_week(self, mira: FlaskClient) -> None:
        """It begins on Monday, marks today, and has what goes over midnight on both days."""
        make(mira, "Night train", "22:00", "2026-11-28T06:00")
        page = mira.get("/appointments/week").text
        text = outline(page)
        assert "Week 48 , Mon 23 Nov 2026 to Sun 29 Nov 2026" in text
        assert "Friday 27 November 2026 from 22:00 Night train" in text
        assert "Saturday 28 November 2026 until 06:00 Night train" in text
        assert "Monday 23 November 2026 No appointments" in text
        assert page.count('aria-current="date"') == 1
        assert "Thursday 26 November 2026 Today" in text

    def test_today_is_that_of_the_zone(self, mira: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        """Late on Sunday in UTC it is Monday in Berlin, and another week."""
        monkeypatch.setattr(appointments, "_now", lambda: datetime(2026, 11, 29, 23, 30, tzinfo=UTC))
        assert "Week 49" in mira.get("/appointments/week").text

    def test_way_through_the_weeks(self, mira: FlaskClient) -> None:
        """Links lead to the weeks before and after, over the end of a year that has 53, and nowhere beyond the ends."""
        page = mira.get("/appointments/week/2026-W53").text
        assert 'href="/appointments/week/2026-W52" rel="prev"' in page
        assert 'href="/appointments/week/2027-W01" rel="next"' in page
        assert 'rel="prev"' not in mira.get("/appointments/week/1970-W01").text
        assert 'rel="next"' not in mira.get("/appointments/week/2100-W52").text

    @pytest.mark.parametrize("week", ["2025-W53", "2026-W00", "2026-W54", "1969-W01", "2101-W01", "2026-48", "x"])
    def test_no_such_week(self, mira: FlaskClient, week: str) -> None:
        """A week that there is not is not found."""
        assert mira.get(f"/appointments/week/{week}").status_code == 404

    def test_clocks_set_back(self, mira: FlaskClient) -> None:
        """A Sunday of 25 hours has all of them, and what ends in the hour that comes twice says in which."""
        make(mira, "Night shift", "2026-10-24T22:00", "2026-10-25T02:30")
        assert "until 02:30 CEST Night shift" in outline(mira.get("/appointments/week/2026-W43").text)


class TestForm:
    """Making and changing."""

    def test_new(self, app: Flask, mira: FlaskClient) -> None:
        """What is typed is the time of the user's zone, kept in UTC; one is led to its week, which says so."""
        response = send(mira, "new", title="  Dentist ", notes="Floor 2\r\nRing twice  ")
        assert response.location == "/appointments/week/2026-W48"
        assert "“Dentist” was added to your calendar." in mira.get(response.location).text
        assert all_of(app) == [("Dentist", "27 09:00", "27 10:00")]
        with app.app_context():
            assert db.session.query(Appointment).one().notes == "Floor 2\nRing twice"

    def test_proposal(self, mira: FlaskClient) -> None:
        """The form begins with the next full hour, or with the day that was asked for, and ignores nonsense."""
        for query, starts, ends in (
            ("", "2026-11-26T13:00", "2026-11-26T14:00"),
            ("?day=nonsense", "2026-11-26T13:00", "2026-11-26T14:00"),
            ("?day=2026-12-24", "2026-12-24T09:00", "2026-12-24T10:00"),
        ):
            page = mira.get(f"/appointments/new{query}").text
            assert f'value="{starts}"' in page
            assert f'value="{ends}"' in page
        assert mira.get("/appointments/new?day=0001-01-01").status_code == 404

    @pytest.mark.parametrize(
        ("form", "error"),
        [
            ({"title": ""}, "Enter a title."),
            ({"title": "   "}, "Enter a title."),
            ({"title": "x" * (MAX_TITLE_LENGTH + 1)}, "Use at most 120 characters."),
            ({"title": "a\0b"}, "The text contains a character that cannot be displayed."),
            ({"notes": "x" * (MAX_NOTES_LENGTH + 1)}, "Use at most 4,000 characters."),
            ({"notes": "a\0b"}, "The text contains a character that cannot be displayed."),
            ({"starts": ""}, "Enter a start time."),
            ({"ends": ""}, "Enter an end time."),
            ({"starts": "tomorrow"}, "Enter a date and a time, such as"),
            ({"starts": "2026-02-30T10:00"}, "Enter a date and a time, such as"),
            ({"ends": "2101-01-01T10:00"}, "Use a year from 1970 to 2100."),
            ({"starts": "0001-01-01T00:00"}, "Use a year from 1970 to 2100."),
            ({"ends": "9999-12-31T23:59"}, "Use a year from 1970 to 2100."),
            ({"starts": "11:00", "ends": "11:00"}, "The end must be later than the start."),
            ({"starts": "11:01", "ends": "11:00"}, "The end must be later than the start."),
            ({"starts": "2027-03-28T02:30", "ends": "2027-03-28T04:00"}, "02:30 does not exist on that day"),
            ({"starts": "2027-03-28T01:30", "ends": "2027-03-28T02:00"}, "02:00 does not exist on that day"),
        ],
    )
    @pytest.mark.parametrize("is_new", [True, False])
    def test_what_is_refused(self, mira: FlaskClient, form: dict[str, str], error: str, is_new: bool) -> None:
        """What cannot be is told at its field, the rest of the form stays as typed, and nothing is written."""
        path = "new" if is_new else make(mira, "Before", "08:00", "09:00")
        before = all_of(mira.application)
        response = send(mira, path, version="1", **({"title": "Kept"} | form))
        assert response.status_code == 200
        assert response.text.count(error) == 1
        assert response.text.count('aria-invalid="true"') == 1
        assert "<title>Error: " in response.text
        assert "title" in form or 'value="Kept"' in response.text
        assert all_of(mira.application) == before

    def test_any_writing(self, app: Flask, mira: FlaskClient) -> None:
        """Titles and notes may be in any writing, with signs made of several and with tabs."""
        make(mira, "פגישה 👨\u200d👩\u200d👧 ½", notes="a\tb\u00a0c")
        with app.app_context():
            made = db.session.query(Appointment).one()
            assert (made.title, made.notes) == ("פגישה 👨\u200d👩\u200d👧 ½", "a\tb\u00a0c")

    def test_typed_with_a_space(self, app: Flask, mira: FlaskClient) -> None:
        """Where a browser has no field for times they can be typed as people write them."""
        make(mira, starts="2026-11-27 10:00", ends="2026-11-27 11:00")
        assert all_of(app) == [("Dentist", "27 09:00", "27 10:00")]

    def test_an_hour_that_comes_twice(self, app: Flask, mira: FlaskClient) -> None:
        """What is typed is the first of the two."""
        make(mira, starts="2026-10-25T02:15", ends="2026-10-25T02:45")
        assert all_of(app) == [("Dentist", "25 00:15", "25 00:45")]

    def test_a_time_that_is_left_alone_stays(self, app: Flask, mira: FlaskClient) -> None:
        """Who changes only the title of an appointment in the second of the two hours leaves it there."""
        with app.app_context():
            user = db.session.query(User).filter_by(username="mira").one()
            times = {
                "starts": datetime(2026, 10, 25, 1, 15, tzinfo=UTC),
                "ends": datetime(2026, 10, 25, 1, 45, tzinfo=UTC),
            }
            db.session.add(Appointment(user_id=user.id, title="Second", **times))
            db.session.commit()
            number = db.session.query(Appointment).one().id
        assert 'value="2026-10-25T02:15"' in mira.get(f"/appointments/{number}").text
        form = {"starts": "2026-10-25T02:15", "ends": "2026-10-25T02:45", "version": "1"}
        assert send(mira, number, title="Still", **form).status_code == 302
        assert all_of(app) == [("Still", "25 01:15", "25 01:45")]

    @pytest.mark.parametrize(
        ("starts", "ends", "is_free"),
        [
            ("09:00", "10:00", True),
            ("11:00", "12:00", True),
            ("09:00", "10:01", False),
            ("10:59", "12:00", False),
            ("10:15", "10:45", False),
            ("09:00", "12:00", False),
            ("10:00", "11:00", False),
            ("2026-11-01T00:00", "2026-12-01T00:00", False),
        ],
    )
    def test_overlap(self, app: Flask, mira: FlaskClient, starts: str, ends: str, is_free: bool) -> None:
        """Two may touch and not overlap; the one in the way is named, and nothing is written."""
        make(mira, "In the way")
        number = make(mira, "Elsewhere", "20:00", "21:00")
        before = all_of(app)
        for path in ("new", number):
            response = send(mira, path, version="1", starts=starts, ends=ends)
            if is_free:
                assert response.status_code == 302
                break
            assert response.status_code == 200
            assert (
                "You already have an appointment at that time: “In the way”, Fri 27 Nov 2026, 10:00 to 11:00."
                in response.text
            )
            assert 'id="form-error" role="alert"' in response.text
        assert (all_of(app) == before) != is_free

    def test_change(self, app: Flask, mira: FlaskClient) -> None:
        """What there is, is in the form; an appointment is not in its own way."""
        number = make(mira, notes="<b>")
        page = mira.get(f"/appointments/{number}").text
        for there in (
            'value="Dentist"',
            'value="2026-11-27T10:00"',
            'value="2026-11-27T11:00"',
            "&lt;b&gt;</textarea>",
        ):
            assert there in page
        response = send(mira, number, title="Later", starts="10:30", ends="11:30", version="1")
        assert response.location == "/appointments/week/2026-W48"
        assert "“Later” was saved." in mira.get(response.location).text
        assert all_of(app) == [("Later", "27 09:30", "27 10:30")]


class TestTwoTabs:
    """Nobody undoes what they have not seen."""

    def test_changed_meanwhile(self, app: Flask, mira: FlaskClient) -> None:
        """Who saves a form that is older than the last change is told what it is now; once more, and it is theirs."""
        number = make(mira)
        assert send(mira, number, title="First tab", starts="12:00", ends="13:00", version="1").status_code == 302
        mira.get("/")
        response = send(mira, number, title="Second tab", version="1")
        assert response.status_code == 200
        assert "The appointment was changed in" in response.text
        assert "It is now “First tab”, Fri 27 Nov 2026, 12:00 to 13:00." in response.text
        assert 'value="Second tab"' in response.text
        assert all_of(app) == [("First tab", "27 11:00", "27 12:00")]
        (version,) = re.findall(r'name="version" type="hidden" value="(\d+)"', response.text)
        assert send(mira, number, title="Second tab", version=version).status_code == 302
        assert all_of(app) == [("Second tab", "27 09:00", "27 10:00")]

    @pytest.mark.parametrize("version", ["", "nonsense", "0", "-1", "99999999999999999999"])
    def test_versions_that_cannot_be(self, app: Flask, mira: FlaskClient, version: str) -> None:
        """A form that says nothing of what its author saw changes and deletes nothing."""
        number = make(mira)
        before = all_of(app)
        for path in (number, f"{number}/delete"):
            assert send(mira, path, title="Other", version=version).status_code == 200
            assert all_of(app) == before

    def test_deleted_meanwhile(self, app: Flask, mira: FlaskClient) -> None:
        """Who saves or deletes what is deleted already finds nothing there."""
        number = make(mira)
        assert mira.post(f"/appointments/{number}/delete", data={"version": "1"}).status_code == 302
        for path in (number, f"{number}/delete"):
            assert send(mira, path, version="1").status_code == 404
        assert all_of(app) == []


class TestDelete:
    """Deleting, which asks first."""

    def test_asks(self, app: Flask, mira: FlaskClient) -> None:
        """Looking at the page deletes nothing; its button does."""
        number = make(mira)
        page = mira.get(f"/appointments/{number}/delete").text
        assert "Fri 27 Nov 2026, 10:00 to 11:00" in page
        assert len(all_of(app)) == 1
        assert 'name="version" type="hidden" value="1"' in page
        response = mira.post(f"/appointments/{number}/delete", data={"version": "1"})
        assert response.location == "/appointments"
        assert "“Dentist” was deleted." in mira.get("/appointments").text
        assert all_of(app) == []

    def test_changed_meanwhile(self, app: Flask, mira: FlaskClient) -> None:
        """What became something else since one was asked is shown, and deleted only then."""
        number = make(mira)
        send(mira, number, title="Wedding", version="1")
        response = mira.post(f"/appointments/{number}/delete", data={"version": "1"})
        assert "The appointment was changed in the meantime." in response.text
        assert "Wedding" in outline(response.text)
        assert len(all_of(app)) == 1
        assert mira.post(f"/appointments/{number}/delete", data={"version": "2"}).status_code == 302
        assert all_of(app) == []


class TestTimeZone:
    """Choosing another zone."""

    def test_change(self, app: Flask, mira: FlaskClient) -> None:
        """Appointments stay when they are, and are shown and typed by the other clocks from then on."""
        make(mira)
        assert '<option selected value="Europe/Berlin">Berlin</option>' in mira.get("/appointments/time-zone").text
        assert mira.post("/appointments/time-zone", data={"time_zone": "Asia/Kathmandu"}).status_code == 302
        text = outline(mira.get("/appointments").text)
        assert "Times shown in Asia/Kathmandu." in text
        assert "Fri 27 Nov 2026, 14:45 to 15:45" in text
        assert all_of(app) == [("Dentist", "27 09:00", "27 10:00")]
        make(mira, "Typed there", "16:00", "17:00")
        assert all_of(app)[1] == ("Typed there", "27 10:15", "27 11:15")

    def test_no_such_zone(self, mira: FlaskClient) -> None:
        """A zone that is not on the list is refused."""
        page = mira.post("/appointments/time-zone", data={"time_zone": "../UTC"}).text
        assert "Not a valid choice" in page
        assert "Europe/Berlin" in mira.get("/appointments").text


def test_no_get_changes_anything(app: Flask, mira: FlaskClient) -> None:
    """Whatever address is looked at, the appointments stay."""
    number = make(mira)
    before = all_of(app)
    for path in (*PATHS, f"/{number}", f"/{number}/delete?version=1", "/new?title=x&starts=2026-11-27T10:00"):
        mira.get(f"/appointments{path}")
    assert all_of(app) == before


def test_the_week_of_every_day_is_found(mira: FlaskClient) -> None:
    """From the first to the last year, the link to the week of any day leads to a page with that day."""
    for day in (date(1970, 1, 1), date(2026, 12, 31), date(2027, 1, 1), date(2100, 12, 31)):
        monday = day - timedelta(days=day.weekday())
        year, number, _ = monday.isocalendar()
        response = mira.get(f"/appointments/week/{year}-W{number:02}")
        assert f'datetime="{day.isoformat()}"' in response.text
