"""Files that are whole or absent, whenever the power goes: temporary name, fsync, rename, fsync of the folder."""

import os
from pathlib import Path

PRIVATE = 0o600  # mode of files that only their owner reads


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; renaming alone may be forgotten by a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Create a file that must not exist yet, with its bytes on the disk when this returns."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Create or replace a file: a reader sees the old bytes or the new ones, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)  # left by a write that was cut off
    write_synced(temporary, data, mode)
    temporary.replace(path)
    sync_folder(path.parent)
