"""One message of each kind with every field in use, as devices and servers of this release say it.

`python -m tests.contracts.wire_examples` writes them as the fixtures of the current release, once: what a release has
said stays as it is, and every later one must read it.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import msgspec

from contracts.codec import encode
from contracts.consent import Consent, ConsentFact, Purpose
from contracts.errors import ConfigError
from contracts.events import EVENT_CODES, Event, EventType, Money
from contracts.identity import DeviceRole
from contracts.rounds import RoundReceipt, RoundTask, RoundUpdate
from contracts.summary import Activity, OrderLine
from contracts.sync import (
    BundleOffer,
    Dropped,
    EnrolRequest,
    EnrolResponse,
    Heard,
    Problem,
    ProfileDelta,
    SeqRange,
    SyncRequest,
    SyncResponse,
    Verdict,
    VerdictKind,
)
from contracts.windows import HourCount

FOLDER = Path(__file__).parent / "wire_fixtures"
SUFFIXES = {"application/json": ".json", "application/msgpack": ".msgpack"}
NOW_MS = 1_700_000_000_000
DEVICE, LOGIN, CARD = "device-of-the-fixtures", "login:ada", "card:1"

EVENTS = tuple(
    Event(
        device_id=DEVICE,
        epoch=1,
        seq=seq,
        type=kind,
        owner=LOGIN,
        occurred_at=NOW_MS + seq,
        boot_id="boot-1",
        uptime_ms=60_000 + seq,
        item_id="milk",
        quantity=2,
        price=Money(199, "EUR"),
        order_id="order-1" if kind in (EventType.PURCHASE, EventType.REFUND) else None,
        context={"screen": "home"},
    )
    for seq, kind in enumerate(EventType)
)

REQUEST = SyncRequest(
    device_id=DEVICE,
    epoch=1,
    generation="generation-1",
    sent_at=NOW_MS + 1_000,
    boot_id="boot-1",
    uptime_ms=61_000,
    heard=Heard(server_time=NOW_MS - 1_000, boot_id="boot-1", uptime_ms=59_000),
    held=(SeqRange(9, 11), SeqRange(14, 14)),
    dropped=(Dropped(range=SeqRange(12, 13), counts={EventType.IMPRESSION: 2}),),
    owner=LOGIN,
    consents=tuple(
        ConsentFact(fact_id=f"fact-{purpose}", owner=LOGIN, purpose=purpose, granted=True, cites=0)
        for purpose in Purpose
    ),
    profile_version=7,
    bundle_version=3,
    accepts_tasks=False,
)

RESPONSE = SyncResponse(
    verdicts=tuple(
        Verdict(position=position, kind=kind, reason="a reason" if position else "")
        for position, kind in enumerate(VerdictKind)
    ),
    epoch=2,
    generation="generation-1",
    watermark=8,
    gaps=(SeqRange(15, 16),),
    profile=ProfileDelta(
        owner=LOGIN,
        base_version=7,
        version=9,
        items={"milk": Activity(((20, 2**30), (21, 2**20)), 472_222, EVENT_CODES[EventType.PURCHASE]), "tea": None},
        orders={"order-1": {"milk": OrderLine(472_222, 2, 398, True)}, "order-2": None},
        hours=(HourCount(472_222, EVENT_CODES[EventType.VIEW], 3),),
        consents={Purpose.ANALYTICS: Consent(version=2, granted=True)},
        owners=(LOGIN, CARD),
    ),
    bundle=BundleOffer(version=4, repository="/repository"),
    task=RoundTask(
        task_id="task-1",
        round_id="round-1",
        bundle_version=3,
        adapter=bytes(16),
        clipping_norm=1.0,
        learning_rate=0.1,
        epochs=2,
        deadline=NOW_MS + 3_600_000,
    ),
    server_time=NOW_MS,
    retry_after_s=60,
)

EXAMPLES: dict[str, msgspec.Struct] = {
    "enrol_request": EnrolRequest(
        public_key=bytes(range(32)),
        role=DeviceRole.TILL,
        challenge="challenge",
        attestation=b"attestation",
        staff_token="a staff token of the fixtures",
    ),
    "enrol_response": EnrolResponse(device_id=DEVICE, epoch=1, generation="generation-1", challenge="challenge"),
    "sync_request": REQUEST,
    "sync_response": RESPONSE,
    "round_update": RoundUpdate(task_id="task-1", delta=bytes(16)),
    "round_receipt": RoundReceipt(accepted=False, reason="late"),
    "problem": Problem(title="Bad Request", status=400, detail="the body is damaged: send it again"),
}


def with_events(request: SyncRequest, format: str) -> SyncRequest:
    """The request with `EVENTS` in it, which are in the request's own format."""
    return msgspec.structs.replace(request, events=tuple(msgspec.Raw(encode(event, format)) for event in EVENTS))


def release() -> str:
    """Of the wire: the version's first two numbers."""
    return ".".join(version("pocketrec").split(".")[:2])


def write(folder: Path) -> None:
    """Write all examples; raises ConfigError if the release has its fixtures already."""
    if folder.exists():
        raise ConfigError(f"{folder} is there already: what a release has said stays; raise the version first")
    folder.mkdir(parents=True)
    for name, example in EXAMPLES.items():
        for format, suffix in SUFFIXES.items():
            said = with_events(example, format) if isinstance(example, SyncRequest) else example
            (folder / f"{name}{suffix}").write_bytes(encode(said, format))


if __name__ == "__main__":
    try:
        write(FOLDER / release())
    except ConfigError as error:
        sys.exit(str(error))
