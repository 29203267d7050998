"""How far people's devices agree on their profile, and when a device should come back.

A device is consistent if what it was told last is its person's profile as it is now. Only devices that synced within a
day count: a phone in a drawer would keep all others awake. Tills hold no profile, and do not count either.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, case, func, select

from sync_server.settings import ServerSettings
from sync_server.tables import devices, owners

ACTIVE_MS = 24 * 3_600_000


@dataclass(frozen=True)
class Consistency:
    devices: int = 0  # that synced within a day and hold somebody's profile
    current: int = 0  # of these, told the profile as it is now

    @property
    def share(self) -> float:
        """From 0 to 1; 1 where there are no devices."""
        return self.current / self.devices if self.devices else 1.0


def of_people(connection: Connection, people: Collection[int], now_ms: int) -> dict[int, Consistency]:
    """Of the devices of some persons, in one statement; who has none is left out."""
    if not people:
        return {}
    chosen = sorted(people)
    told = _told(now_ms).where(owners.c.person_id.in_(chosen)).subquery()
    rows = _counted(told, owners.c.person_id.in_(chosen), by_person=True)
    return {row.person_id: Consistency(row.devices, row.current) for row in connection.execute(rows)}


def of_everybody(connection: Connection, now_ms: int) -> Consistency:
    """Of all devices; reads a row for each that synced within a day, and their owners."""
    told = _told(now_ms).subquery()
    row = connection.execute(_counted(told, owners.c.person_id.in_(select(told.c.person_id)), by_person=False)).one()
    return Consistency(row.devices, row.current or 0)


def retry_after_s(settings: ServerSettings, quiet_ms: int, share: float) -> int:
    """When a device should come back to which nothing happened.

    It waits as long as it has been quiet, so about twice as long each time; the more devices of its person lag behind,
    the sooner it comes, for then the person is active somewhere else.

    Args:
        settings: between whose `retry_idle_s` and `retry_longest_s` a quiet device waits, and at least
            `retry_changed_s`.
        quiet_ms: since something changed for this device last.
        share: of the person's devices that are consistent.
    """
    quiet_s = min(max(quiet_ms // 1000, settings.retry_idle_s), max(settings.retry_longest_s, settings.retry_idle_s))
    return max(int(quiet_s * share), settings.retry_changed_s)


def _told(now_ms: int) -> Select:
    """Active devices: whose profile they hold, and which version they were told last."""
    active = devices.c.synced_at > now_ms - ACTIVE_MS, devices.c.revoked_at.is_(None)
    joined = select(owners.c.person_id, devices.c.profile_version).join_from(
        owners, devices, owners.c.id == devices.c.owner_id
    )
    return joined.where(*active)


def _counted(told: Any, of: Any, by_person: bool) -> Select:
    """Counts of `told` devices, over all or by person."""
    latest = case((owners.c.stamp > owners.c.profile_stamp, owners.c.stamp), else_=owners.c.profile_stamp)
    versions = (
        select(owners.c.person_id, func.max(latest).label("version")).where(of).group_by(owners.c.person_id).subquery()
    )
    current = case((told.c.profile_version == versions.c.version, 1), else_=0)
    figures = func.count().label("devices"), func.sum(current).label("current")
    joined = told.join(versions, versions.c.person_id == told.c.person_id)
    if by_person:
        return select(told.c.person_id, *figures).select_from(joined).group_by(told.c.person_id)
    return select(*figures).select_from(joined)
