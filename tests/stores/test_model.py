"""Random sequences of calls have the same results on every store as on a dict with versions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_cloakroom.stores import Conflict, Entry, Gone, Saved, Store
from support.stores.backends import Backend, Surroundings, named

KINDS = named("memory", "sqlite", "redis-url", "redis-subclass-decoding", "fakeredis")

keys = st.sampled_from([b"", b"a", b"a\0", b"ab", b"\xff"])
datas = st.one_of(st.sampled_from([b"", b"\0", b"12345678"]), st.binary(max_size=40))
ttls = st.sampled_from([30, 60, 61, 3600])
calls = st.one_of(
    st.tuples(st.just("load"), keys),
    st.tuples(st.just("create"), keys, datas, ttls),
    # Which version to expect: the present one, the one before, or one that never was.
    st.tuples(st.just("replace"), keys, datas, ttls, st.sampled_from(["present", "past", "none"])),
    st.tuples(st.just("touch"), keys, ttls),
    st.tuples(st.just("delete"), keys),
)


@pytest.fixture(params=KINDS, ids=lambda backend: backend.name)
def store(request: pytest.FixtureRequest, surroundings: Surroundings) -> Iterator[Store]:
    """Return a store of each kind."""
    backend: Backend = request.param
    with backend.open(surroundings) as store:
        yield store


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequence=st.lists(calls, max_size=25))
def test_any_sequence_of_calls(store: Store, sequence: list[tuple[object, ...]]) -> None:
    """Answers, data and versions are those of the model after every call."""
    for key in (b"", b"a", b"a\0", b"ab", b"\xff"):
        store.delete(key)
    model: dict[bytes, Entry] = {}
    past: dict[bytes, bytes] = {}
    for verb, its_key, *rest in sequence:
        assert isinstance(its_key, bytes)
        key = its_key
        present = model.get(key)
        match verb, rest:
            case "load", _:
                assert store.load(key) == present
            case "create", [bytes(data), int(ttl)]:
                version = store.create(key, data, ttl)
                assert (version is None) == (present is not None)
                if version is not None:
                    model[key] = Entry(data, version)
            case "replace", [bytes(data), int(ttl), which]:
                expected = b"never was"
                if which == "past":
                    expected = past.get(key, expected)
                elif which == "present" and present is not None:
                    expected = present.version
                result = store.replace(key, data, ttl, expected)
                if present is None:
                    assert result == Gone()
                elif present.version != expected:
                    assert result == Conflict(present)
                else:
                    assert isinstance(result, Saved)
                    assert result.version != present.version
                    past[key] = present.version
                    model[key] = Entry(data, result.version)
            case "touch", [int(ttl)]:
                assert store.touch(key, ttl) is (present is not None)
            case "delete", _:
                assert store.delete(key) is (present is not None)
                if present is not None:
                    past[key] = model.pop(key).version
    assert {key: entry for key in model if (entry := store.load(key)) is not None} == model
