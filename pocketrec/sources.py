"""Which of pocketrec's own files a step depends on: its entry module and all that it imports, directly or not.

A step's result is reused only while none of them has changed.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # the folder of all packages


def source_digest(*modules: str, root: Path = ROOT) -> str:
    """SHA-256 in hexadecimal over modules, every module of ours that they import, and the data files beside them.

    Imports inside functions count as well; imports by a computed name do not.
    """
    digest = hashlib.sha256()
    for path in sorted(_files(modules, root)):
        digest.update(f"{path.relative_to(root).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _files(modules: tuple[str, ...], root: Path) -> set[Path]:
    found: set[Path] = set()
    waiting = list(modules)
    while waiting:
        path = _path(waiting.pop(), root)
        if path is None or path in found:
            continue
        found.add(path)
        found.update(each for each in path.parent.iterdir() if each.is_file() and each.suffix not in (".py", ".pyc"))
        waiting.extend(_imports(path.read_bytes()))
    return found


def _path(module: str, root: Path) -> Path | None:
    """A module's file; None where it is not one of ours, or the name of something inside a module."""
    base = root.joinpath(*module.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


@cache
def _imports(source: bytes) -> frozenset[str]:
    return frozenset(_named(ast.parse(source)))


def _named(tree: ast.AST) -> Iterator[str]:
    """Absolute names of what is imported; in `from a import b`, b may be the module a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
