"""`python -m sync_server --settings FILE.json`: a server for other programs to start."""

import argparse
import sys
from pathlib import Path

from contracts.errors import PocketrecError
from sync_server.serve import serve
from sync_server.settings import load_settings


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sync_server", description=__doc__)
    parser.add_argument("--settings", type=Path, required=True, help="JSON file with the keys of ServerSettings")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    try:
        serve(load_settings(options.settings), options.host, options.port, options.workers)
    except PocketrecError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
