"""Undo a merge, delete and export a user's data, encryption, and entries that cannot be read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flask_cloakroom import MISSING, StoreError, user_session_discarded
from flask_cloakroom.core.entries import envelope
from flask_cloakroom.core.user_data.export import to_json
from flask_cloakroom.core.values import codec
from flask_cloakroom.core.values.undo import undo_change
from support.sites.user_session import Browser, MakeSite, Site

CASES = [
    # before, after, now, what is left
    (MISSING, 3, 3, MISSING),
    (1, 3, 3, 1),
    (1, 3, 9, 9),
    (1, 3, MISSING, MISSING),
    (1, 1, 2, 2),
    (["a"], ["a", "b"], ["a", "b", "c"], ["a", "c"]),
    (["a"], ["a", "a"], ["x", "a", "a"], ["x", "a"]),
    (MISSING, ["a"], ["a", "b"], ["b"]),
    (MISSING, ["a"], [], MISSING),
    ({1}, {1, 2}, {1, 2, 3}, {1, 3}),
    ({"x": 1}, {"x": 1, "y": {"z": 1}}, {"x": 5, "y": {"z": 1, "w": 2}}, {"x": 5, "y": {"w": 2}}),
    ({"x": 1}, {"x": 2}, {"x": 2, "y": 3}, {"x": 1, "y": 3}),
    ({"x": 1}, {"x": 2}, ["other"], ["other"]),
]


def same(left: Any, right: Any) -> bool:
    return left is right if MISSING in (left, right) else codec.pack(left) == codec.pack(right)


class TestUndo:
    """An undone merge removes the merged data and keeps later edits."""

    @pytest.mark.parametrize(("before", "after", "now", "left"), CASES)
    def test_of_each_type(self, before: Any, after: Any, now: Any, left: Any) -> None:
        """The undo removes each merged value that was not changed since."""
        assert undo_change(before, after, now) == left

    def test_of_a_sum(self) -> None:
        """The undo subtracts the visitor's part of a sum."""
        assert undo_change(3, 5, 9, is_sum=True) == 7
        assert undo_change(MISSING, 5, 9, is_sum=True) == 4

    def test_by_a_view(self, site: Site) -> None:
        """The undo returns its changes. A second undo returns none, and the visitor's data does not come back."""
        browser = Browser(site)
        browser.do("login('alice'); user_session.update(count=1, box={'x': 1}); logout(); user_session['count'] = 2")
        browser.login("alice")
        assert browser.do("answer = [list(one)[::2] for one in user_session.merged]") == [["count", 3]]
        code = "user_session['count'] += 10; answer = [tuple(one) for one in user_session.undo_merge()]"
        assert browser.do(code) == [["count", 13, 11]]
        assert browser.do("answer = user_session.undo_merge() + user_session.merged") == []
        browser.login("alice")
        assert browser.show() == {"count": 11, "box": {"x": 1}}

    def test_of_a_visitor(self, site: Site) -> None:
        """A visitor has no merge to undo."""
        assert Browser(site).do("answer = user_session.undo_merge() + user_session.merged") == []

    def test_for_a_day(self, site: Site) -> None:
        """After a day it is too late to undo a merge."""
        browser = Browser(site)
        browser.do("user_session['count'] = 2; login('alice')")
        repository = site.app.session_interface.repository  # type: ignore[attr-defined]
        clock = repository.clock
        repository.clock = lambda: clock() + 24 * 3600 + 2
        assert browser.do("answer = user_session.merged + user_session.undo_merge()") == []
        assert browser.show() == {"count": 2}


@pytest.mark.promise(4)
class TestDeleting:
    """A deletion wins over every request under way."""

    def test_in_one_call(self, site: Site) -> None:
        """Delete by user or by id; the result says whether there was data. The user goes on with an empty dict."""
        browser = Browser(site)
        browser.do("login('alice'); user_session['x'] = 1")
        assert [site.delete("alice"), site.delete("alice")] == [True, False]
        assert browser.show() == {} == site.stored("alice")
        browser.do("user_session['y'] = 1")
        assert browser.show() == {"y": 1}
        assert browser.do("from flask_cloakroom import current_user\nanswer = delete_user_data(current_user)") is True
        assert browser.show() == {}

    @pytest.mark.parametrize("had", ["user_session['x'] = [1]", "pass"])
    @pytest.mark.parametrize("since", ["", "user_session['z'] = 1"])
    def test_beside_a_request_under_way(self, site: Site, had: str, since: str) -> None:
        """Changes of a request under way are dropped with a signal, also if there is new data by then."""
        browser, other = Browser(site), Browser(site)
        browser.do("login('alice');" + had)
        other.login("alice")

        def delete() -> None:
            site.delete("alice")
            if since:
                other.do(since)

        site.meanwhile = delete
        told: list[Any] = []
        with user_session_discarded.connected_to(lambda sender, **arguments: told.append(arguments)):
            browser.work("user_session.setdefault('x', []).append(2); user_session['y'] = 1")
        assert told == [{"user_id": "alice", "keys": ("x", "y"), "reason": "gone"}]
        assert site.stored("alice") == ({"z": 1} if since else {})

    def test_within_a_request(self, site: Site) -> None:
        """Changes before the deletion are dropped with a signal; changes after it are saved."""
        browser = Browser(site)
        told: list[Any] = []
        with user_session_discarded.connected_to(lambda sender, **arguments: told.append(arguments["keys"])):
            browser.do("login('alice'); user_session['x'] = 1; delete_user_data('alice'); user_session['y'] = 2")
        assert told == [("x",)]
        assert browser.show() == {"y": 2}

    def test_what_was_merged_stays_deleted(self, site: Site) -> None:
        """Merged data stays deleted, also if a process died before it cleared the visitor's session."""
        browser = Browser(site)
        browser.do("user_session['x'] = 1")
        repository = site.app.session_interface.repository  # type: ignore[attr-defined]
        commit, repository.commit = repository.commit, _fails
        assert browser.login("alice").status_code == 200
        repository.commit = commit
        assert site.stored("alice") == {"x": 1}
        site.delete("alice")
        assert browser.show() == {} == site.stored("alice")


class TestExporting:
    """The export is JSON that a person can read."""

    def test_every_type(self, site: Site) -> None:
        """Each type has a readable form."""
        browser = Browser(site)
        browser.do("""
import datetime as d, decimal, ipaddress, pathlib, uuid
login('alice')
user_session.update(
    plain=[1, 1.5, None, True, 'ü', {'a': {}}], tuple=(1, 2), set={3}, bytes=b'ab', big=2**70,
    date=d.date(2026, 1, 2), moment=d.datetime(2026, 1, 2, 3, tzinfo=d.timezone.utc), span=d.timedelta(minutes=1),
    uuid=uuid.UUID(int=1), decimal=decimal.Decimal('1.10'), path=pathlib.PurePosixPath('/x'), nan=float('nan'),
    address=ipaddress.ip_address('::1'), keys={1: 'a', (2, 3): 'b'}, meet={1: 'a', '1': 'b'}, complex=1j)
""")
        assert site.stored("alice") == {
            "plain": [1, 1.5, None, True, "ü", {"a": {}}],
            "tuple": [1, 2],
            "set": [3],
            "bytes": "YWI=",
            "big": 2**70,
            "date": "2026-01-02",
            "moment": "2026-01-02T03:00:00+00:00",
            "span": 60.0,
            "uuid": "00000000-0000-0000-0000-000000000001",
            "decimal": "1.10",
            "path": "/x",
            "nan": "nan",
            "address": "::1",
            "keys": {"1": "a", "[2, 3]": "b"},
            "meet": [[1, "a"], ["1", "b"]],
            "complex": "1j",
        }

    def test_what_cannot_be_decoded(self) -> None:
        """The export leaves out no value, and half a surrogate pair is valid JSON."""
        text = to_json({"a": b"\xc1", "b": codec.pack("\ud800")})
        assert json.loads(text) == {"a": {"unreadable": "wQ=="}, "b": "\ud800"}
        text.encode()


@pytest.mark.promise(8)
class TestEncryption:
    """With SESSION_ENCRYPTION user data is encrypted with a key made of SECRET_KEY."""

    def test_sealed(self, make_site: MakeSite) -> None:
        """No value is readable in the store, not even in the tombstones of logins."""
        site = make_site(SESSION_ENCRYPTION=True, SECRET_KEY="a key that is long enough")
        browser = Browser(site)
        browser.do("user_session['x'] = 'needle'")
        browser.login("alice")
        assert browser.show() == {"x": "needle"}
        store = site.app.session_interface.store  # type: ignore[attr-defined]
        assert len(list(store.walk())) == 3
        assert not any(b"needle" in entry.data for _, entry in store.walk())

    def test_another_secret_key(self, make_site: MakeSite, store_url: str, caplog: pytest.LogCaptureFixture) -> None:
        """The old key works as a fallback. Without it the page is a 503, and no data is overwritten."""
        if store_url == "memory://":
            store_url = "sqlite:///memory-is-of-one-application.sqlite3"
        old, new = {"SECRET_KEY": "the key of before"}, {"SECRET_KEY": "the key of after"}
        common: dict[str, Any] = {"SESSION_ENCRYPTION": True, "SESSION_STORE": store_url}
        Browser(make_site(**common, **old)).do("login('alice'); user_session['x'] = 1")
        lost = make_site(**common, **new)
        browser = Browser(lost)
        browser.login("alice")
        response = browser.client.post("/do", data="user_session['y'] = 2")
        assert response.status_code == 503
        assert "SECRET_KEY_FALLBACKS" in caplog.text
        turned = make_site(**common, **new, SECRET_KEY_FALLBACKS=["the key of before"])
        Browser(turned).do("login('alice'); user_session['z'] = 3")
        assert turned.stored("alice") == {"x": 1, "z": 3} == lost.stored("alice")

    def test_switched_on_later(self, make_site: MakeSite, store_url: str) -> None:
        """Unencrypted data is read, and encrypted with the next change."""
        if store_url == "memory://":
            store_url = "sqlite:///memory-is-of-one-application.sqlite3"
        Browser(make_site(SESSION_STORE=store_url)).do("login('alice'); user_session['x'] = 'needle'")
        site = make_site(SESSION_STORE=store_url, SESSION_ENCRYPTION=True, SECRET_KEY="a key that is long enough")
        Browser(site).do("login('alice'); user_session['y'] = 1")
        assert site.stored("alice") == {"x": "needle", "y": 1}


@pytest.mark.promise(10, 11)
class TestUnreadable:
    """Data that cannot be read is never overwritten silently."""

    def test_an_entry(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """An unreadable entry is a 503 and a log line. Deleting the entry helps."""
        browser = Browser(site)
        browser.do("login('alice'); user_session['x'] = 1")
        repository = site.app.session_interface.repository  # type: ignore[attr-defined]
        key = repository.tickets.user_key(repository.tickets.owner_name("alice"))
        entry = repository.store.load(key)
        repository.store.replace(key, entry.data[:-1], 100, entry.version)
        assert browser.client.post("/do", data="user_session['x'] = 2").status_code == 503
        assert "cannot be read" in caplog.text
        assert "delete_user_data()" in caplog.text
        assert repository.store.load(key).data == entry.data[:-1]
        assert browser.do("answer = 1") == 1
        assert site.delete("alice")
        assert browser.show() == {}

    def test_a_value(self, site: Site) -> None:
        """Reading an unreadable value is a 503. Other values can be read, and the value can be deleted or set."""
        browser = Browser(site)
        browser.do("login('alice'); user_session.update(x=1, y=2)")
        repository = site.app.session_interface.repository  # type: ignore[attr-defined]
        user_data = repository.user_data
        held = user_data.load(repository.tickets.owner_name("alice"))
        user_data.commit(held, {"x": b"\xc1"})
        assert browser.do("answer = user_session['y']") == 2
        for code in (
            "user_session['x']",
            "user_session.setdefault('x', 5)",
            "'x' in user_session",
            "dict(user_session)",
        ):
            assert browser.client.post("/do", data=code).status_code == 503
        assert site.stored("alice") == {"x": {"unreadable": "wQ=="}, "y": 2}
        browser.do("user_session['x'] = 3")
        assert browser.show() == {"x": 3, "y": 2}

    @pytest.mark.parametrize("verb", ["load", "replace"])
    def test_a_store_that_fails(self, site: Site, verb: str) -> None:
        """A failing store is a 503. Neither the session nor the user data changes."""
        browser = Browser(site)
        browser.do("login('alice'); user_session['x'] = 1; session['s'] = 1")
        store = site.watch()
        store.die_at(2 if verb == "load" else 3, took_effect=False, raises=StoreError)
        response = browser.client.post("/do", data="user_session['x'] = 2; session['s'] = 2")
        assert response.status_code == 503
        assert browser.do("answer = [user_session['x'], session['s']]") == [1, 1]

    def test_no_ticket_opens_it(self, site: Site) -> None:
        """User data in the place of a session's entry is not opened as a session."""
        browser = Browser(site)
        browser.do("login('alice'); user_session['_user_id'] = 'bob'")
        repository = site.app.session_interface.repository  # type: ignore[attr-defined]
        key = repository.tickets.user_key(repository.tickets.owner_name("alice"))
        data = repository.store.load(key).data
        header, payload, _ = envelope.open_header(data, key)
        ticket = repository.tickets.issue()
        place = repository.tickets.fingerprint(ticket)
        assert repository.store.create(place, envelope.pack(header, payload, place), 100)
        assert Browser(site, session=ticket).get("/session").json == {}
        # As it lies there, it is the entry of another key, so nothing is known of the session.
        assert repository.store.delete(place)
        assert repository.store.create(place, data, 100)
        assert Browser(site, session=ticket).get("/session").status_code == 503


def _fails(*_: Any, **__: Any) -> Any:
    raise StoreError("the store failed")
