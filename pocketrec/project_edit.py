"""Changes to a project file that leave everything else in it as its writer left it."""

import re
from collections.abc import Mapping
from pathlib import Path

from contracts.errors import ConfigError
from contracts.project_text import decode_project
from export.durable import write_durably

_HEADER = re.compile(r"^\s*\[")


def with_values(text: str, section: str, values: Mapping[str, float]) -> str:
    """The text of a project file with some numbers of a section set.

    A key's line is replaced where it stands, comments behind it kept; others are added below the section's header,
    and a section that is not there at the end.

    Args:
        text: of the file.
        section: name of a table without dots.
        values: by key.
    """
    lines, left = text.splitlines(), dict(values)
    header = re.compile(rf"^\s*\[\s*{re.escape(section)}\s*\]\s*(#.*)?$")
    begin = next((number for number, line in enumerate(lines) if header.match(line)), None)
    if begin is None:
        lines += ["", f"[{section}]"]
        begin = len(lines) - 1
    end = next((number for number in range(begin + 1, len(lines)) if _HEADER.match(lines[number])), len(lines))
    for number in range(begin + 1, end):
        key, equals, rest = lines[number].partition("=")
        if equals and key.strip() in left:
            comment = re.search(r"\s+#.*$", rest)
            lines[number] = f"{key.rstrip()} = {left.pop(key.strip())!r}{comment[0] if comment else ''}"
    lines[begin + 1 : begin + 1] = [f"{key} = {value!r}" for key, value in left.items()]
    return "\n".join(lines) + "\n"


def write_values(path: Path, section: str, values: Mapping[str, float]) -> None:
    """Set some numbers of a section in a project file, durably.

    Raises:
        ConfigError: if the file is written in a way in which they cannot be set; it is then left as it was.
    """
    text = with_values(path.read_text(encoding="utf-8"), section, values)
    try:
        written = getattr(decode_project(text), section)
    except ConfigError as error:
        raise ConfigError(f"{path} cannot be changed ({error}): put the lines under [{section}] yourself") from None
    if any(getattr(written, key) != value for key, value in values.items()):
        raise ConfigError(f"{path} cannot be changed: put the lines under [{section}] yourself")
    write_durably(path, text.encode("utf-8"), path.stat().st_mode & 0o777)
