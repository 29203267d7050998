"""`python -m sync_server --settings FILE.json [COMMAND]`: a server for other programs to start, relay, upkeep."""

import argparse
import sys
from pathlib import Path

from contracts.errors import PocketrecError
from sync_server import audit_log, identifier_rotation, training_export
from sync_server.recovery import ready_store
from sync_server.replay import replay_held
from sync_server.settings import ServerSettings, load_settings
from sync_server.sql_store import open_store


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sync_server", description=__doc__)
    parser.add_argument("--settings", type=Path, required=True, help="JSON file with the keys of ServerSettings")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--workers", type=int, default=1)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", help="without one, requests are answered")
    commands.add_parser("relay", help="publish what happens to people to the broker that the settings name")
    audit = commands.add_parser("audit", help="check the audit log and print its head, to be noted elsewhere")
    audit.add_argument("--noted", metavar="NUMBER:HASH", help="a head noted earlier, over which the log must lead")
    names = commands.add_parser("identifiers", help="how many identifiers lie under which version of identifier_keys")
    names.add_argument("--activate", action="store_true", help="put the newest key in force, once all workers have it")
    commands.add_parser("restored", help="say that the store comes from a backup, before servers start on it")
    commands.add_parser("replay", help="judge again what was of unknown types when it came, after an update")
    log = commands.add_parser("training-log", help="write the events that people allow models to be trained on, as CSV")
    log.add_argument("file", type=Path)
    options = parser.parse_args()
    try:
        settings = load_settings(options.settings)
        if options.command == "audit":
            _audit(settings, options.noted)
        elif options.command == "relay":
            from sync_server.relay import relay

            relay(settings)
        elif options.command == "identifiers":
            _identifiers(settings, options.activate)
        elif options.command == "restored":
            _restored(settings)
        elif options.command == "replay":
            done = replay_held(settings)
            print(f"{done.accepted} events count from now on, {done.held} are still held")
        elif options.command == "training-log":
            _training_log(settings, options.file)
        else:
            from sync_server.serve import serve

            serve(settings, options.host, options.port, options.workers)
    except PocketrecError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _audit(settings: ServerSettings, noted: str | None) -> None:
    before = None if noted is None else audit_log.read_head(noted)
    store = open_store(settings.database_url, settings.clock())
    try:
        print(audit_log.verify(store, before))
    finally:
        store.close()


def _identifiers(settings: ServerSettings, activate: bool) -> None:
    store = open_store(settings.database_url, settings.clock(), settings.keys)
    try:
        if activate:
            print(f"key {identifier_rotation.activate(store)} is in force")
        held, erased = identifier_rotation.holdings(store), identifier_rotation.erased(store)
        for version in sorted(held | erased):
            print(f"key {version}: {held.get(version, 0)} identifiers, {erased.get(version, 0)} erased ones")
    finally:
        store.close()


def _restored(settings: ServerSettings) -> None:
    with ready_store(settings, restored=True) as store:
        print(f"generation {store.generation}")


def _training_log(settings: ServerSettings, file: Path) -> None:
    with ready_store(settings) as store:
        draft = training_export.collect(store, file)
        print(f"events of {training_export.publish(store, draft, file, 'operator')} people")


if __name__ == "__main__":
    sys.exit(main())
