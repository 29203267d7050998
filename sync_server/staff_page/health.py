"""How the fleet's syncing goes, as the store knows it."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from sync_server import consistency, outbox
from sync_server.consistency import Consistency
from sync_server.outbox import Waiting
from sync_server.tables import QUARANTINED, devices, dropped_ranges, events, quarantine, settled_ranges

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Health:
    """Attributes:
    devices: enrolled, but for those that were revoked.
    seen: of these, those that synced within the last day.
    agreement: of the seen devices that hold a profile, how many hold it as it is now.
    missing: events that these devices have numbered below what has arrived, and that have not arrived: held back, or
        lost.
    dropped: events that devices had to give up, told within the last day.
    quarantined: events set aside within the last day, with a readable key or without.
    waiting: messages of the outbox that the broker has not acknowledged.
    """

    devices: int
    seen: int
    agreement: Consistency
    missing: int
    dropped: int
    quarantined: int
    waiting: Waiting


def health(connection: Connection, now_ms: int) -> Health:
    """The figures of this moment."""
    yesterday = now_ms - DAY_MS

    def number(query: object) -> int:
        return int(connection.execute(query).scalar_one() or 0)  # type: ignore[call-overload]

    life = (settled_ranges.c.device_id, settled_ranges.c.epoch)
    arrived = func.sum(settled_ranges.c.last - settled_ranges.c.first + 1)
    revoked = select(devices.c.device_id).where(devices.c.revoked_at.is_not(None))
    told = select((func.max(settled_ranges.c.last) + 1 - arrived).label("missing")).group_by(*life)
    lives = told.where(settled_ranges.c.device_id.not_in(revoked)).subquery()
    given_up = func.sum(dropped_ranges.c.last - dropped_ranges.c.first + 1)
    enrolled = select(func.count()).select_from(devices).where(devices.c.revoked_at.is_(None))
    keyed = select(func.count()).select_from(events).where(QUARANTINED)
    keyless = select(func.count()).select_from(quarantine).where(quarantine.c.received_at > yesterday)
    return Health(
        devices=number(enrolled),
        seen=number(enrolled.where(devices.c.synced_at > yesterday)),
        agreement=consistency.of_everybody(connection, now_ms),
        missing=number(select(func.sum(lives.c.missing))),
        dropped=number(select(given_up).where(dropped_ranges.c.received_at > yesterday)),
        quarantined=number(keyed.where(events.c.received_at > yesterday)) + number(keyless),
        waiting=outbox.waiting(connection, now_ms),
    )
