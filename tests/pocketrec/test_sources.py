"""A step's key follows the files that its module imports, and no others."""

from pathlib import Path

import pytest

from pocketrec.sources import ROOT, _files, source_digest


def test_imports_are_followed_inside_functions_too() -> None:
    files = {path.relative_to(ROOT).as_posix() for path in _files(("pocketrec.preparation",), ROOT)}
    assert {"training/prepare.py", "training/log.py", "contracts/events.py", "pocketrec/steps.py"} <= files
    assert not any(name.startswith(("compression", "sync_server", "device_sim")) for name in files)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Packages with an entry module, one that it imports through another package, and one that it does not."""
    files = {
        "bakery/entry.py": "def work():\n    from mill import grind\n    import json\n",
        "bakery/unused.py": "A = 1\n",
        "bakery/label.html": "<b>bread</b>",
        "mill/__init__.py": "",
        "mill/grind.py": "import mill.stones\n",
        "mill/stones.py": "A = 1\n",
        "office/desk.py": "import bakery.entry\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "matters"),
    [
        ("bakery/entry.py", True),
        ("bakery/label.html", True),
        ("mill/__init__.py", True),
        ("mill/grind.py", True),
        ("mill/stones.py", True),
        ("bakery/unused.py", False),
        ("office/desk.py", False),
    ],
)
def test_a_change_matters_where_it_is_imported(root: Path, file: str, matters: bool) -> None:
    before = source_digest("bakery.entry", root=root)
    with (root / file).open("a") as source:
        source.write("B = 2\n")
    assert (source_digest("bakery.entry", root=root) != before) == matters


def test_where_the_files_lie_does_not_matter(root: Path, tmp_path: Path) -> None:
    before = source_digest("bakery.entry", root=root)
    moved = root.rename(tmp_path.with_name(f"{tmp_path.name}-moved"))
    assert source_digest("bakery.entry", root=moved) == before
