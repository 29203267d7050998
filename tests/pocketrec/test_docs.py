"""README and docs name only commands, options, targets and files that exist."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from pocketrec.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def commands(text: str) -> list[str]:
    """Command lines in indented blocks, and in backticks."""
    blocks = re.findall(r"^ {4}pocketrec (.+)$", text, re.MULTILINE)
    return [*blocks, *re.findall(r"`pocketrec ([^`]+)`", text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_parses(page: Path) -> None:
    for command in commands(page.read_text()):
        verb, *arguments = shlex.split(command, comments=True)
        assert verb in VERBS, command
        with VERBS[verb].make_context(verb, arguments):
            pass


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


def test_make_s_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"^ {4}make (\w+)", page.read_text(), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_pages_are_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert all(f"docs/{page.name}" in readme for page in PAGES[1:])
    assert len(commands(readme)) >= 8
