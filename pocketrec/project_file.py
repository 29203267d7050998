"""A project file on disk, and the files it names."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from contracts.errors import ConfigError
from contracts.project import COMPLETEJOURNEY, FILENAME, Data, Project
from contracts.project_text import decode_project, project_text

RUNS = Path("runs")  # where run directories are made, relative to the working directory


@dataclass(frozen=True)
class ProjectFile:
    """Settings, and the folder against which their relative paths are read.

    The settings keep the paths as written, so that the same project has the same hash wherever it lies.
    """

    project: Project
    folder: Path

    @property
    def data(self) -> Data:
        """The settings of the log with paths that hold from anywhere."""
        data = self.project.data
        if data.source == COMPLETEJOURNEY:
            return data
        return msgspec.structs.replace(
            data,
            source=str(self.folder / data.source),
            products=str(self.folder / data.products) if data.products else None,
        )

    @property
    def default_run(self) -> Path:
        return RUNS / self.project.project.name

    @property
    def data_files(self) -> list[Path]:
        """The user's own files that the settings name."""
        data = self.data
        return [] if data.source == COMPLETEJOURNEY else [Path(path) for path in (data.source, data.products) if path]


def read_project(path: Path) -> ProjectFile:
    """Read a project file.

    Raises:
        ConfigError: if it does not exist, cannot be read or is not allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: write one with `pocketrec init` or name it with --project") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as UTF-8 text: {error}") from None
    return ProjectFile(decode_project(text), path.parent)


def run_of(run: Path | None, project: Path) -> Path:
    """The run directory that was named, or the project's usual one."""
    return run or read_project(project).default_run


def relative_to(path: Path, folder: Path) -> str:
    """A path as a project file in a folder names it: relative where that leads nowhere up, else absolute."""
    path, folder = path.resolve(), folder.resolve()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


def write_project(path: Path, project: Project) -> None:
    """Write a commented project file that does not exist yet.

    Raises:
        ConfigError: if the path exists or its folder does not.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(project_text(project))
    except FileExistsError:
        raise ConfigError(f"{path} exists: edit it, or name another file ({FILENAME} is the usual one)") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
