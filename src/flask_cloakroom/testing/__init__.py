"""Conformance tests for stores. The author of a store inherits them. Needs pytest.

A store is any object with the operations of :class:`flask_cloakroom.stores.base.Store`. Its tests need no more than
this::

    import pytest
    from flask_cloakroom.testing import StoreContract

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self):
            store = MyStore(...)
            yield store
            store.close()

Each test's docstring is a sentence of the contract. The tests use random keys and do not delete all their entries, so
all tests may share one database. ``purge``, ``walk`` and the owner index are tested if the store has them. A subclass
can change two things:

- :attr:`StoreContract.expiry_slack`, if the store's clock is coarser than a tenth of a second;
- :meth:`StoreContract.elapse`, if the store takes a clock that a test can move, so that no test has to wait.

The kit forces interleavings with :class:`InterleavingStore`. Other tests can use it too.
"""

from __future__ import annotations

try:
    import pytest
except ImportError as error:
    raise ImportError(
        "flask_cloakroom.testing needs pytest, which is not installed. Run: pip install pytest"
    ) from error

# Registered before the imports, so that a failing assert shows its values.
pytest.register_assert_rewrite(
    f"{__name__}.verbs",
    f"{__name__}.powers",
    f"{__name__}.owners",
    f"{__name__}.ownership",
    f"{__name__}.parallel",
    f"{__name__}.races",
    f"{__name__}.rotations",
    f"{__name__}.schedules",
)

from .contract import StoreContract  # noqa: E402
from .interleaving import InterleavingStore  # noqa: E402

__all__ = ["InterleavingStore", "StoreContract"]
