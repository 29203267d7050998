"""What any release has said is read by this one, with nothing passed over and nothing understood otherwise."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.codec import decode, encode
from contracts.events import Event
from contracts.sync import SyncRequest
from tests.contracts.wire_examples import EXAMPLES, FOLDER, SUFFIXES, release, with_events

FORMATS = {suffix: format for format, suffix in SUFFIXES.items()}
FIXTURES = sorted(path for path in FOLDER.glob("*/*") if path.suffix in FORMATS)


def plain(data: bytes, format: str) -> Any:
    """Without any type: every field that was said."""
    return msgspec.json.decode(data) if format.endswith("json") else msgspec.msgpack.decode(data)


def assert_kept(said: Any, understood: Any) -> None:
    """Whatever was said is still there after reading and writing it again; fields may have come."""
    if isinstance(said, dict):
        assert said.keys() <= understood.keys()
        for name, value in said.items():
            assert_kept(value, understood[name])
    elif isinstance(said, list):
        assert len(said) <= len(understood)
        for one, other in zip(said, understood, strict=False):
            assert_kept(one, other)
    else:
        assert said == understood


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_fixture_is_read_and_nothing_in_it_is_passed_over(path: Path) -> None:
    format = FORMATS[path.suffix]
    data = path.read_bytes()
    understood = decode(data, type(EXAMPLES[path.stem]), format)
    assert_kept(plain(data, format), plain(encode(understood, format), format))
    for raw in getattr(understood, "events", ()):
        event = decode(raw, Event, format)
        assert_kept(plain(bytes(raw), format), plain(encode(event, format), format))


@pytest.mark.parametrize("folder", sorted(FOLDER.iterdir()), ids=lambda folder: folder.name)
@pytest.mark.parametrize("name", EXAMPLES)
def test_both_formats_of_a_fixture_say_the_same(folder: Path, name: str) -> None:
    read = [
        decode((folder / f"{name}{suffix}").read_bytes(), type(EXAMPLES[name]), format)
        for format, suffix in SUFFIXES.items()
    ]
    if name == "sync_request":
        events = [
            [decode(raw, Event, format) for raw in one.events] for one, format in zip(read, SUFFIXES, strict=True)
        ]
        assert events[0] == events[1]
        read = [msgspec.structs.replace(one, events=()) for one in read]
    assert read[0] == read[1]


def test_this_release_says_all_that_its_fixtures_say() -> None:
    for name, example in EXAMPLES.items():
        for format, suffix in SUFFIXES.items():
            says = with_events(example, format) if isinstance(example, SyncRequest) else example
            said = (FOLDER / release() / f"{name}{suffix}").read_bytes()
            assert_kept(plain(said, format), plain(encode(says, format), format))
