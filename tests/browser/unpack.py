"""Unpack the Chromium that the npm package carries, with the libraries and a font that a bare machine lacks.

npm ci --prefix tests/browser && python tests/browser/unpack.py .venv/chromium
"""

import io
import sys
import tarfile
from pathlib import Path

import brotli

PACKED = Path(__file__).parent / "node_modules" / "@sparticuz" / "chromium" / "bin"

FONTS_CONF = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir>{fonts}/cache</cachedir></fontconfig>
"""


def unpack(target: Path) -> None:
    """Write `chromium`, `libraries/lib` and `fonts` into a folder."""
    target.mkdir(parents=True, exist_ok=True)
    program = target / "chromium"
    program.write_bytes(brotli.decompress((PACKED / "chromium.br").read_bytes()))
    program.chmod(0o755)
    for archive, folder in (("al2023", "libraries"), ("fonts", "fonts")):
        packed = brotli.decompress((PACKED / f"{archive}.tar.br").read_bytes())
        with tarfile.open(fileobj=io.BytesIO(packed)) as files:
            files.extractall(target / folder, filter="data")
    fonts = (target / "fonts").resolve()
    (fonts / "fonts.conf").write_text(FONTS_CONF.format(fonts=fonts))


if __name__ == "__main__":
    unpack(Path(sys.argv[1]))
