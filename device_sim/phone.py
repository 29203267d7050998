"""The reference phone: recommends offline, records events, syncs, updates its bundle and takes part in rounds."""

import random
import secrets
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path

import httpx
import msgspec
import numpy as np

from contracts.errors import BundleError, WireError
from contracts.events import Event
from contracts.identity import OwnerKind
from contracts.rounds import RoundTask, RoundUpdate
from contracts.summary import Summary
from contracts.sync import BundleOffer, VerdictKind
from contracts.windows import WindowCounts
from device_sim.cache import DEFAULT_CAPACITY
from device_sim.client import SyncReport
from device_sim.clock import DeviceClock
from device_sim.device import Device, Happening
from device_sim.examples import examples_of
from device_sim.history import current_summary, current_windows
from device_sim.trainer import Trainer
from device_sim.updater import BundleUpdater, Update
from export.inference.context import ANYTHING
from export.inference.recommender import Recommendation, Recommender, check_bundle
from export.verify import read_manifest


class Moment(StrEnum):
    """Kinds of entries in a phone's timeline."""

    OFFLINE = "offline"
    ONLINE = "online"
    SYNC = "sync"
    LOST_ANSWER = "lost_answer"
    RESEND = "resend"
    PROFILE = "profile"
    ERASED = "erased"
    BUNDLE = "bundle"
    RECOMMEND = "recommend"
    BASKET = "basket"
    ROUND = "round"


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to a phone."""

    at_ms: int  # true time as far as the phone knows, milliseconds since 1970
    kind: Moment
    text: str
    count: int = 0  # of what the text is about


class Phone(Device):
    """One phone of one person at a time."""

    def __init__(
        self,
        directory: Path,
        http: httpx.Client,
        clock: DeviceClock,
        random_state: random.Random,
        trusted_root: bytes,
        traits: Mapping[str, str] | None = None,
        *,
        capacity: int = DEFAULT_CAPACITY,
        content_type: str = "application/msgpack",
    ) -> None:
        """
        Args:
            directory: of this phone alone.
            http: its network, with the server's address as base URL.
            clock: its clocks.
            random_state: its random choices.
            trusted_root: TUF root metadata shipped with the app.
            traits: context values that do not change, such as the device class.
            capacity: events that its cache holds.
            content_type: of its requests, one of `contracts.codec.FORMATS`.
        """
        super().__init__(directory, http, clock, random_state, capacity=capacity, content_type=content_type)
        self.timeline: list[TimelineEntry] = []  # since the phone was opened
        self.updates_submitted = 0
        self.bundle_updates: list[Update] = []  # since the phone was opened
        self.updater = BundleUpdater(directory, trusted_root, http, check_bundle)
        self._random = random_state
        self._traits = traits
        self._recommender: Recommender | None = None
        self._tokens: Callable[[], tuple[str, ...]] = tuple
        if self.profile.owner is None:
            self.log_out()

    @property
    def owner(self) -> str:
        """Who uses the phone: a login, or an anonymous session."""
        return self.profile.owner or ""

    def log_in(self, owner: str, tokens: Callable[[], tuple[str, ...]]) -> None:
        """From now on the phone is used by this owner.

        Args:
            owner: a login.
            tokens: gets fresh proofs of the owner from the identity provider.
        """
        self.profile.change_owner(owner)
        self._tokens = tokens

    def log_out(self) -> None:
        """From now on the phone is used by nobody in particular: a new anonymous session."""
        self.profile.change_owner(f"{OwnerKind.ANONYMOUS}:{secrets.token_hex(16)}")
        self._tokens = tuple

    def now_ms(self) -> int:
        """Best estimate of the true time."""
        return self._true_ms(self.clock.wall_ms(), self.clock.boot_id, self.clock.uptime_ms())

    def act(self, happenings: Iterable[Happening]) -> tuple[Event, ...]:
        """Record what the current owner did."""
        return self.record(self.owner, happenings)

    def summary(self) -> Summary:
        """What the phone knows about its owner: the profile received, and what is newer here."""

        return current_summary(self.profile, self.cache, self._happened_ms)

    def windows(self) -> WindowCounts:
        """What the owner did in the last hour, day, week and four weeks, on any channel."""
        return current_windows(self.profile, self.cache, self._happened_ms, self.now_ms())

    def recommend(self, count: int = 10, wish: str = ANYTHING) -> Recommendation:
        """Recommend from what is on the phone.

        Args:
            count: at most the bundle's `candidates`.
            wish: one of `contracts.bundle.WISHES`.

        Raises:
            BundleError: if the phone has no bundle yet.
        """
        if self._recommender is None:
            if self.updater.active is None:
                raise BundleError("the phone has no bundle yet: sync once")
            self._recommender = Recommender(self.updater.active, read_manifest(self.updater.active), self._traits)
        recommendation = self._recommender.recommend(self.summary(), self.now_ms(), count, wish)
        self.note(Moment.RECOMMEND, f"{len(recommendation.items)} items by {recommendation.source}")
        return recommendation

    def sync(self, accepts_tasks: bool = True) -> SyncReport | None:
        """Sync once, and do what the answer asks: update the bundle, take part in a round.

        A bundle that cannot be taken is noted and left; the one held goes on working.

        Returns:
            what the sync brought; None if no answer came.

        Raises:
            InputError: if the server refuses the request.
        """
        try:
            report = self.exchange(self._tokens(), self.updater.version, accepts_tasks)
        except httpx.TransportError as error:
            self.note(Moment.LOST_ANSWER, str(error))
            return None
        if report.erased:
            self.log_out()
            self.note(Moment.ERASED, "the owner was erased: nothing of theirs is left on the phone")
        conflicts = report.verdicts.get(VerdictKind.CONFLICT, 0)
        self.note(
            Moment.SYNC, f"{report.sent} events sent" + (f", {conflicts} renumbered" if conflicts else ""), report.sent
        )
        if report.resent:
            again = report.verdicts.get(VerdictKind.DUPLICATE, 0)
            self.note(Moment.RESEND, f"{report.resent} events sent again, the server had {again}", report.resent)
        if report.profile_changed:
            owners = len(self.profile.owners)
            self.note(Moment.PROFILE, f"profile {report.profile_version} unifies {owners} owners", owners)
        if report.bundle is not None:
            self._update(report.bundle)
        if report.task is not None:
            self._take_part(report.task)
        return report

    def train(self, task: RoundTask) -> RoundUpdate | None:
        """Train as a task asks, on the owner's own orders.

        Returns:
            the update; None if the task is not for the bundle held, there is nothing to train on, or training diverged.

        Raises:
            WireError: if the task's adapter is not of the bundle's shape.
        """
        bundle = self.updater.active
        if bundle is None or task.bundle_version != self.updater.version:
            return None
        manifest = read_manifest(bundle)
        recommender = Recommender(bundle, manifest, self._traits)
        summary = self.summary()
        examples = list(examples_of(summary, manifest.history_length, recommender.catalogue.index_of))
        delta = Trainer(bundle, manifest).update(
            task,
            examples,
            lambda example: recommender.context(summary, example.at_ms),
            np.random.default_rng(self._random.getrandbits(64)),
        )
        return None if delta is None else RoundUpdate(task_id=task.task_id, delta=delta)

    def note(self, kind: Moment, text: str, count: int = 0) -> None:
        """Add an entry to the timeline."""
        self.timeline.append(TimelineEntry(at_ms=self.now_ms(), kind=kind, text=text, count=count))

    def _update(self, offer: BundleOffer) -> None:
        try:
            done = self.updater.update(offer)
        except httpx.TransportError:
            return  # the next sync offers it again
        except BundleError as error:
            self.note(Moment.BUNDLE, f"bundle {offer.version} refused: {error}")
            return
        if done is not None:
            self._recommender = None
            self.bundle_updates.append(done)
            way = "by patch" if done.patched else "whole"
            self.note(Moment.BUNDLE, f"bundle {done.version} {way}, {done.downloaded_bytes} bytes", done.version)

    def _take_part(self, task: RoundTask) -> None:
        try:
            update = self.train(task)
            if update is None:
                return
            receipt = self.client.submit_update(update)
        except httpx.TransportError:
            return  # the next sync hands the task out again, unless the update arrived
        except WireError as error:
            self.note(Moment.ROUND, f"round {task.round_id}: {error}")
            return
        self.updates_submitted += receipt.accepted
        self.note(Moment.ROUND, f"round {task.round_id}: update {'handed in' if receipt.accepted else receipt.reason}")

    def _happened_ms(self, event: Event) -> int:
        return self._true_ms(event.occurred_at, event.boot_id, event.uptime_ms)

    def _true_ms(self, wall_ms: int, boot_id: str, uptime_ms: int) -> int:
        fix = self.client.time_fix()
        return wall_ms if fix is None else fix.true_ms(wall_ms, boot_id, uptime_ms)
