"""Measure the package's source: lines of code, import circles and private reaches.

``python tests/support/source/figures.py`` prints them.

Each function takes the package's folder, so that it can measure other packages too.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import flask_cloakroom

PACKAGE = Path(flask_cloakroom.__file__).parent
#: The kit for authors of stores. Sites do not run it, so its lines do not count.
TESTING = "testing"

_LAYOUT = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
_HAVE_DOCSTRINGS = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class PrivateReach(NamedTuple):
    """A place where a module uses a private name of another module."""

    file: str
    line: int
    name: str


def code_lines(package: Path = PACKAGE) -> int:
    """Return the number of lines without docstrings, comments and blank lines, the folder ``testing`` apart."""
    paths = (path for path in package.rglob("*.py") if TESTING not in path.relative_to(package).parts)
    return sum(_code_lines_of(path.read_text()) for path in paths)


def _code_lines_of(source: str) -> int:
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT and token.type not in _LAYOUT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _HAVE_DOCSTRINGS) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            lines.difference_update(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return len(lines)


def modules_in(package: Path = PACKAGE) -> dict[str, Path]:
    """Return the files of a package's modules, by the modules' full names. A package has the name of its folder."""
    return {_module_name(path, package): path for path in sorted(package.rglob("*.py"))}


def _module_name(path: Path, package: Path) -> str:
    return ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")


def imports_of(module: str, modules: Mapping[str, Path], *, late: bool = False) -> set[str]:
    """Return the full names of what one of ``modules`` imports: other ones of these, the standard library, and others.

    Every import counts, also one under ``if TYPE_CHECKING:`` or inside a function: a reader has to follow these too.
    With ``late``, return only imports inside functions.
    """
    path = modules[module]
    parent = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return set(_imports(ast.parse(path.read_text()), parent, modules, counts=not late))


def _imports(tree: ast.AST, parent: str, modules: Mapping[str, Path], *, counts: bool) -> Iterator[str]:
    """Yield what a tree imports, from a package named ``parent``. Only what is in functions, unless it ``counts``."""
    for node in ast.iter_child_nodes(tree):
        if counts and isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif counts and isinstance(node, ast.ImportFrom):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), parent)
            for alias in node.names:
                name = f"{origin}.{alias.name}"
                yield name if name in modules else origin
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(node, parent, modules, counts=counts or is_function)


def import_circles(package: Path = PACKAGE) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others. Each group is sorted.

    All imports that :func:`imports_of` returns count. Importing a module does not count as importing the packages
    around it, although Python runs these first.
    """
    modules = modules_in(package)
    imports = {name: (imports_of(name, modules) & modules.keys()) - {name} for name in modules}
    reached = {name: _reached(name, imports) for name in imports}
    circles = {frozenset(other for other in reached[name] if name in reached[other]) for name in imports}
    return sorted(sorted(circle) for circle in circles if circle)


def _reached(start: str, imports: dict[str, set[str]]) -> set[str]:
    """Return the modules to which one or more imports lead from a module. It is one of these if it is in a circle."""
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        new = imports[waiting.pop()] - reached
        reached |= new
        waiting += new
    return reached


def private_reaches(package: Path = PACKAGE) -> list[PrivateReach]:
    """Return the places where a module of the package uses a ``_private`` name of another module of the package.

    A place is a ``from`` import of such a name, or an attribute that another module defines as private and this module
    does not define, also if it is only set, or named as text in ``getattr`` and its like. Attributes of ``self``,
    ``cls`` and ``super()`` do not count, because a subclass may use the names that it inherits.

    Without types, an attribute's name is all that tells who owns it. So a name that both modules define is not listed;
    ruff's rule SLF001 finds these, and knows no difference between this package's private names and a library's.
    """
    trees = {path: ast.parse(path.read_text()) for path in sorted(package.rglob("*.py"))}
    defined = {path: set(_private_definitions(tree)) for path, tree in trees.items()}
    found: list[PrivateReach] = []
    for path, tree in trees.items():
        elsewhere = set[str]().union(*(names for other, names in defined.items() if other != path))
        file = path.relative_to(package).as_posix()
        found += (PrivateReach(file, line, name) for line, name in _private_imports(tree) if name in elsewhere)
        foreign = elsewhere - defined[path]
        found += (PrivateReach(file, line, name) for line, name in _private_attributes(tree) if name in foreign)
    return sorted(found)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and bool(name.strip("_"))


def _private_definitions(tree: ast.AST) -> Iterator[str]:
    """Yield the private functions, classes, variables, fields, and attributes of ``self`` that a module defines."""
    for node in ast.walk(tree):
        name = ""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_own(node.value):
            name = node.attr
        if _is_private(name):
            yield name


def _private_imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and name of each private name that a module imports from another one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, alias.name) for alias in node.names if _is_private(alias.name))


def _private_attributes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and name of each private attribute that a module uses of another object than ``self``."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=owner, attr=name):
                pass
            case ast.Call(
                func=ast.Name(id="getattr" | "hasattr" | "setattr" | "delattr"),
                args=[owner, ast.Constant(value=str(name)), *_],
            ):
                pass
            case _:
                continue
        if _is_private(name) and not _is_own(owner):
            yield node.lineno, name


def _is_own(owner: ast.expr) -> bool:
    return ast.unparse(owner) in ("self", "cls", "super()")


def main() -> None:
    print(f"{code_lines()} lines of code")
    for circle in import_circles():
        print(f"a circle of {len(circle)} modules: {', '.join(circle)}")
    reaches = private_reaches()
    print(f"{len(reaches)} uses of another module's private name")
    for reach in reaches:
        print(f"    {reach.file}:{reach.line}: {reach.name}")


if __name__ == "__main__":
    main()
