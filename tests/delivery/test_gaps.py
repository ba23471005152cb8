"""What history never got is told: a reset to who resumes across it, a word on the page that lacks it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from eventhub.delivery import Limits
from eventhub.delivery.past import Past
from eventhub.delivery.shared import Fetched
from eventhub.record import LogRecord, Lost, Seed
from tests.delivery.conftest import MakeWorld
from tests.delivery.memory import MemoryHistory
from tests.delivery.world import World, until

SMALL_RING = Limits(window_s=0.001, page_events=4, ring_bytes=1)


def with_gap(make_world: MakeWorld) -> World:
    """Ten events of m0; history has the first and those above offset 5, the log begins at 6, memory holds none."""
    world = make_world(SMALL_RING)
    for _ in range(10):
        world.log.append("m0")
    world.log.first[0] = world.log.start[0] = 6
    world.history.store()
    world.history.gaps[0] = 5
    return world


async def resumes_across_a_gap_are_reset(make_world: MakeWorld) -> None:
    world = with_gap(make_world)
    await world.start()
    client = world.client()
    client.subscribe("match:m0", cursor="e1.0.1")
    await until(lambda: len(client.ids) >= 4, "events")
    assert [m["reason"] for m in client.of_type("reset")] == ["gone"], "a gap that nobody told of"
    assert client.of_type("reset")[0]["cursor"] == "e1.0.5"
    assert client.of_type("subscribed")[0]["recovered"] is False
    assert client.ids == ["0-6", "0-7", "0-8", "0-9"]


async def test_resumes_across_a_gap_are_reset(make_world: MakeWorld) -> None:
    await resumes_across_a_gap_are_reset(make_world)


async def test_mutant_a_history_that_knows_of_no_gap_is_found_out(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(self: MemoryHistory, partition: int, after: int) -> None:
        return

    monkeypatch.setattr(MemoryHistory, "lost_above", none)
    with pytest.raises(AssertionError, match="nobody told of"):
        await resumes_across_a_gap_are_reset(make_world)


async def test_a_resume_behind_the_gap_is_whole(make_world: MakeWorld) -> None:
    world = with_gap(make_world)
    await world.start()
    client = world.client()
    client.subscribe("match:m0", cursor="e1.0.5")
    await until(lambda: len(client.ids) == 4, "events")
    assert client.of_type("reset") == []
    assert client.of_type("subscribed")[0]["recovered"] is True


async def test_a_reset_never_leads_back_before_what_is_gone(make_world: MakeWorld) -> None:
    world = with_gap(make_world)
    world.seeds.sheets = {"m0": Seed(b'{"match_id":"m0","status":"live"}', 2)}
    await world.start()
    client = world.client()
    client.subscribe("match:m0", **{"from": "start"})
    await until(lambda: len(client.ids) == 4, "events")
    assert [m["cursor"] for m in client.of_type("reset")] == ["e1.0.5"]
    assert client.of_type("error") == []


async def test_a_page_across_the_gap_says_that_it_may_lack_events(make_world: MakeWorld) -> None:
    world = with_gap(make_world)
    await world.start()
    app = Starlette(routes=world.delivery.routes())
    headers = {"Authorization": "Bearer good"}
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://node", headers=headers) as http:
        page = (await http.get("/v1/matches/m0/events")).json()
        later = (await http.get("/v1/matches/m0/events", params={"cursor": "e1.0.5"})).json()
    assert (len(page["items"]), page["incomplete"]) == (10, True)
    assert len(later["items"]) == 4 and "incomplete" not in later


async def test_a_log_that_ends_before_what_was_read_is_told(world: World) -> None:
    told: list[Lost] = []

    async def tell(lost: Lost) -> None:
        told.append(lost)

    world.delivery.tail._log_was_cut = tell
    records = [world.log.append("m0") for _ in range(5)]
    await world.start()
    await world.tailed()
    del world.log.records[0][3:]
    # What the client does of itself: it begins again at the first record.
    world.delivery.tail.take(records[:3])
    world.log.append("m1")
    await until(lambda: told != [], "the log to be told of")
    assert told[0] == (0, 4, 3)
    assert world.delivery.tail.alarms >= 1


async def test_offsets_of_a_raw_topic_that_was_made_anew_are_no_alarm(world: World) -> None:
    await world.start()
    tail = world.delivery.tail

    def one(offset: int, raw: int, lives: bytes) -> LogRecord:
        return LogRecord(0, offset, "m0", "n:pass", b"{}", 0, (raw,), lives)

    tail.take([one(0, 7, b"old"), one(1, 0, b"new")])
    assert tail.alarms == 0
    tail.take([one(2, 5, b"new"), one(3, 4, b"new")])
    assert tail.alarms == 1


async def a_log_that_is_cut_while_it_is_scanned(make_world: MakeWorld) -> None:
    world = make_world(SMALL_RING)
    for _ in range(10):
        world.log.append("m0")
    world.log.start[0] = 10
    read = world.log.read

    def cut_and_read(partition: int, start: int, end: int) -> AsyncIterator[list[LogRecord]]:
        world.log.first[0] = 6
        return read(partition, start, end)

    world.log.read = cut_and_read  # type: ignore[method-assign]
    await world.start()
    client = world.client()
    client.subscribe("match:m0", cursor="e1.0.1")
    await until(lambda: "0-9" in client.ids, "events")
    assert [m["reason"] for m in client.of_type("reset")] == ["gone"], "a gap that nobody told of"
    assert client.ids == ["0-6", "0-7", "0-8", "0-9"]


async def test_a_log_that_is_cut_while_it_is_scanned_is_told(make_world: MakeWorld) -> None:
    await a_log_that_is_cut_while_it_is_scanned(make_world)


async def test_mutant_that_looks_only_before_the_scan(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Past._scan

    async def as_before(self: Past, partition: int, begins: int) -> Fetched[Any]:
        first = max(begins, (await self._source.beginnings())[partition])
        scanned = await scan(self, partition, begins)
        return scanned._replace(value=scanned.value._replace(first=first))

    monkeypatch.setattr(Past, "_scan", as_before)
    with pytest.raises(AssertionError, match="a gap that nobody told of"):
        await a_log_that_is_cut_while_it_is_scanned(make_world)
