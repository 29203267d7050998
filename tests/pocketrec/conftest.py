"""The command line as people and programs call it."""

from collections.abc import Callable

import pytest

from pocketrec.cli import run


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line: (exit code, standard output, standard error)."""

    def say(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return say
