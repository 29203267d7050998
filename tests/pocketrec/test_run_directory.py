"""A run directory holds finished steps or nothing, whatever interrupts it."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.errors import RunError
from pocketrec.run_directory import LOCK, RUN, RunDirectory, StepRecord, open_run, tree_digest, write_record

RECORD = StepRecord(name="bake", key="0" * 64, output="1" * 64, seconds=1.5, peak_memory_bytes=2)


def bake(run: RunDirectory, text: str) -> None:
    with run.replacing("bake") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "bread").write_text(text)
        write_record(folder, RECORD)


def burn(run: RunDirectory) -> None:
    with run.replacing("bake") as folder:
        (folder / "burnt").write_text("")
        raise RunError("the oven is too hot")


def visible(path: Path) -> set[str]:
    return {each.name for each in path.iterdir() if each.name != LOCK}


def test_a_step_appears_whole_and_is_replaced_whole(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        assert run.record("bake") is None
        for text in ("rye", "wheat"):
            bake(run, text)
            assert (run.folder("bake") / "deep" / "bread").read_text() == text
            assert run.record("bake") == RECORD
            assert visible(run.path) == {RUN, "bake"}


def test_a_failed_step_leaves_the_last_good_one(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        bake(run, "rye")
        with pytest.raises(RunError):
            burn(run)
        assert visible(run.path) == {RUN, "bake"}
        assert (run.folder("bake") / "deep" / "bread").read_text() == "rye"


KILLED = """
import sys
from pathlib import Path
from pocketrec.run_directory import open_run
with open_run(Path(sys.argv[1])) as run, run.replacing("bake") as folder:
    (folder / "half").write_text("ha")
    print("at work", flush=True)
    sys.stdin.read()
"""


def test_kill_9_leaves_nothing_half_written(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with open_run(path) as run:
        bake(run, "rye")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as baker:
        assert baker.stdout is not None
        assert baker.stdout.readline() == "at work\n"
        with pytest.raises(RunError, match="in use by another pocketrec"), open_run(path):
            pass
        os.kill(baker.pid, signal.SIGKILL)
    assert ".bake.partial" in visible(path)  # else this test tests nothing
    with open_run(path) as run:
        assert visible(path) == {RUN, "bake"}
        assert (run.folder("bake") / "deep" / "bread").read_text() == "rye"


def test_a_cut_between_the_two_renames_costs_the_step_only(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        bake(run, "rye")
        run.folder("bake").rename(run.path / ".bake.replaced")
    with open_run(tmp_path / "run") as run:
        assert visible(run.path) == {RUN}
        assert run.record("bake") is None


@pytest.mark.parametrize("content", [b'{"pocketrec_run": 99}', b'{"pocketrec_run": "1"}', b"", b'{"other": 1}'])
def test_another_format_is_refused_untouched(tmp_path: Path, content: bytes) -> None:
    (tmp_path / RUN).write_bytes(content)
    (tmp_path / ".bake.partial").mkdir()
    with pytest.raises(RunError, match="name another --run") as error, open_run(tmp_path):
        pass
    assert "\n" not in str(error.value)
    assert visible(tmp_path) == {RUN, ".bake.partial"}


def test_other_peoples_folders_and_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="is no run directory"), open_run(tmp_path):
        pass
    with pytest.raises(RunError, match="cannot be a run directory"), open_run(tmp_path / "thesis.txt"):
        pass


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        bake(run, "rye")
        (run.folder("bake") / "step.json").write_text("{")
        with pytest.raises(RunError, match=r"remove .*bake to run the step again"):
            run.record("bake")


def test_a_secret_is_drawn_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        key = run.secret("key", 32)
        assert len(key) == 32
        assert run.secret("key", 32) == key
        file = run.path / "secrets" / "key"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        with pytest.raises(RunError, match="has 32 bytes, it must have 16"):
            run.secret("key", 16)
    with open_run(tmp_path / "other") as other:
        assert other.secret("key", 32) != key


def test_the_digest_is_of_names_and_bytes_but_not_of_the_record(tmp_path: Path) -> None:
    folder = tmp_path / "step"
    (folder / "deep").mkdir(parents=True)
    file = folder / "deep" / "a"
    file.write_text("x")
    digest = tree_digest(folder)
    write_record(folder, RECORD)
    assert tree_digest(folder) == digest
    file.write_text("y")
    assert tree_digest(folder) != digest
    file.write_text("x")
    file.rename(folder / "deep" / "b")
    assert tree_digest(folder) != digest
