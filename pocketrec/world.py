"""A world of simulated phones on disk, and what it takes to go on in it: a server of its own, its clock, its fleet.

    clock           virtual time, shared by the phones and the server
    devices/        each phone's and the till's whole state
    repository/     the TUF repository that the server hands out
    server/         the sync server's database

A step never goes on in the world of the step before: it copies it, so that every step can be repeated.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from contracts.errors import CheckFailed, RunError
from contracts.events import Event
from contracts.project import Project
from pocketrec.run_directory import RunDirectory
from pocketrec.service import DATABASE, own_identity_key, server_settings, staff_token
from sync_server.settings import ServerSettings

if TYPE_CHECKING:
    from device_sim.members import Fleet
    from device_sim.plan import FleetPlan

CLOCK, DEVICES, REPOSITORY, SERVER, SETTINGS = "clock", "devices", "repository", "server", "server.json"
STOP_SECONDS = 60.0  # for the server to finish what it took


@dataclass(frozen=True)
class World:
    """The simulated phones of a run, in a folder of their own."""

    folder: Path
    run: RunDirectory
    project: Project
    plan: "FleetPlan"

    @classmethod
    def begin(
        cls, folder: Path, run: RunDirectory, project: Project, prepare_folder: Path, repository: Path
    ) -> "World":
        """A new world, into which a TUF repository is copied.

        Raises:
            RunError: if there is nobody to simulate.
        """
        world = cls._of(folder, run, project, prepare_folder)
        shutil.copytree(repository, folder / REPOSITORY)
        return world

    @classmethod
    def go_on(cls, before: Path, folder: Path, run: RunDirectory, project: Project, prepare_folder: Path) -> "World":
        """A copy of an earlier world, in which nobody lives at the moment."""
        world = cls._of(folder, run, project, prepare_folder)
        for name in (DEVICES, REPOSITORY, SERVER):
            shutil.copytree(before / name, folder / name, symlinks=True)
        shutil.copy2(before / CLOCK, folder / CLOCK)
        return world

    @classmethod
    def _of(cls, folder: Path, run: RunDirectory, project: Project, prepare_folder: Path) -> "World":
        from pocketrec.households import fleet_plan, traits_of
        from training.prepared import load_prepared
        from training.segments import fit_segments

        prepared, seed = load_prepared(prepare_folder), project.project.seed
        plan = fleet_plan(prepared, seed, traits_of(prepared, fit_segments(prepared, seed)))
        if not plan.households:
            raise RunError("no person was set apart for a phone: raise [fleet] phones, or give a longer log")
        return cls(folder, run, project, plan)

    @property
    def clock(self) -> Path:
        return self.folder / CLOCK

    @property
    def repository(self) -> Path:
        return self.folder / REPOSITORY

    @property
    def settings(self) -> ServerSettings:
        return server_settings(
            self.run, self.project, self.folder / SERVER, clock_file=self.clock, repository=self.repository
        )

    @contextmanager
    def fleet(self) -> "Iterator[Fleet]":
        """The phones, going on where they were, with their server."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        from device_sim.clock import FleetTime
        from device_sim.identity_provider import IdentityProvider
        from device_sim.members import Fleet
        from export.repository import refresh, trusted_root

        time = FleetTime.resume(self.clock) if self.clock.exists() else FleetTime(self.plan.begins_ms, self.clock)
        identity = Ed25519PrivateKey.from_private_bytes(own_identity_key(self.run))
        provider = IdentityProvider(self.project.project.name, time.now_ms, identity)
        refresh(self.repository, self.run.keys)  # it may have been published longer ago than its signatures hold
        with serving(self.settings, self.folder / SETTINGS) as url:
            fleet = Fleet(
                self.plan,
                url,
                self.folder / DEVICES,
                trusted_root(self.repository),
                staff_token(self.run),
                provider,
                time,
            )
            try:
                yield fleet
            finally:
                fleet.close()

    def held_events(self) -> Iterator[Event]:
        """What lies in the server's database, read past the server and its code; whose it is lies there as no name."""
        import sqlite3

        connection = sqlite3.connect(f"file:{self.folder / SERVER / DATABASE}?mode=ro", uri=True)
        try:
            for (payload,) in connection.execute("SELECT payload FROM events WHERE verdict = 'accepted'"):
                yield msgspec.convert(msgspec.json.decode(payload) | {"owner": "anonymous:unknown"}, Event)
        finally:
            connection.close()


@contextmanager
def serving(settings: ServerSettings, file: Path) -> Iterator[str]:
    """A sync server in a process of its own, on loopback, that ends with the block; yields its address.

    Args:
        file: receives the settings, readable by its owner only: they hold the server's key.

    Raises:
        CheckFailed: if the server does not start; what it said is on standard error.
    """
    file.touch(mode=0o600)
    file.write_bytes(msgspec.json.encode(settings))
    # Tethered: a server does not outlive who started it, even if that is killed.
    command = [sys.executable, "-m", "federated.tether", sys.executable, "-m", "sync_server", "--settings", str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip().rpartition(" ")[2]
            if not address:
                raise CheckFailed("the sync server did not start: see what it said above")
            yield address
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
