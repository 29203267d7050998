"""Which sequence numbers of a device are settled, kept as few ranges rather than looked up among all events."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import Connection

from contracts.codec import encode
from contracts.errors import LimitError, WireError
from contracts.sync import Dropped, SeqRange
from sync_server.bulk import delete_rows, insert_rows, rows_at
from sync_server.intervals import Range, union
from sync_server.tables import dropped_ranges, settled_ranges
from sync_server.turn import Turn

Life = tuple[str, int]
"""A device and one of its epochs: what sequence numbers are counted in."""


MAX_SETTLED_RANGES = 20_000  # of one epoch of a device; read in some 50 ms at every sync of it


def settled(connection: Connection, lives: Collection[Life]) -> dict[Life, list[Range]]:
    """What is settled so far, as `intervals.union` returns it."""
    found: dict[Life, list[Range]] = defaultdict(list)
    for row in rows_at(connection, settled_ranges, ("device_id", "epoch"), sorted(lives)):
        found[row.device_id, row.epoch].append((row.first, row.last))
    return {life: sorted(found[life]) for life in lives}


def added(before: Mapping[Life, list[Range]], newly: Mapping[Life, Iterable[Range]]) -> dict[Life, list[Range]]:
    """What is settled of some lives with more that was received or dropped."""
    return {life: union([*before[life], *ranges]) for life, ranges in newly.items()}


def check_settled(after: Mapping[Life, list[Range]]) -> None:
    """Raises LimitError where a device has left too many gaps: every later sync would read all that is between them."""
    for (_, epoch), ranges in after.items():
        if len(ranges) > MAX_SETTLED_RANGES:
            raise LimitError(
                f"epoch {epoch} would be settled in {len(ranges)} ranges, MAX_SETTLED_RANGES = {MAX_SETTLED_RANGES}: "
                "send or drop what lies between them first, the lowest numbers before the others"
            )


def settle(connection: Connection, before: Mapping[Life, list[Range]], after: Mapping[Life, list[Range]]) -> None:
    """Write down what is settled now.

    Args:
        before: as `settled` returned it in this transaction, of all lives in `after`.
        after: the same with more, as `added` returned it.
    """
    # One that grew keeps its first number, and is replaced; where two became one, the latter goes.
    gone = [
        (*life, first)
        for life, ranges in after.items()
        for first in {first for first, _ in before[life]} - {first for first, _ in ranges}
    ]
    delete_rows(connection, settled_ranges, sorted(gone))
    come = sorted((*life, *one) for life, ranges in after.items() for one in set(ranges) - set(before[life]))
    insert_rows(
        connection,
        settled_ranges,
        [dict(zip(("device_id", "epoch", "first", "last"), one, strict=True)) for one in come],
        "replace",
    )


def note_dropped(turn: Turn, told: Iterable[tuple[Life, Iterable[Dropped]]]) -> None:
    """Keep what devices said they had to give up."""
    rows = [
        {
            "device_id": device_id,
            "epoch": epoch,
            "first": one.range.first,
            "last": one.range.last,
            "counts": encode(one.counts).decode(),
            "received_at": turn.now_ms,
        }
        for (device_id, epoch), dropped in told
        for one in dropped
    ]
    insert_rows(turn.connection, dropped_ranges, rows, "keep")


def checked(ranges: Iterable[SeqRange]) -> list[Range]:
    """Ranges of a request as pairs.

    Raises:
        WireError: if a range ends before it starts.
    """
    pairs = [(one.first, one.last) for one in ranges]
    for first, last in pairs:
        if last < first:
            raise WireError(f"range [{first}, {last}] ends before it starts: send [first, last], both inclusive")
    return pairs
