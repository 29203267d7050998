"""Progress is lines for a file and a bar for a person, and never on standard output."""

import io

import pytest

from pocketrec.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work(progress: Progress) -> None:
    with progress.step("bake"):
        for done in range(3):
            progress("loaves", done, 3)
    progress.reused("wash")


def test_a_file_gets_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    work(Progress(stream))
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["bake ...", "bake: loaves 0/3"]  # further ones only after a while
    assert lines[2].startswith("bake: 0.")
    assert lines[3:] == ["wash: nothing changed, reused"]
    assert "\r" not in stream.getvalue()
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    stream = Terminal()
    work(Progress(stream))
    assert "bake: loaves:  67%" in stream.getvalue()
    assert stream.getvalue().splitlines()[-1] == "wash: nothing changed, reused"
    assert capsys.readouterr().out == ""


def test_by_default_it_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    work(Progress())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("bake ...")
