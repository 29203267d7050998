"""What devices of any release send is taken."""

from pathlib import Path

import pytest
from sqlalchemy import update

from contracts.sync import VerdictKind
from sync_server import census, tables
from sync_server.damaged import read_request
from tests.contracts.wire_examples import DEVICE, FOLDER, LOGIN, SUFFIXES

FORMATS = {suffix: format for format, suffix in SUFFIXES.items()}


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("*/sync_request.*")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_a_sync_of_any_release_is_taken(world, path: Path) -> None:
    phone = world.phone()
    with world.store.write() as connection:
        connection.execute(update(tables.devices).values(device_id=DEVICE))
    phone.device_id = DEVICE
    phone.log_in(LOGIN)
    world.pass_hours(1)  # what was made before the decision would be refused
    format = FORMATS[path.suffix]
    request = read_request(path.read_bytes(), format)
    answer = world.wire.sync(DEVICE, request, format)
    assert [verdict.kind for verdict in answer.verdicts] == [VerdictKind.ACCEPTED] * len(request.events)
    assert (answer.watermark, answer.gaps) == (len(request.events) - 1, ())
    assert census.count_events(world.store) == len(request.events)
    assert census.profile(world.store, LOGIN).items
