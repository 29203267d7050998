"""The mailbox between federated gateways and phones.

A gateway, in a process of its own, opens a round for its cohort and later collects the updates; phones are handed the
task with a sync and hand an update in. A task belongs to a person as they were resolved when the round opened. Where
two of these turn out to be one person, all their tasks together are answered once.
"""

import secrets
from collections.abc import Collection, Iterable, Mapping

import numpy as np
from sqlalchemy import Connection, Row, Select, select, update

from contracts.consent import Purpose
from contracts.errors import WireError
from contracts.identity import DeviceRole
from contracts.rounds import RoundReceipt, RoundTask, RoundUpdate
from sync_server import consents
from sync_server.bulk import insert_rows
from sync_server.consents import Allowed
from sync_server.store import Store
from sync_server.tables import devices, owners, round_tasks, rounds
from sync_server.turn import Turn

TASK_BYTES = 24  # of entropy in a task's secret id


def enrolled_people(store: Store) -> list[int]:
    """Persons who allow federated training and use a phone that has synced, in ascending order."""
    using = select(owners.c.person_id).distinct().join(devices, devices.c.owner_id == owners.c.id)
    with store.read() as connection:
        people = connection.execute(using.where(devices.c.role == DeviceRole.PHONE)).scalars().all()
        allowed = consents.granted(connection, people)
    return sorted(person for person in people if Purpose.FEDERATED_TRAINING in allowed[person])


def open_round(
    store: Store,
    round_id: str,
    gateway: str,
    people: Iterable[int],
    *,
    bundle_version: int,
    adapter: bytes,
    clipping_norm: float,
    learning_rate: float,
    epochs: int,
    deadline: int,
) -> int:
    """Create one secret task for each person of a gateway's cohort; called again, it adds nothing twice.

    Args:
        people: as `enrolled_people` names them.
        bundle_version: the bundle whose trainable model a phone must hold.
        adapter: float32 [d], little endian, where training starts.
        deadline: milliseconds since 1970, the server's clock.

    Returns:
        how many tasks of this round the gateway has now.

    Raises:
        WireError: if the adapter is not a whole number of float32.
    """
    if len(adapter) % 4:
        raise WireError(f"adapter has {len(adapter)} bytes: send float32, four bytes per weight")
    row = {
        "round_id": round_id,
        "gateway": gateway,
        "bundle_version": bundle_version,
        "adapter": adapter,
        "clipping_norm": clipping_norm,
        "learning_rate": learning_rate,
        "epochs": epochs,
        "deadline": deadline,
        "closed": False,
    }
    tasks = [
        {"task_id": secrets.token_urlsafe(TASK_BYTES), "round_id": round_id, "gateway": gateway, "person_id": person}
        for person in sorted(set(people))
    ]
    with store.write() as connection:
        insert_rows(connection, rounds, [row], "keep")
        insert_rows(connection, round_tasks, tasks, "keep")
        return len(connection.execute(_tasks_of(round_id, gateway)).all())


def open_tasks(
    turn: Turn, asking: Collection[tuple[int, int]], allowed: Mapping[int, Allowed]
) -> dict[tuple[int, int], RoundTask]:
    """The tasks that phones of some persons may work on now.

    Several phones of a person may be handed the same task; the first update counts.

    Args:
        turn: the transaction.
        asking: persons, and the bundle version that a phone of theirs holds.
        allowed: the purposes that each of these persons allows.

    Returns:
        by person and bundle version; who has none is left out.
    """
    willing = {one for one in asking if Purpose.FEDERATED_TRAINING in allowed[one[0]]}
    is_open = (rounds.c.deadline > turn.now_ms, rounds.c.closed.is_(False))
    if not willing or turn.connection.execute(select(rounds.c.round_id).where(*is_open).limit(1)).first() is None:
        return {}  # as most of the time: to ask that first is a fraction of the question itself
    mine = owners.c.person_id.in_(sorted({person for person, _ in willing}))
    candidates = _joined().where(mine, *is_open, round_tasks.c.answered_at.is_(None))
    found: dict[tuple[int, int], RoundTask] = {}
    for row in turn.connection.execute(candidates.order_by(rounds.c.deadline, round_tasks.c.person_id)).all():
        asked = (row.now_person, row.bundle_version)
        if asked in willing and asked not in found and not _answered_by_person(turn.connection, row):
            found[asked] = RoundTask(
                task_id=row.task_id,
                round_id=row.round_id,
                bundle_version=row.bundle_version,
                adapter=row.adapter,
                clipping_norm=row.clipping_norm,
                learning_rate=row.learning_rate,
                epochs=row.epochs,
                deadline=row.deadline,
            )
    return found


def submit(store: Store, sent: RoundUpdate) -> RoundReceipt:
    """Take an update, at most one per round and person; the same one sent again is answered as before."""
    with store.write() as connection:
        task = connection.execute(_joined().where(round_tasks.c.task_id == sent.task_id)).one_or_none()
        if task is None:
            return _rejected("no such task: take the one that the last sync handed out")
        if task.answered_at is not None and task.delta == sent.delta:
            return RoundReceipt(accepted=True)
        reason = _objection(connection, task, sent, store.now_ms())
        if reason:
            return _rejected(reason)
        answer = {"delta": sent.delta, "answered_at": store.now_ms()}
        connection.execute(update(round_tasks).where(round_tasks.c.task_id == sent.task_id).values(answer))
    return RoundReceipt(accepted=True)


def collect(store: Store, round_id: str, gateway: str) -> list[tuple[int, bytes]]:
    """The updates handed in so far to one gateway: person and float32 [d], little endian, by person."""
    handed_in = _tasks_of(round_id, gateway).where(round_tasks.c.answered_at.is_not(None))
    with store.read() as connection:
        return [(row.person_id, row.delta) for row in connection.execute(handed_in)]


def close_round(store: Store, round_id: str) -> None:
    """Take no more updates for a round, at any gateway."""
    with store.write() as connection:
        connection.execute(update(rounds).where(rounds.c.round_id == round_id).values(closed=True))


def _objection(connection: Connection, task: Row, sent: RoundUpdate, now_ms: int) -> str:
    """Why an update cannot be taken, empty if it can."""
    if task.closed or now_ms >= task.deadline:
        return "late: the round is over, drop the update"
    if _answered_by_person(connection, task):
        return "answered: a round takes one update per person, drop this one"
    if Purpose.FEDERATED_TRAINING not in consents.granted(connection, [task.now_person])[task.now_person]:
        return "federated training is not allowed any more: drop the update"
    if len(sent.delta) != len(task.adapter):
        return f"delta has {len(sent.delta)} bytes, the adapter {len(task.adapter)}: send float32, one per weight"
    if not np.isfinite(np.frombuffer(sent.delta, "<f4")).all():
        return "delta holds NaN or an infinity: train again with a smaller learning rate"
    return ""


def _answered_by_person(connection: Connection, task: Row) -> bool:
    """Whether any task of the round was answered that belongs to who is the same person by now."""
    same = _joined().where(owners.c.person_id == task.now_person, round_tasks.c.round_id == task.round_id)
    return connection.execute(same.where(round_tasks.c.answered_at.is_not(None))).first() is not None


def _joined() -> Select:
    """Tasks with their round, and who their person is by now."""
    now_person = owners.c.person_id.label("now_person")
    same_round = (rounds.c.round_id == round_tasks.c.round_id) & (rounds.c.gateway == round_tasks.c.gateway)
    task_columns = (round_tasks.c.task_id, round_tasks.c.person_id, round_tasks.c.delta, round_tasks.c.answered_at)
    return (
        select(*task_columns, rounds, now_person)
        .select_from(round_tasks)
        .join(rounds, same_round)
        .join(owners, owners.c.id == round_tasks.c.person_id)
    )


def _tasks_of(round_id: str, gateway: str) -> Select:
    mine = (round_tasks.c.round_id == round_id, round_tasks.c.gateway == gateway)
    return select(round_tasks).where(*mine).order_by(round_tasks.c.person_id)


def _rejected(reason: str) -> RoundReceipt:
    return RoundReceipt(accepted=False, reason=reason)
