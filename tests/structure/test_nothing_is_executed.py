"""Promise 11: no data becomes code."""

from __future__ import annotations

import ast

import pytest

from support.source.figures import (
    imports_of,
)
from support.source.layers import (
    MODULES,
)

#: Ways to run what comes as data. ``compile`` and ``__import__`` are on the list to be asked about, not because they
#: are always wrong.
FORBIDDEN_MODULES = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle"}


FORBIDDEN_MODULES |= {"code", "ctypes"}


FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "execfile"}


@pytest.mark.promise(11)
class TestNothingIsExecuted:
    """Promise 11."""

    @pytest.mark.parametrize("module", MODULES)
    def test_no_pickle_no_eval(self, module: str) -> None:
        """No module that makes objects of bytes, no function that makes code of text; not inside functions either."""
        imported = {name.partition(".")[0] for name in imports_of(module, MODULES)}
        assert not imported & FORBIDDEN_MODULES
        tree = ast.parse(MODULES[module].read_text())
        calls = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & FORBIDDEN_CALLS

    def test_data_reaches_no_import(self) -> None:
        """``import_module`` is for drivers, in one place, where their names stand."""
        users = {module for module in MODULES if "import_module(" in MODULES[module].read_text()}
        assert users == {"flask_cloakroom.redis_connections.driver"}
