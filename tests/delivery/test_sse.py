"""The stream as Server-Sent Events: the same messages, resumed by Last-Event-ID."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import httpx2
import pytest
from starlette.applications import Starlette

from eventhub import web
from eventhub.delivery import Limits
from eventhub.delivery.sse import EventsWire
from eventhub.server import Listener, bind
from tests.delivery.conftest import MakeWorld
from tests.delivery.memory import match
from tests.delivery.world import SMALL, World, until

AUTHORIZED = {"Authorization": "Bearer good"}


class Event(NamedTuple):
    id: str | None
    name: str
    data: dict[str, Any]


class Source:
    """An EventSource as far as these tests need one."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def read(self, answer: httpx2.Response) -> None:
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                self.events.append(Event(fields.get("id"), fields["event"], json.loads(fields["data"])))
                fields = {}

    @property
    def ids(self) -> list[str]:
        return [one.data["event"]["event_id"] for one in self.events if one.name == "event"]


@asynccontextmanager
async def served(world: World) -> AsyncIterator[str]:
    await world.start()
    app = Starlette(routes=world.delivery.routes(), exception_handlers=web.handlers())
    async with Listener(app, bind("127.0.0.1", 0, exact=True, setting="port")) as listening:
        yield listening.url


@asynccontextmanager
async def opened(url: str, query: str, **headers: str) -> AsyncIterator[Source]:
    source = Source()
    async with (
        httpx2.AsyncClient(timeout=10) as http,
        http.stream("GET", f"{url}/v1/stream/sse?{query}", headers=AUTHORIZED | headers) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        reading = asyncio.create_task(source.read(answer))
        try:
            yield source
        finally:
            reading.cancel()


async def test_a_channel_is_followed_and_resumed_by_the_last_id(world: World) -> None:
    async with served(world) as url:
        async with opened(url, "channel=match:m0") as first:
            await until(lambda: len(first.events) == 2)
            assert [one.name for one in first.events] == ["subscribed", "state"]
            world.log.append("m0", "c:goal", player="Jürgen\nKlopp")
            await until(lambda: first.ids == ["0-0"])
            assert first.events[-1].data["event"]["player"] == "Jürgen\nKlopp"
            assert first.events[-1].id == first.events[-1].data["cursor"] == "e1.0.0"
        await until(lambda: world.delivery.connections == 0, "leaving")
        for _ in range(5):
            world.log.append("m0", "n:pass")
        await world.tailed()
        async with opened(url, "channel=match:m0&cursor=e1.0.-1", **{"Last-Event-ID": "e1.0.2"}) as second:
            await until(lambda: second.ids == ["0-3", "0-4", "0-5"])
            assert second.events[0].data["recovered"] is True


async def test_views_and_the_whole_history(world: World) -> None:
    for kind in ("n:pass", "c:goal", "n:shot", "c:goal"):
        world.log.append("m0", kind)
    async with served(world) as url, opened(url, "channel=match:m0&from=start&types=goal,shot") as source:
        await until(lambda: source.ids == ["0-1", "0-2", "0-3"])
        world.log.append("m0", "n:pass")
        world.log.append("m0", "n:shot")
        await until(lambda: source.ids == ["0-1", "0-2", "0-3", "0-5"])


async def test_a_heartbeat_moves_the_id_on(make_world: MakeWorld) -> None:
    world = make_world(replace(SMALL, ping_s=0.05))
    async with served(world) as url, opened(url, "channel=match:m0&lanes=critical") as source:
        await until(lambda: source.events != [])
        world.log.append("m0", "n:pass")
        await until(lambda: source.events[-1].id == "e1.0.0")
        assert source.events[-1].name == "heartbeat"


async def test_draining_tells_when_to_come_back_and_ends(world: World) -> None:
    async with served(world) as url, opened(url, "channel=match:m0") as source:
        await until(lambda: len(source.events) == 2)
        await world.delivery.drain(0.1)
        await until(lambda: source.events[-1].name == "reconnect")
        await until(lambda: world.delivery.connections == 0)


async def test_a_reader_that_stops_is_freed_and_nothing_piles_up(make_world: MakeWorld) -> None:
    world = make_world(Limits(window_s=0.001, stuck_s=0.2, close_timeout_s=0.2))
    async with served(world) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(b"GET /v1/stream/sse?channel=match:m0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n\r\n")
        await reader.readuntil(b"subscribed")
        most = 0
        for _ in range(3000):
            world.log.append("m0", "n:pass", pad="x" * 1000)
            await world.tailed()
            most = max(most, world.delivery._feed.backlog.held_bytes)
        assert 0 < most <= 262_144
        writer.transport.abort()
        await until(lambda: world.delivery.connections == 0, "the reader to be freed")


async def test_who_goes_before_the_first_part_leaves_nothing(world: World) -> None:
    async with served(world) as url:
        host, port = url.removeprefix("http://").split(":")
        for _ in range(20):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                b"GET /v1/stream/sse?channel=match:m0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n\r\n"
            )
            writer.transport.abort()
        async with opened(url, "channel=match:m0") as last:
            await until(lambda: last.events != [])
            await until(lambda: world.delivery.connections == 1)
    assert world.delivery._feed.doors.count == 0


async def test_a_head_of_the_stream_opens_none(world: World) -> None:
    async with served(world) as url, httpx2.AsyncClient() as http:
        answer = await http.head(f"{url}/v1/stream/sse?channel=match:m0", headers=AUTHORIZED)
        assert answer.status_code == 200 and world.delivery.connections == 0


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {}, 400),
        ("channel=match:m0&channel=match:m1", {}, 400),
        ("channel=match:m9", {}, 404),
        ("channel=match:m0&cursor=nonsense", {}, 400),
        ("channel=match:m0&from=middle", {}, 400),
        ("channel=match:m0&types=odd", {}, 400),
        ("channel=match:m0", {"Authorization": "Bearer bad"}, 401),
        ("channel=match:m0&token=good", {"Authorization": ""}, 401),
        ("channel=match:m0", {"Origin": "https://evil.com"}, 403),
    ],
)
async def test_what_cannot_be_given_is_a_problem_and_leaves_no_connection(
    world: World, query: str, headers: dict[str, str], status: int
) -> None:
    async with served(world) as url, httpx2.AsyncClient() as http:
        answer = await http.get(f"{url}/v1/stream/sse?{query}", headers=AUTHORIZED | headers)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert world.delivery.connections == 0 and world.delivery._feed.doors.count == 0


async def test_a_match_declared_elsewhere_is_asked_for(world: World) -> None:
    world.declared_elsewhere["m4"] = match("m4")
    async with served(world) as url, opened(url, "channel=match:m4") as source:
        await until(lambda: source.events != [])
    assert world.asked == 1


async def test_it_finds_out_a_wire_that_keeps_everything(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep(self: EventsWire, frame: Any) -> None:
        self._parts.append(frame.data)
        self._held_bytes += frame.size_bytes
        self._news.set()

    monkeypatch.setattr(EventsWire, "write", keep)
    with pytest.raises(AssertionError):
        await test_a_reader_that_stops_is_freed_and_nothing_piles_up(make_world)
