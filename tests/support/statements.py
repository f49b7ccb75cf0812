"""Statements in `db`, and those that a process can run."""

import ast
import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import db

_STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\s")
_NAMED_PARAMETER = re.compile(r"(?<!:):(\w+)")
_OURS = ("api", "db", "ingest", "realtime")

Name = tuple[str, str]  # a module, and a name in it


def every() -> Iterator[tuple[str, str]]:
    """Yield the constants of the modules of db that look like SQL, with their names."""
    for module in pkgutil.iter_modules(db.__path__, "db."):
        if not module.ispkg:
            for name in vars(importlib.import_module(module.name)):
                if statement := _statement(module.name, name):
                    yield f"{module.name}.{name}", statement


def numbered(statement: str) -> str:
    """Replace the named parameters of SQLAlchemy by PostgreSQL's numbers."""
    numbers: dict[str, int] = {}
    return _NAMED_PARAMETER.sub(
        lambda match: f"${numbers.setdefault(match[1], len(numbers) + 1)}", statement
    )


def reached_from(*entries: Name) -> dict[str, str]:
    """Return the statements that functions can run, by all names that they refer to."""
    waiting, seen = list(entries), set[Name]()
    while waiting:
        name = waiting.pop()
        if name not in seen and _source(name[0]):
            seen.add(name)
            waiting += [named for node in _definitions(*name) for named in _names(name[0], node)]
    return {".".join(name): found for name in seen if (found := _statement(*name))}


def _statement(module: str, name: str) -> str | None:
    if not module.startswith("db.") or not name.startswith("_"):
        return None
    value = getattr(importlib.import_module(module), name, None)
    return value if isinstance(value, str) and _STATEMENT.match(value) else None


def _definitions(module: str, name: str) -> Iterator[ast.AST]:
    """Yield the definitions of a name. Routes belong to any name of their module."""
    for node in _tree(module).body:
        targets = node.targets if isinstance(node, ast.Assign) else ()
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        is_route = module.startswith("api.") and getattr(node, "decorator_list", ())
        if is_route or name in names or name == getattr(node, "name", None):
            yield node


def _names(module: str, node: ast.AST) -> Iterator[Name]:
    """Yield the names that a part of a module refers to."""
    imports = _imports(module)
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            if part.value.id in imports:
                yield ".".join(imports[part.value.id]), part.attr
        elif isinstance(part, ast.Name):
            yield imports.get(part.id, (module, part.id))


@cache
def _imports(module: str) -> dict[str, Name]:
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(_tree(module))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


@cache
def _tree(module: str) -> ast.Module:
    source = _source(module)
    assert source is not None, module
    return ast.parse(source.read_text("utf-8"))


@cache
def _source(module: str) -> Path | None:
    if module.split(".")[0] not in _OURS:
        return None
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin else None
