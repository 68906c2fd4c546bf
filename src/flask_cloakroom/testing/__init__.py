"""Conformance tests for stores. The author of a store inherits these tests. They need pytest.

A store is any object with the operations of :class:`flask_cloakroom.stores.base.Store`. To test a store, write only
this class::

    import pytest
    from flask_cloakroom.testing import StoreContract

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self):
            store = MyStore(...)
            yield store
            store.close()

Each test's docstring is a sentence of the contract. The tests use random store keys and leave some entries in the
store, so all tests may share one database. ``purge``, ``walk`` and the owner index are tested if the store has them. A
subclass can change two things:

- :attr:`StoreContract.expiry_slack`, if the store may delete an entry more than a tenth of a second too late;
- :meth:`StoreContract.elapse`, if a test can set the store's clock, so that no test has to wait.

The tests use :class:`InterleavingStore` to run one operation in the middle of another. Other tests can use it too.
"""

from __future__ import annotations

try:
    import pytest
except ImportError as error:
    raise ImportError(
        "flask_cloakroom.testing needs pytest, which is not installed. Run: pip install pytest"
    ) from error

# Register the modules before their import. Otherwise a failing assert in them would not show its values.
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
