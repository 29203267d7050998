"""One tiny model, exported and bundled twice: here, and in a process of its own that runs at the same time."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

PROGRAM = Path(__file__).with_name("tiny_bundle.py")


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """What tiny_bundle.py defines."""
    return SimpleNamespace(**runpy.run_path(str(PROGRAM)))


@pytest.fixture(scope="session")
def _other_process(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("other")
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen([sys.executable, str(PROGRAM), str(folder)], env=environment, stderr=errors)
    yield process, folder
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def other_build(_other_process) -> Path:
    """Folder with `shipped` and `bundle` as another process with another hash seed made them."""
    process, folder = _other_process
    assert process.wait() == 0, (folder / "errors").read_text()[-2000:]
    return folder


@pytest.fixture(scope="session")
def model(_other_process, tiny):
    """The tiny model; not to be changed. Another one is made before it, as in a process that trained first."""
    tiny.tiny_model()
    return tiny.tiny_model()


@pytest.fixture(scope="session")
def exported(model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with every artifact in `fp32` and `shipped`; not to be changed."""
    from export.artifacts import export_artifacts

    folder = tmp_path_factory.mktemp("exported")
    for precision in ("fp32", "shipped"):
        (folder / precision).mkdir()
        export_artifacts(model, folder / precision, precision)
    return folder


@pytest.fixture(scope="session")
def bundle(model, exported: Path, tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle; not to be changed."""
    from export.bundle import build_bundle

    directory = tmp_path_factory.mktemp("built") / "bundle"
    build_bundle(tiny.bundle_inputs(model, exported / "shipped"), directory)
    return directory


@pytest.fixture(scope="session")
def feeds(tiny) -> list[dict]:
    """Histories of every length from none to full, with codes at both ends."""
    import numpy as np

    rng = np.random.default_rng(11)
    made = []
    for size in [*range(tiny.LENGTH + 1), tiny.LENGTH, 1, 5]:
        feed = {
            "items": np.zeros((1, tiny.LENGTH), np.int32),
            "events": np.zeros((1, tiny.LENGTH), np.int32),
            "counts": np.zeros((1, tiny.LENGTH), np.float32),
            "ages": np.zeros((1, tiny.LENGTH), np.float32),
            "context": np.array([[rng.integers(0, field.size) for field in tiny.SPEC.context]], np.int32),
        }
        if size:
            feed["items"][0, -size:] = rng.choice(tiny.ITEMS, size, replace=False) + 1
            feed["events"][0, -size:] = rng.integers(0, 10, size)
            feed["counts"][0, -size:] = rng.gamma(1.0, 2.0, size)
            feed["ages"][0, -size:] = np.sort(rng.gamma(1.0, 800.0, size))[::-1]
        made.append(feed)
    return made
