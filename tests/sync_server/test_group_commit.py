"""Requests that wait together are answered together, each with its own answer."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest

from contracts.errors import WireError
from sync_server.group_commit import MAX_EVENTS_TOGETHER, GroupCommit


def request(device: str, events: int = 1) -> SimpleNamespace:
    return SimpleNamespace(device_id=device, received=[None] * events)


class Turns:
    """Notes who went together; the first turn waits until it is let go, so that others queue behind it."""

    def __init__(self, answer: Callable = lambda one: one.device_id) -> None:
        self.groups: list[list[str]] = []
        self.let_go = threading.Event()
        self._answer = answer

    def take(self, group: Sequence[SimpleNamespace]) -> list:
        self.groups.append([one.device_id for one in group])
        assert self.let_go.wait(30)
        return [self._answer(one) for one in group]


async def behind_a_first(turns: Turns, *requests: SimpleNamespace) -> list:
    """The answers to requests that came while a first one was in its turn."""
    commit = GroupCommit(turns.take)
    try:
        first = asyncio.create_task(commit.sync(request("first")))
        while not turns.groups:
            await asyncio.sleep(0)
        rest = [asyncio.create_task(commit.sync(one)) for one in requests]
        await asyncio.sleep(0)
        turns.let_go.set()
        return (await asyncio.gather(first, *rest, return_exceptions=True))[1:]
    finally:
        turns.let_go.set()
        await asyncio.to_thread(commit.close)


def test_what_waits_goes_together_and_everybody_gets_their_own_answer():
    turns = Turns()
    assert asyncio.run(behind_a_first(turns, request("a"), request("b"), request("c"))) == ["a", "b", "c"]
    assert turns.groups == [["first"], ["a", "b", "c"]]


def test_a_device_goes_once_in_a_turn_and_its_requests_keep_their_order():
    turns = Turns()
    answers = asyncio.run(behind_a_first(turns, request("a"), request("a"), request("b"), request("a")))
    assert answers == ["a", "a", "b", "a"]
    assert turns.groups == [["first"], ["a", "b"], ["a"], ["a"]]


def test_a_turn_takes_no_more_events_than_everybody_can_wait_for():
    turns = Turns()
    many = [request(str(number), MAX_EVENTS_TOGETHER // 2) for number in range(5)]
    asyncio.run(behind_a_first(turns, *many))
    assert turns.groups == [["first"], ["0", "1"], ["2", "3"], ["4"]]


def test_an_error_of_one_request_is_its_own():
    def answer(one: SimpleNamespace) -> object:
        return WireError("no") if one.device_id == "bad" else one.device_id

    found = asyncio.run(behind_a_first(Turns(answer), request("a"), request("bad"), request("b")))
    assert found[0::2] == ["a", "b"]
    assert isinstance(found[1], WireError)


def test_where_a_whole_turn_fails_each_is_tried_alone():
    def answer(one: SimpleNamespace) -> object:
        if one.device_id == "poison":
            raise RuntimeError("the database would not have it")
        return one.device_id

    turns = Turns(answer)
    found = asyncio.run(behind_a_first(turns, request("a"), request("poison"), request("b")))
    assert found[0::2] == ["a", "b"]
    assert isinstance(found[1], RuntimeError)
    assert turns.groups == [["first"], ["a", "poison", "b"], ["a"], ["poison"], ["b"]]


def test_closing_answers_everybody_first():
    async def scenario() -> list:
        turns = Turns()
        commit = GroupCommit(turns.take)
        waiting = [asyncio.create_task(commit.sync(request(name))) for name in "ab"]
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(commit.close))
        await asyncio.sleep(0)
        turns.let_go.set()
        await closing
        return await asyncio.gather(*waiting)

    assert asyncio.run(scenario()) == ["a", "b"]


def test_who_stops_waiting_hinders_nobody():
    async def scenario() -> str:
        turns = Turns()
        commit = GroupCommit(turns.take)
        gone, stays = (asyncio.create_task(commit.sync(request(name))) for name in "ab")
        await asyncio.sleep(0)
        gone.cancel()
        turns.let_go.set()
        try:
            with pytest.raises(asyncio.CancelledError):
                await gone
            return await stays
        finally:
            await asyncio.to_thread(commit.close)

    assert asyncio.run(scenario()) == "b"
