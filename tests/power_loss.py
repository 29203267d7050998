"""A power loss at any change of a file."""

import sys


class PowerLoss(BaseException):
    pass


class Power:
    """Fails every change of a file below a folder from the n-th on, as the interpreter's own audit events see them."""

    CHANGES = frozenset(
        {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.truncate", "shutil.rmtree"}
    )

    def __init__(self) -> None:
        self.folder: str | None = None
        self.left = 0
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple) -> None:
        if self.folder is None or not (event in self.CHANGES or (event == "open" and arguments[2] & 0o3)):
            return
        # A symbolic link is named by its second argument; everything else changes its first.
        if str(arguments[1 if event == "os.symlink" else 0]).startswith(self.folder):
            if self.left <= 0:
                raise PowerLoss(event)
            self.left -= 1


POWER = Power()  # an audit hook cannot be taken out again: one for all tests
