"""Delay tiers: by no route and with no cursor does a delayed reader see anything early, and nothing is missing."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import msgspec
import pytest
from starlette.applications import Starlette

from eventhub import web
from eventhub.delivery.past import Past
from eventhub.delivery.resume import Follower
from eventhub.delivery.tiers import Tiers
from eventhub.server import Listener, bind
from tests.delivery.conftest import MakeWorld
from tests.delivery.memory import match
from tests.delivery.world import SMALL, Client, World, until

DELAY_S = 0.3
LATE = replace(SMALL, plan_delays_s={"free": DELAY_S, "pro": 0}, match_delays_s=(0.5,), page_events=50)
Read = Callable[[], Awaitable[list[str]]]


@pytest.fixture
async def world(make_world: MakeWorld) -> World:
    """A node on which `free` is late, and which has been up for as long."""
    return await warm(make_world(LATE))


async def warm(world: World) -> World:
    await world.start()
    await until(lambda: all(tier.warm for tier in world.delivery._tiers._tiers.values()), "the tiers")
    return world


@asynccontextmanager
async def reading(world: World, plan: str) -> AsyncIterator[httpx2.AsyncClient]:
    """The GET routes, read with this plan."""
    app = Starlette(routes=world.delivery.routes(), exception_handlers=web.handlers())
    headers = {"Authorization": f"Bearer good@{plan}"}
    async with (
        Listener(app, bind("127.0.0.1", 0, exact=True, setting="port")) as at,
        httpx2.AsyncClient(base_url=at.url, headers=headers) as http,
    ):
        yield http


async def first_seen(read: Read, wanted: str) -> float:
    """The loop's time at which an answer has it for the first time."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        while wanted not in await read():
            await asyncio.sleep(0.005)
    return loop.time()


def late_by(world: World, kind: str = "c:goal") -> tuple[str, float]:
    """Append an event, and a state that holds it; returns the event's id and when it was."""
    record = world.log.append("m0", kind)
    world.log.state("m0", record.offset, note=f"after {record.offset}")
    return msgspec.json.decode(record.value or b"")["event_id"], asyncio.get_running_loop().time()


def sheets_of(client: Client) -> list[str]:
    told = [m["state"] for name in ("state", "reset") for m in client.of_type(name)]
    return [sheet["note"] for sheet in told if "note" in sheet]


async def on_a_socket(world: World, **how: Any) -> float:
    """How late a subscriber sees an event."""
    client = world.client("good@free")
    client.subscribe("match:m0", **how)
    await until(lambda: bool(client.of_type("subscribed")), "the answer")
    wanted, at = late_by(world)
    return await first_seen(lambda: _done(client.ids), wanted) - at


async def _done(found: list[str]) -> list[str]:
    return found


async def test_live_events_come_late_and_the_answer_says_how_late(world: World) -> None:
    fast = world.client("good@pro")
    fast.subscribe("match:m0")
    late_s = await on_a_socket(world)
    assert DELAY_S <= late_s < DELAY_S + 1
    assert [m["delay_s"] for m in fast.of_type("subscribed")] == [0]
    assert len(fast.ids) == 2


async def resumed_with_the_cursor_of_a_fast_account(world: World) -> float:
    fast = world.client("good@pro")
    fast.subscribe("match:m0")
    late_by(world)
    await until(lambda: len(fast.ids) == 2, "the fast one")
    ahead = fast.of_type("event")[-1]["cursor"]
    slow = world.client("good@free")
    slow.subscribe("match:m0", cursor=ahead)
    wanted, at = late_by(world)
    await until(lambda: wanted in slow.ids, "what follows the cursor")
    assert slow.ids[0] == wanted, "the cursor was not waited for, or something was sent twice"
    return asyncio.get_running_loop().time() - at


async def test_a_cursor_of_a_fast_account_waits(world: World) -> None:
    assert await resumed_with_the_cursor_of_a_fast_account(world) >= DELAY_S


async def from_the_start(world: World) -> float:
    """A resume over everything, ring and history being further than the horizon."""
    wanted, at = late_by(world)
    world.history.store()
    await world.tailed()
    client = world.client("good@free")
    client.subscribe("match:m0", from_="start")
    return await first_seen(lambda: _done(client.ids), wanted) - at


async def test_a_resume_over_the_past_ends_at_the_horizon(world: World) -> None:
    assert await from_the_start(world) >= DELAY_S


@pytest.mark.parametrize("how", [{}, {"cursor": "other.0.7"}], ids=["state", "reset"])
async def test_the_state_is_late_too(world: World, how: dict[str, str]) -> None:
    _, at = late_by(world)
    await world.tailed()
    early = world.client("good@free")
    early.subscribe("match:m0", **how)
    await until(lambda: bool(early.of_type("subscribed")), "the answer")
    assert sheets_of(early) == []

    async def seen() -> list[str]:
        client = world.client("good@free")
        client.subscribe("match:m0", **how)
        await until(lambda: bool(client.of_type("subscribed")), "the answer")
        return sheets_of(client)

    assert await first_seen(seen, "after 0") - at >= DELAY_S


@pytest.mark.parametrize("channel", ["scores", "competition:cup", "team:t1"])
async def test_channels_over_matches_are_late(world: World, channel: str) -> None:
    client = world.client("good@free")
    client.subscribe(channel)
    await until(lambda: bool(client.of_type("subscribed")), "the answer")
    _, at = late_by(world)

    async def seen() -> list[str]:
        of_team = [m["event"]["payload"]["sheet"]["note"] for m in client.of_type("event") if "payload" in m["event"]]
        return sheets_of(client) + of_team

    assert await first_seen(seen, "after 0") - at >= DELAY_S


async def by_http(world: World, path: str, pick: Callable[[Any], list[str]]) -> tuple[float, bool]:
    """How late an event is seen, and whether it was in the very first answer."""
    async with reading(world, "pro") as fast, reading(world, "free") as slow:
        for http in (fast, slow):
            await http.get(path)
        _, at = late_by(world)
        world.history.store()
        await world.tailed()
        assert "after 0" in pick((await fast.get(path)).json()) or "0-0" in pick((await fast.get(path)).json())

        async def seen() -> list[str]:
            return [x for x in pick((await slow.get(path)).json()) if x in ("after 0", "0-0")][:1]

        at_once = bool(await seen())
        async with asyncio.timeout(10):
            while not await seen():
                await asyncio.sleep(0.005)
    return asyncio.get_running_loop().time() - at, at_once


HTTP: dict[str, Callable[[Any], list[str]]] = {
    "/v1/matches": lambda body: [sheet.get("note", "") for sheet in body["items"]],
    "/v1/matches/m0": lambda body: [body.get("note", "")],
    "/v1/matches/m0/events": lambda body: [event["event_id"] for event in body["items"]],
}


@pytest.mark.parametrize("path", HTTP)
async def test_the_routes_are_late(world: World, path: str) -> None:
    late_s, _ = await by_http(world, path, HTTP[path])
    assert late_s >= DELAY_S


async def test_sse_is_late(world: World) -> None:
    async with reading(world, "free") as http:
        async with http.stream("GET", "/v1/stream/sse", params={"channel": "match:m0"}) as answer:
            lines = answer.aiter_lines()
            while "subscribed" not in await anext(lines):
                pass
            wanted, at = late_by(world)
            while wanted not in await anext(lines):
                pass
    assert asyncio.get_running_loop().time() - at >= DELAY_S


async def test_nothing_of_a_delayed_stream_is_missing_or_twice(world: World) -> None:
    clients = [world.client("good@free") for _ in range(3)]
    expected = []
    for turn, client in enumerate(clients):
        expected += [msgspec.json.decode(world.log.append("m0").value or b"")["event_id"] for _ in range(70)]
        client.subscribe("match:m0", from_="start")
        await until(lambda turn=turn: len(clients[0].ids) >= turn * 70, "the first one")  # type: ignore[misc]
    await until(lambda: all(len(client.ids) == len(expected) for client in clients), "all events")
    assert all(client.ids == expected for client in clients)


async def test_the_larger_of_plan_and_match_decides(world: World) -> None:
    world.registry["m0"] = msgspec.structs.replace(match("m0"), delay_s=0.5)
    client = world.client("good@pro")
    client.subscribe("match:m0")
    wanted, at = late_by(world)
    assert await first_seen(lambda: _done(client.ids), wanted) - at >= 0.5
    assert client.of_type("subscribed")[0]["delay_s"] == 0.5


async def moved(world: World, channel: str, deadline_s: float = 10) -> None:
    """A match is declared with a delay while somebody follows it."""
    client = world.client("good@pro")
    client.subscribe(channel)
    before, _ = late_by(world)
    await until(lambda: before in client.ids, "what came before")
    world.registry["m0"] = msgspec.structs.replace(match("m0"), delay_s=0.5)
    after, _ = late_by(world)
    await until(lambda: client.closed is not None, "the client to be sent away", deadline_s)
    assert client.closed == (3009, "delayed")
    assert after not in client.ids
    again = world.client("good@pro")
    again.subscribe(channel, cursor=client.of_type("reconnect")[0]["cursors"][channel])
    await until(lambda: after in again.ids, "the rest")
    assert before not in again.ids


@pytest.mark.parametrize("channel", ["match:m0", "team:t1"])
async def test_a_match_that_is_delayed_later_moves_its_followers(world: World, channel: str) -> None:
    await moved(world, channel)


async def test_a_board_leaves_out_what_is_too_slow_for_it(world: World) -> None:
    world.registry["m0"] = msgspec.structs.replace(match("m0"), delay_s=0.5)
    client = world.client("good@pro")
    client.subscribe("competition:cup")
    late_by(world)
    world.log.state("m1", 0, note="of m1")
    await until(lambda: "of m1" in sheets_of(client), "the other match")
    assert sheets_of(client) == ["of m1"]


async def test_a_slower_plan_holds_for_the_open_socket(world: World) -> None:
    client = world.client("good@pro")
    client.subscribe("match:m0")
    client.say(id=9, type="refresh", token="good@free")
    assert client.closed == (3009, "delayed")


async def test_a_plan_that_is_not_named_has_the_longest_delay() -> None:
    tiers = Tiers({"free": 30, "pro": 5}, ())
    assert (tiers.delay_s("free"), tiers.delay_s("pro"), tiers.delay_s("other")) == (30, 5, 30)
    assert Tiers({}, (60,)).delay_s("other") == 0


async def test_a_node_that_has_just_started_shows_a_delayed_reader_nothing(make_world: MakeWorld) -> None:
    world = make_world(replace(LATE, plan_delays_s={"free": 3600}))
    late_by(world)
    await world.start()
    client = world.client("good@free")
    client.subscribe("match:m0")
    (error,) = client.of_type("error")
    assert (error["code"], error["retry_after_ms"]) == ("unavailable", 5000)
    async with reading(world, "free") as http:
        assert [(await http.get(path)).status_code for path in HTTP] == [503] * 3


async def test_a_match_with_a_delay_that_no_tier_has_is_refused(world: World) -> None:
    world.registry["m0"] = msgspec.structs.replace(match("m0"), delay_s=7200)
    client = world.client("good@pro")
    client.subscribe("match:m0")
    assert "delivery.match_delays_s" in client.of_type("error")[0]["message"]


async def test_mutant_pages_without_a_horizon_are_early(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Past, "page", lambda self, m, after, limit, view, *, over_gaps=False: self._page(
        m, after, limit, view, over_gaps))  # fmt: skip
    path = "/v1/matches/m0/events"
    assert (await by_http(world, path, HTTP[path]))[1]


async def test_mutant_states_of_now_are_early(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    live = world.delivery._feed.sheets
    for tier in world.delivery._tiers._tiers.values():
        monkeypatch.setattr(tier.feed.sheets, "of", live.of)
    assert (await by_http(world, "/v1/matches/m0", HTTP["/v1/matches/m0"]))[1]


async def test_mutant_a_cursor_that_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Follower, "_ahead", lambda self, groups: {})
    with pytest.raises(AssertionError, match="the cursor was not waited for"):
        await resumed_with_the_cursor_of_a_fast_account(world)


async def test_mutant_a_hub_that_knows_no_delay_of_matches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for feed in (world.delivery._feed, *(tier.feed for tier in world.delivery._tiers._tiers.values())):
        monkeypatch.setattr(feed.hub, "_delay_s", math.inf)
    with pytest.raises(AssertionError, match="the client to be sent away"):
        await moved(world, "match:m0", 1)
