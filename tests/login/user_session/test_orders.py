"""Two operations on a user's data at once, in every order of their calls to the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_cloakroom.core.entries.tickets import Tickets
from flask_cloakroom.core.sessions.repository import Repository
from flask_cloakroom.core.user_data.repository import UserCommit, UserData, UserDataSettings
from flask_cloakroom.core.user_data.visitor import VisitorData
from flask_cloakroom.core.values import codec
from flask_cloakroom.core.values.merge import STRATEGIES
from flask_cloakroom.stores import Store
from flask_cloakroom.stores.memory import MemoryStore
from flask_cloakroom.stores.sqlite.store import SQLiteStore
from flask_cloakroom.testing.schedules import Turns, in_every_order

pytestmark = pytest.mark.promise(3)

TICKETS = Tickets("shop")
NAME = TICKETS.owner_name("alice")
SETTINGS = UserDataSettings(strategies={"visits": STRATEGIES["sum"], "cart": STRATEGIES["union"]})


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "sessions.sqlite3")


def data_in(store: Any) -> UserData:
    return Repository(store, TICKETS, user_data=SETTINGS).user_data


def brought(visitor_id: str, visits: int, item: str) -> VisitorData:
    return VisitorData(visitor_id, {"visits": codec.pack(visits), "cart": codec.pack([item])})


def merging(visitor: VisitorData) -> Callable[[Any], UserCommit | None]:
    return lambda store: data_in(store).merge(NAME, visitor)


def contents(store: Store) -> dict[str, Any]:
    return {key: codec.unpack(packed) for key, packed in data_in(store).load(NAME).values.items()}


@pytest.fixture
def outcomes(store: Store) -> Callable[..., list[tuple[list[Any], dict[str, Any]]]]:
    def run(*operations: Callable[[Any], Any], begin: bool) -> list[tuple[list[Any], dict[str, Any]]]:
        """Return for each order what the operations returned, and what was stored after them."""
        seen = []

        def once(turns: Turns) -> None:
            store.delete(TICKETS.user_key(NAME))
            if begin:
                data_in(store).merge(NAME, brought("first", 1, "apple"))
            results = turns.run(*operations)
            assert not [result for result in results if isinstance(result, Exception)]
            seen.append((results, contents(store)))

        in_every_order(store, once)
        return seen

    return run


@pytest.mark.parametrize("begin", [False, True])
def test_two_devices_log_in(outcomes: Any, begin: bool) -> None:
    """The data of two visitors is there once each, with and without earlier data of the user."""
    seen = outcomes(merging(brought("one", 2, "pear")), merging(brought("two", 4, "plum")), begin=begin)
    assert len(seen) == 4, "two loads do not notice each other"
    for results, stored in seen:
        assert all(results)
        assert stored["visits"] == 6 + begin
        assert sorted(stored["cart"]) == ["apple"] * begin + ["pear", "plum"]


@pytest.mark.parametrize("begin", [False, True])
def test_one_login_is_tried_twice(outcomes: Any, begin: bool) -> None:
    """One of two merges of the same visitor counts, and the other merge notices that."""
    visitor = brought("one", 2, "pear")
    for results, stored in outcomes(merging(visitor), merging(visitor), begin=begin):
        assert [result is None for result in results].count(True) == 1
        assert stored["visits"] == 2 + begin
        assert sorted(stored["cart"]) == ["apple"] * begin + ["pear"]


def test_a_merge_beside_a_change(outcomes: Any) -> None:
    """A change is kept beside the merge, whichever began first."""

    def change(store: Any) -> UserCommit | None:
        data = data_in(store)
        held = data.load(NAME)
        count = codec.unpack(held.values["visits"])
        return data.commit(held, {"visits": codec.pack(count + 10)})

    for results, stored in outcomes(merging(brought("one", 2, "pear")), change, begin=True):
        assert all(results)
        assert (stored["visits"], sorted(stored["cart"])) == (13, ["apple", "pear"])


def test_a_merge_beside_a_deletion(outcomes: Any) -> None:
    """The merged data is deleted with the rest, or comes after the deletion. No older data comes back."""
    seen = outcomes(merging(brought("one", 2, "pear")), lambda store: data_in(store).delete(NAME), begin=True)
    left = {tuple(sorted(stored)) for _, stored in seen}
    assert left == {(), ("cart", "visits")}
    for _, stored in seen:
        assert stored in ({}, {"visits": 2, "cart": ["pear"]})


def test_an_undo_beside_a_merge(outcomes: Any) -> None:
    """The undo takes back the last merge that it finds as a whole, or no merge."""
    seen = outcomes(lambda store: data_in(store).undo(NAME), merging(brought("one", 2, "pear")), begin=True)
    assert {stored.get("visits", 0) for _, stored in seen} == {1, 2}
    for _, stored in seen:
        assert (stored["visits"], stored["cart"]) in ((1, ["apple"]), (2, ["pear"]))
