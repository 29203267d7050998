"""What the store holds, for whoever checks it: read-only."""

from collections.abc import Collection

from sqlalchemy import func, select

from contracts.events import EventKey
from contracts.summary import Summary
from contracts.sync import VerdictKind
from sync_server import profiles
from sync_server.people import find
from sync_server.store import Store
from sync_server.tables import events, item_activities, order_lines, owners


def count_events(store: Store, verdict: VerdictKind = VerdictKind.ACCEPTED) -> int:
    """How many events are held, each key once, that were answered with this verdict."""
    with store.read() as connection:
        counted = select(func.count()).select_from(events).where(events.c.verdict == verdict)
        return int(connection.execute(counted).scalar_one())


def accepted_events(store: Store) -> dict[EventKey, bytes]:
    """The keys of all accepted events with `received.payload_hash` of the event."""
    columns = (events.c.device_id, events.c.epoch, events.c.seq, events.c.payload_hash)
    with store.read() as connection:
        rows = connection.execute(select(*columns).where(events.c.verdict == VerdictKind.ACCEPTED))
        return {EventKey(device_id, epoch, seq): payload_hash for device_id, epoch, seq, payload_hash in rows}


def persons(store: Store, names: Collection[str]) -> dict[str, int]:
    """The person that each of some owners is, where known: owners of one person are one human being."""
    with store.read() as connection:
        return {name: owner.person_id for name, owner in find(connection, store.keys, names).items()}


def count_profiles(store: Store) -> int:
    """How many persons have a profile: an item or an order of at least one of their owners."""
    return len(_profiled(store))


def count_merged_profiles(store: Store) -> int:
    """How many of the profiles unify the items or orders of more than one owner."""
    return sum(owners_with_rows > 1 for owners_with_rows in _profiled(store).values())


def profile(store: Store, owner: str) -> Summary:
    """The unified profile of the person that an owner is, empty where the owner is unknown."""
    with store.read() as connection:
        known = find(connection, store.keys, [owner]).get(owner)
        if known is None:
            return Summary()
        mine = select(owners.c.id).where(owners.c.person_id == known.person_id)
        return profiles.of_owners(connection, connection.execute(mine).scalars().all())


def _profiled(store: Store) -> dict[int, int]:
    """Per person with a profile, the number of owners that contribute to it."""
    contributing = select(item_activities.c.owner_id).union(select(order_lines.c.owner_id)).subquery()
    per_person = (
        select(owners.c.person_id, func.count())
        .join(contributing, contributing.c.owner_id == owners.c.id)
        .group_by(owners.c.person_id)
    )
    with store.read() as connection:
        return {row[0]: row[1] for row in connection.execute(per_person)}
