"""Evaluators: named by their runtime, one answer each time, and one line for what they cannot load."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contracts.bundle import CORE_ML, ONNX, TFLITE, TRAINABLE_TFLITE
from contracts.errors import BundleError
from export.core_ml import MODEL_FILE
from export.latency import host, measure_latency
from export.runtimes import open_evaluator


@pytest.mark.parametrize(
    ("artifact", "name"),
    [
        (TFLITE, "LiteRT 2."),
        (TRAINABLE_TFLITE, "LiteRT 2."),
        (ONNX, "ONNX Runtime 1."),
        (CORE_ML, "Core ML reference evaluator, coremltools 9."),
    ],
)
def test_an_evaluator_says_what_it_is_and_keeps_no_memory(artifact: str, name: str, exported: Path, feeds) -> None:
    evaluator = open_evaluator(exported / "shipped" / artifact)
    assert evaluator.name.startswith(name)
    first = [np.array(side) for side in evaluator.rank(feeds[3])]
    evaluator.rank(feeds[12])
    again = evaluator.rank(feeds[3])
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])


@pytest.mark.parametrize("artifact", [TFLITE, ONNX, CORE_ML])
def test_what_is_no_model_is_refused_in_one_line(artifact: str, tmp_path: Path) -> None:
    file = tmp_path / artifact / MODEL_FILE if artifact == CORE_ML else tmp_path / artifact
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"no model")
    with pytest.raises(BundleError, match=f"^{artifact} cannot be loaded: .+$"):
        open_evaluator(tmp_path / artifact)
    with pytest.raises(BundleError, match="weights is no artifact: give one of"):
        open_evaluator(tmp_path / "weights")


def test_latency_is_of_this_host_in_milliseconds(exported: Path, feeds) -> None:
    found = measure_latency(open_evaluator(exported / "shipped" / TFLITE), feeds, calls=50)
    assert 0 < found.p50 <= found.p99 < 1000
    assert host() == ("x86 host" if platform.machine() == "x86_64" else f"{platform.machine()} host")


def test_onnx_runtime_reports_to_nobody(exported: Path, tmp_path: Path) -> None:
    work = "import sys, export.runtimes as r, pathlib; r.open_evaluator(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", work, str(exported / "shipped" / ONNX)]
    # Nothing else of this environment: what says that it is a build machine, such as CI, would silence the library too.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ORT_DISABLE_TELEMETRY": "0"}
    subprocess.run(command, check=True, env=environment)
    assert list(tmp_path.rglob("*onnxruntime*")) == [], "an identifier for reports was left in the home folder"
