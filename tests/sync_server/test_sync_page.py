"""The commands of docs/sync.md are run as they stand there."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "sync.md"


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="the page's commands need both")
def test_the_example_syncs_with_a_real_server(http_world, tmp_path: Path) -> None:
    commands = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(commands) == 4
    ran = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", "\necho; echo ----\n".join(commands)],
        cwd=tmp_path,
        env={"SERVER": str(http_world.wire.http.base_url).rstrip("/"), "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    enrolled, _, first, again = ran.stdout.split("----")
    assert '"challenge":' in enrolled
    assert '"kind":"accepted"' in first
    assert '"kind":"duplicate"' in again
    assert '"watermark":0' in again
