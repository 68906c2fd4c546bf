"""The tool that forces interleavings, on which the contract's tests rely."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flask_cloakroom.stores import Conflict, Entry, Gone, Owners, Purges, Saved, Walks
from flask_cloakroom.stores.memory import MemoryStore
from flask_cloakroom.testing import InterleavingStore


@pytest.fixture
def between() -> InterleavingStore:
    """Return a store to step in on."""
    return InterleavingStore(MemoryStore())


def test_it_steps_in_before_a_call(between: InterleavingStore) -> None:
    """What is run before a call has happened when the call comes."""
    with between.before("load", lambda: between.create(b"k", b"data", 60)):
        entry = between.load(b"k")
    assert entry is not None
    assert entry.data == b"data"


def test_it_steps_in_after_a_call(between: InterleavingStore) -> None:
    """What is run after a call cannot change its answer."""
    with between.after("load", lambda: between.create(b"k", b"data", 60)):
        assert between.load(b"k") is None
    assert between.load(b"k") is not None


def test_it_steps_in_once_and_at_the_call_that_was_chosen(between: InterleavingStore) -> None:
    """Calls are counted from the beginning of the block, and each callable runs once."""
    ran: list[int] = []
    between.load(b"k")
    with between.before("load", lambda: ran.append(len(between.calls)), at=2):
        for _ in range(4):
            between.load(b"k")
    assert ran == [3]


def test_what_a_callable_does_counts_for_nobody(between: InterleavingStore) -> None:
    """Neither for itself nor for another callable: a test counts the calls of the request that it looks at."""
    ran: list[str] = []

    def first() -> None:
        ran.append("first")
        between.load(b"k")
        between.load(b"k")

    with between.before("load", first, at=1), between.before("load", lambda: ran.append("second"), at=2):
        between.load(b"k")
        assert ran == ["first"]
        between.load(b"k")
    assert ran == ["first", "second"]


def test_a_block_in_which_nothing_was_interleaved_fails(between: InterleavingStore) -> None:
    """A test that does not force what it says is no test."""
    with pytest.raises(AssertionError, match="nothing was interleaved: replace"), between.before("replace", list):
        between.load(b"k")


def test_an_error_in_the_block_is_not_hidden(between: InterleavingStore) -> None:
    """That nothing was interleaved is only said if nothing else went wrong."""
    with pytest.raises(KeyError), between.before("replace", list):
        raise KeyError


def test_an_answer_can_be_lost(between: InterleavingStore) -> None:
    """A callable that raises after the call takes the place of the answer: it was done, and nobody hears of it."""

    def lose() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError), between.after("create", lose):
        between.create(b"k", b"data", 60)
    assert between.load(b"k") is not None


def test_it_has_the_verbs_and_nothing_else(between: InterleavingStore) -> None:
    """It does not pretend to powers that the store behind it may not have."""
    assert not isinstance(between, Purges)
    assert not isinstance(between, Walks)
    assert not isinstance(InterleavingStore(WithoutOwners()), Owners)


def test_it_knows_the_owner_index(between: InterleavingStore) -> None:
    """Where the store behind it has one, its verbs are calls like the others."""
    assert isinstance(between, Owners)
    with between.before("owned", lambda: between.claim(b"owner", b"k", 60)):
        assert [claim.key for claim in between.owned(b"owner")] == [b"k"]
    with between.after("release", lambda: between.claim(b"owner", b"k", 60)):
        assert between.release(b"owner", b"k") is True
    assert between.calls == [("owned", b"owner"), ("claim", b"k"), ("release", b"k"), ("claim", b"k")]


class WithoutOwners:
    """The five verbs, and none of them is called."""

    def load(self, key: bytes) -> Entry | None:
        raise NotImplementedError

    def create(self, key: bytes, data: bytes, ttl: int) -> bytes | None:
        raise NotImplementedError

    def replace(self, key: bytes, data: bytes, ttl: int, expected: bytes) -> Saved | Conflict | Gone:
        raise NotImplementedError

    def touch(self, key: bytes, ttl: int) -> bool:
        raise NotImplementedError

    def delete(self, key: bytes) -> bool:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def test_the_kit_says_what_it_needs() -> None:
    """Without pytest the import says so; the package itself does not import the kit."""
    code = """
import sys
sys.modules["pytest"] = None
import flask_cloakroom
assert not any(name.startswith("flask_cloakroom.testing") for name in sys.modules)
try:
    import flask_cloakroom.testing
except ImportError as error:
    print(error)
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_with_path())
    assert "pip install pytest" in output.stdout


def _with_path() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(sys.path)}
