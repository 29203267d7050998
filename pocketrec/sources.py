"""Which of pocketrec's own modules a step runs: those its entry module imports, directly or not.

A step's result is reused only while none of them has changed.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGES = frozenset(
    ("contracts", "training", "compression", "export", "sync_server", "federated", "device_sim", "pocketrec")
)


def source_digest(*modules: str) -> str:
    """SHA-256 in hexadecimal over the sources of modules and of every module of ours that they import.

    Imports inside functions count as well; imports by a computed name do not.
    """
    digest = hashlib.sha256()
    for name in sorted(_closure(modules)):
        path = _path(name)
        if path is not None:
            digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _closure(modules: tuple[str, ...]) -> set[str]:
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(_imports(name))
    return seen


@cache
def _path(module: str) -> Path | None:
    """A module's file; None where the name is not a module but something inside one."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:  # `package.module.name`
        return None
    return Path(spec.origin) if spec and spec.origin else None


@cache
def _imports(module: str) -> frozenset[str]:
    path = _path(module)
    if path is None or path.suffix != ".py":
        return frozenset()
    names = _named(ast.parse(path.read_bytes()))
    return frozenset(name for name in names if name.partition(".")[0] in PACKAGES and _path(name) is not None)


def _named(tree: ast.AST) -> Iterator[str]:
    """Absolute names of modules that are imported; `from a import b` may mean the module a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
