"""Every store of the table passes the public contract in flask_cloakroom.testing."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from flask_cloakroom.stores import Store
from flask_cloakroom.stores.memory import MemoryStore
from flask_cloakroom.testing import StoreContract
from flask_cloakroom.testing.ownership import OwnershipContract
from support.stores.backends import BACKENDS, Backend, Surroundings

#: Stores on which operations are run in every order, which takes seconds. The others send the same commands.
IN_EVERY_ORDER = {"memory", "sqlite", "redis-url", "redis-subclass-decoding", "redis-cluster", "valkey-client"}


@pytest.mark.promise(3, 4)
class TestEveryStore(StoreContract):
    """The contract, on each row of the table."""

    @pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
    def store(self, request: pytest.FixtureRequest, surroundings: Surroundings) -> Iterator[Store]:
        """Return the row's store."""
        backend: Backend = request.param
        if "fork_in_the_middle" in request.node.name and not backend.bears_fork_in_a_call:
            pytest.skip("the application's own client is called as it is, and does not bear this")
        if hasattr(OwnershipContract, request.node.originalname) and backend.name not in IN_EVERY_ORDER:
            pytest.skip("its commands are those of redis-url, which this is run on")
        with backend.open(surroundings) as store:
            if backend.age is not None:
                self.elapse = functools.partial(backend.age, store)  # type: ignore[method-assign]
            yield store


class TestMemoryOnAClockOfItsOwn(StoreContract):
    """The contract where no test has to wait: the way for a store that takes a clock."""

    now = 1_000_000.0

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        """Return a memory store that reads this test's clock."""
        store = MemoryStore(clock=lambda: self.now)
        yield store
        store.close()

    def elapse(self, seconds: float) -> None:
        """Move the clock."""
        self.now += seconds
