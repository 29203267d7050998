"""`python -m tests.sync_server.forked_servers SETTINGS`: a real server for every line on standard input, in a moment.

What takes long is importing; this process does it once and forks. For each server it prints `pid <pid>`, and the server
itself its address.
"""

import os
import signal
import sys
from pathlib import Path

from sync_server.serve import serve
from sync_server.settings import load_settings


def main() -> None:
    import granian.server.embed  # noqa: F401  (what `serve` imports when it is called)

    import sync_server.app
    import sync_server.observed  # noqa: F401

    settings = load_settings(Path(sys.argv[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever is killed leaves nothing behind
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            serve(settings, port=0)
            os._exit(0)
        print(f"pid {pid}", flush=True)


if __name__ == "__main__":
    main()
