"""What the demo refuses before it begins."""

from pathlib import Path

import pytest

from contracts.errors import ConfigError
from pocketrec.demonstration import demonstrate


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("[fleet]\nphones = 0\n", "phones = 0 under .fleet.: the demo is of phones"),
        ('[split]\nprotocol = "leave_one_out"\n[fleet]\nphones = 0\n', "the demo is of phones"),
        ('[privacy]\ntraining = "private"\n', "the demo goes on from newer weeks without privacy"),
    ],
)
def test_a_project_without_what_it_shows(tmp_path: Path, settings: str, message: str) -> None:
    project = tmp_path / "pocketrec.toml"
    project.write_text(settings)
    with pytest.raises(ConfigError, match=message):
        demonstrate(project, tmp_path / "run")
    assert not (tmp_path / "run").exists()
