"""A decoded record has the shape that this package writes. Otherwise it counts as missing, or is a StoreError."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgpack
import pytest

from flask_cloakroom.core.entries import envelope
from flask_cloakroom.core.entries.envelope import EntryKind, EnvelopeError, Header
from flask_cloakroom.core.entries.family import LONGEST_LIFETIME, MOST_REPEATS
from flask_cloakroom.core.entries.ownership import user_id_in
from flask_cloakroom.core.entries.record import Absence, Record
from flask_cloakroom.core.entries.tickets import Tickets
from flask_cloakroom.core.sessions.repository import Repository
from flask_cloakroom.core.user_data.merge_log import MERGE_LOG_KEY, MergeLog
from flask_cloakroom.core.values import codec, own_keys
from flask_cloakroom.errors import StoreError, UserDataError
from flask_cloakroom.login.in_session.device_note import as_text, as_time, read_note
from flask_cloakroom.stores.memory import MemoryStore


def deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def tuples(levels: int, inside: bytes) -> bytes:
    """Return a packed value in so many tuples: more than the codec packs, and no more than it unpacks."""
    for _ in range(levels):
        body = b"\x91" + inside
        inside = b"\xc9" + len(body).to_bytes(4, "big") + b"\x01" + body
    return inside


#: Can be unpacked and not packed again.
ONE_WAY = tuples(6, b"\x91" * 80 + b"\xc0")


@pytest.fixture
def repository() -> Repository:
    return Repository(MemoryStore(), Tickets("app"))


def put(repository: Repository, key: bytes, header: Header, payload: bytes) -> None:
    repository.store.delete(key)
    assert repository.store.create(key, envelope.pack(header, payload, key), 60) is not None


def load(repository: Repository, payload: bytes) -> Record | Absence:
    ticket, now = repository.tickets.issue(), int(time.time())
    put(repository, repository.tickets.fingerprint(ticket), Header(now, now, now), payload)
    return repository.load(ticket)


class TestPayloads:
    """A payload is a map from keys to bytes."""

    @pytest.mark.parametrize("value", [None, 5, "text", [b"x"], {"a": b"x"}, 1.5, True, msgpack.Timestamp(1)])
    def test_values_that_are_no_bytes(self, repository: Repository, value: Any) -> None:
        """A value that is not bytes makes the whole record unreadable."""
        for payload in (
            msgpack.packb({"good": b"\x01", "bad": value}),
            b"\xc1" + msgpack.packb([[codec.pack(1), value]]),
        ):
            with pytest.raises(EnvelopeError, match="not a map of bytes"):
                envelope.unpack_values(payload, codec.unpack_key)
            assert load(repository, payload) is Absence.UNREADABLE

    def test_keys_that_cannot_be_packed_again(self, repository: Repository) -> None:
        """A key that cannot be packed again makes the record unreadable, because every save writes all keys."""
        assert codec.unpack(ONE_WAY)
        with pytest.raises(codec.CodecError, match="unusable key"):
            codec.unpack_key(ONE_WAY)
        assert load(repository, b"\xc1" + msgpack.packb([[ONE_WAY, b"\x01"]])) is Absence.UNREADABLE


class TestOwnKeys:
    """Values under this package's own keys in the session."""

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            *(("_user_id", value) for value in ("ada", 5, 2**100, b"x", UUID(int=1), Decimal(1), ("a", 1), ["a", 1])),
            *(
                ("_flashes", value)
                for value in (
                    [],
                    [("message", "x")],
                    [["error", {"title": "x", "rows": [1, 2]}]],
                    [(1, 2)],
                    [(None, "x")],
                )
            ),
            *(("_flashes_taken", value) for value in ({}, {"a": (5, [("message", "x")])})),
            *(
                ("_unshown_login", ["0a" * 32, 5]),
                ("_user_session", "id"),
                ("cart", {"any": deep(30)}),
                (5, None),
                (None, 1),
            ),
        ],
        ids=lambda part: part if isinstance(part, str) and part.isascii() else type(part).__name__,
    )
    def test_right_ones(self, key: Any, value: Any) -> None:
        """A value of the right shape is returned. Keys of the application may have any value."""
        assert own_keys.unpack(key, codec.pack(value)) == value

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            *(("_user_id", value) for value in (None, True, 1.5, [[1]], {"a": 1}, "\ud800", 1 << 20_000, deep(500))),
            *(
                ("_flashes", value)
                for value in (None, 5, "text", {}, [5], ["ab"], [("a",)], [("a", 1, 2)], [({}, "x")], [(["a"], "x")])
            ),
            *(("_flashes", [("message", value)]) for value in ("\ud800", 1 << 20_000, deep(40), {"a": "\udfff"})),
            *(("_flashes_taken", value) for value in (None, [], {"a": 5}, {"a": (1.5, [])}, {"a": (1, [5])})),
            *(("_user_session", value) for value in (None, 5, ["id"])),
            *(("_unshown_login", value) for value in (None, 5, [], ["0a" * 32], ["0a" * 32, 5, 5], ("0a" * 32, 5))),
            *(("_unshown_login", [key, 5]) for key in (None, b"a" * 32, "0a", "0A" * 32, "\ud800" * 64, ["0a" * 32])),
            *(("_unshown_login", ["0a" * 32, value]) for value in (None, True, 1.5, "5")),
        ],
        ids=lambda part: part if isinstance(part, str) and part.isascii() else type(part).__name__,
    )
    def test_wrong_ones(self, key: str, value: Any) -> None:
        """A value of the wrong shape counts as undecodable, and the error does not show it."""
        with pytest.raises(codec.CodecError, match="not valid under this key"):
            own_keys.unpack(key, codec.pack(value))

    def test_a_users_id_that_is_none(self) -> None:
        """A user id of None makes the session anonymous."""
        assert user_id_in({"_user_id": codec.pack("ada")}) == "ada"
        for packed in (codec.pack({"a": 1}), b"\xc1", b""):
            assert user_id_in({"_user_id": packed}) is None
        assert user_id_in({}) is None


FAMILY: dict[str, Any] = {
    **{"user_id": "ada", "auth_hash": "", "lifetime": 3600, "current": b"c" * 32, "previous": b"", "successor": b""},
}


class TestFamilies:
    """Token families of remember tokens."""

    def find(self, repository: Repository, owner: str | None = None, deadline: int = 0, **changes: Any) -> Any:
        token, now = repository.families.issue("ada", "", 3600), int(time.time())
        key = repository.tickets.family_key(token.partition(".")[0])
        name = repository.tickets.owner_name("ada")
        header = Header(now, now, now, deadline or now + 3600, owner=f"{name}.h." if owner is None else owner)
        values = {name: codec.pack(value) for name, value in {**FAMILY, **changes}.items()}
        put(repository, key, header._replace(kind=EntryKind.REMEMBER_FAMILY), envelope.pack_values(values, codec.pack))
        return repository.families.find(token)

    def test_a_good_one(self, repository: Repository) -> None:
        """A valid family is found. The other tests change one part of this family."""
        assert self.find(repository) is not None
        assert self.find(repository, auth_hash=None) is not None

    @pytest.mark.parametrize(
        "changes",
        [
            *({"user_id": value} for value in (None, 5, b"ada", ["ada"])),
            *({"auth_hash": value} for value in (5, b"", [])),
            *({"lifetime": value} for value in (None, True, 0, -1, 1.5, "5", 2**70, LONGEST_LIFETIME + 1)),
            *({name: value} for name in ("current", "previous", "successor") for value in (None, 5, "text", [b""])),
            *({"repeats": value} for value in (None, True, -1, 0.5, "1", MOST_REPEATS + 1)),
            *({"shown": value} for value in (None, 0, 1, "yes")),
            *({"owner": value} for value in ("", "a", "a.b", "☂")),
            {"deadline": 2**32 - 1},
        ],
    )
    def test_bad_ones(self, repository: Repository, changes: dict[str, Any]) -> None:
        """A family with a wrong part counts as missing."""
        assert self.find(repository, **changes) is None

    @pytest.mark.parametrize("length", [0, 1, 31, 100, 5000])
    def test_digests_and_successors_of_any_length(self, repository: Repository, length: int) -> None:
        """A digest or successor of the wrong length matches no token."""
        found = self.find(repository, current=bytes(length), previous=bytes(length), successor=bytes(length))
        assert found is not None
        assert repository.families.use(found[0], "x" * 57, "") is None


class TestUserData:
    """The merge log in an entry of user data."""

    @pytest.mark.parametrize(
        "note",
        [
            *(None, 5, "abc", [], [b""], [b"", {}], [b"", {}, None, 1], ["", {}, None], [b"", [], None]),
            *([b"", {"a": value}, None] for value in (None, "5", 1.5, True, -1, 2**32, 2**70, [5])),
            *([b"", {5: 1}, None], [b"", {}, 5], [b"", {}, [1]], [b"", {}, ["1", {}]], [b"", {}, [2**32, {}]]),
            *([b"", {}, [1, changed]] for changed in (None, [], {"a": 5}, {"a": (b"",)}, {"a": ("x", b"")})),
        ],
    )
    def test_of_the_wrong_shape(self, repository: Repository, note: Any) -> None:
        """A merge log of the wrong shape is an error, or a new log would overwrite the user's data."""
        name, now = repository.tickets.owner_name("ada"), int(time.time())
        payload = envelope.pack_values({MERGE_LOG_KEY: codec.pack(note), "x": codec.pack(1)}, codec.pack)
        put(repository, repository.tickets.user_key(name), Header(now, now, now, kind=EntryKind.USER_DATA), payload)
        for use in (repository.user_data.load, repository.user_data.undo):
            with pytest.raises(UserDataError):
                use(name)
        assert repository.user_data.delete(name)
        assert repository.user_data.load(name).values == {}

    def test_a_good_one(self) -> None:
        """A valid merge log comes out as it went in. The other tests change one part of it."""
        log = MergeLog(b"g", {"id": 5})
        assert MergeLog.from_packed(log.packed()) == log

    def test_a_merge_that_cannot_be_undone(self, repository: Repository) -> None:
        """Because what it left cannot be compared: an error, and nothing is lost."""
        name, now = repository.tickets.owner_name("ada"), int(time.time())
        undo = [now, {"x": (codec.pack([1]), codec.pack([2]))}]
        payload = envelope.pack_values({MERGE_LOG_KEY: codec.pack([b"", {}, undo]), "x": ONE_WAY}, codec.pack)
        put(repository, repository.tickets.user_key(name), Header(now, now, now, kind=EntryKind.USER_DATA), payload)
        with pytest.raises(UserDataError, match="cannot be compared"):
            repository.user_data.undo(name)
        assert repository.user_data.load(name).values["x"] == ONE_WAY


class TestMerging:
    """Two requests at once, on a value that can only be read."""

    def test_one_way_values(self, repository: Repository) -> None:
        """Cannot be merged, so the later change wins, as of values that cannot be decoded."""
        record = load(repository, envelope.pack_values({"x": ONE_WAY}, codec.pack))
        assert isinstance(record, Record)
        assert repository.commit(record, {"x": codec.pack([1])}) is not None
        committed = repository.commit(record, {"x": codec.pack([2])})
        assert committed is not None
        assert codec.unpack(committed.record.values["x"]) == [2]
        assert [conflict.path for conflict in committed.conflicts] == [("x",)]


class TestNotes:
    """Device notes, which the list of sessions shows."""

    @pytest.mark.parametrize(
        "text", ["", "5", "[]", "{", "null", "[" * 50_000, '{"a":' * 20_000, '{"at": ' + "9" * 5000]
    )
    def test_no_notes(self, text: str) -> None:
        """An invalid note counts as an empty one."""
        assert read_note(text) == {}

    @pytest.mark.parametrize("value", [None, True, 0, -1, 1.5, "5", [], 2**32, 10**300])
    def test_no_times(self, value: Any) -> None:
        """Without a valid time the page shows the beginning of the session."""
        assert as_time(value) is None

    @pytest.mark.parametrize("value", [None, 5, [], "\ud800", "Firefox \udfff"])
    def test_no_text(self, value: Any) -> None:
        """Text that cannot be sent as UTF-8 is not shown."""
        assert as_text(value) is None

    def test_long_text(self) -> None:
        """Long text is cut to the length that a login writes."""
        assert as_text("x" * 60_000) == "x" * 300


def test_errors_show_nothing(repository: Repository) -> None:
    """Errors show neither keys nor values."""
    name, now = repository.tickets.owner_name("ada"), int(time.time())
    key = repository.tickets.user_key(name)
    put(
        repository,
        key,
        Header(now, now, now, kind=EntryKind.USER_DATA),
        msgpack.packb({MERGE_LOG_KEY: b"secret", "x": 5}),
    )
    with pytest.raises(StoreError) as raised:
        repository.user_data.load(name)
    assert "secret" not in str(raised.value)
    assert key.hex() not in str(raised.value)
