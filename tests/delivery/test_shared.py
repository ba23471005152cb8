"""Thousands who resume at once: what they ask for is fetched once, and given to each of them whole."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

import pytest

from eventhub.delivery import Limits
from eventhub.delivery.past import CHUNK
from eventhub.delivery.shared import Fetched, Kept, Shared
from eventhub.errors import UnavailableError
from tests.delivery.conftest import MakeWorld
from tests.delivery.world import Client, World, until

CLIENTS = 200
EVENTS = 3 * CHUNK
ONLY_THE_PAST = Limits(
    window_s=0.001, ring_bytes=1, changes_per_minute=10_000, changes_burst=1000, connections_per_user=1000
)


def long_ago(make_world: MakeWorld) -> World:
    """Events of m0 and m2 (and m1) of which memory holds next to nothing."""
    world = make_world(ONLY_THE_PAST)
    for number in range(EVENTS):
        world.log.append(("m0", "m1", "m2", "m1")[number % 4])
    return world


async def resumed(world: World, channels: list[str], cursors: Callable[[int], dict[str, Any]]) -> list[Client]:
    """Clients that resume at the same time, when each has everything."""
    clients = [world.client() for _ in range(CLIENTS)]
    for number, client in enumerate(clients):
        wanted = [{"channel": channel, **cursors(number)} for channel in channels]
        client.say(id=2, type="subscribe", channels=wanted)
    await until(lambda: all(_last(client) for client in clients), "everybody to be live", 30)
    return clients


def _last(client: Client) -> bool:
    followers = client.connection.subscriptions._followers.values()
    return bool(followers) and all(follower.live for follower in followers)


def from_start(_: int) -> dict[str, Any]:
    return {"from": "start"}


def spread(number: int) -> dict[str, Any]:
    return {"cursor": f"e1.0.{number * 3}"}


async def of_history(make_world: MakeWorld, cursors: Callable[[int], dict[str, Any]]) -> int:
    """How many pages history is asked for; every client gets exactly what came after its cursor."""
    world = long_ago(make_world)
    world.history.store()
    await world.start()
    clients = await resumed(world, ["match:m0"], cursors)
    due = [f"0-{record.offset}" for record in world.log.of("m0")]
    for number, client in enumerate(clients):
        after = int(cursors(number).get("cursor", "e1.0.-1").rpartition(".")[2])
        assert client.ids == [name for name in due if int(name[2:]) > after]
    return world.history.pages


async def test_a_page_of_history_is_fetched_once_for_all_who_resume(make_world: MakeWorld) -> None:
    assert await of_history(make_world, from_start) <= 3


async def test_so_is_one_that_clients_with_different_cursors_share(make_world: MakeWorld) -> None:
    assert await of_history(make_world, spread) <= 3


async def of_the_log(make_world: MakeWorld) -> int:
    """How often the log is scanned when history is away, for four matches on two partitions."""
    world = long_ago(make_world)
    world.history.down = True
    await world.start()
    channels = ["match:m0", "match:m1", "match:m2", "team:t1"]
    for client in await resumed(world, channels, from_start):
        assert len(client.ids) == 2 * EVENTS
    return world.log.reads


async def test_one_scan_of_a_partition_serves_all_matches_and_all_clients(make_world: MakeWorld) -> None:
    # Two chunks of each partition; the one at the end is not kept, and whoever comes later asks for it again.
    assert await of_the_log(make_world) <= 20


async def test_frames_of_a_resume_are_built_once(make_world: MakeWorld) -> None:
    world = long_ago(make_world)
    world.history.store()
    await world.start()
    first, *others = await resumed(world, ["match:m0"], from_start)
    mine = {id(raw) for raw in first.raw}
    assert all(sum(id(raw) not in mine for raw in other.raw) <= 2 for other in others), "frames that are not shared"


async def test_a_frame_that_is_kept_is_never_given_for_other_events(make_world: MakeWorld) -> None:
    world = long_ago(make_world)
    world.history.store()
    await world.start()
    goals, everything = world.client(), world.client()
    goals.subscribe("match:m0", from_="start", types=["goal"])
    everything.subscribe("match:m0", from_="start")
    await until(lambda: len(everything.ids) == EVENTS // 4, "all events")
    assert goals.ids == []


async def answer() -> Fetched[int]:
    await asyncio.sleep(0)
    return Fetched(7, 10)


async def test_an_error_is_told_to_all_who_wait_and_is_not_kept() -> None:
    shared: Shared[int] = Shared(100, 1)

    async def fail() -> Fetched[int]:
        await asyncio.sleep(0)
        raise UnavailableError("away")

    told = await asyncio.gather(*(shared.get("key", fail) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in told] == [UnavailableError] * 3
    assert await shared.get("key", answer) == 7


async def test_one_who_goes_away_does_not_take_the_answer_from_the_others() -> None:
    shared: Shared[int] = Shared(100, 1)
    leaves = asyncio.create_task(shared.get("key", answer))
    stays = asyncio.create_task(shared.get("key", answer))
    await asyncio.sleep(0)
    leaves.cancel()
    assert await stays == 7


async def test_no_more_than_so_many_questions_are_under_way() -> None:
    shared: Shared[int] = Shared(100, 2)
    now, most = 0, 0

    async def slow() -> Fetched[int]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return Fetched(1, 0)

    await asyncio.gather(*(shared.get(number, slow) for number in range(20)))
    assert most == 2


def test_what_is_kept_is_bounded_and_the_oldest_goes_first() -> None:
    kept: Kept[str] = Kept(20)
    for name in ("a", "b"):
        kept.put(name, Fetched(name, 10))
    assert kept.get("a") == "a"
    kept.put("c", Fetched("c", 10))
    kept.put("huge", Fetched("huge", 21))
    kept.put("passing", Fetched("passing", 0))
    assert [kept.get(name) for name in ("a", "b", "c", "huge", "passing")] == ["a", None, "c", None, None]


async def _each_for_itself(self: Shared[Any], _: Hashable, fetch: Callable[[], Awaitable[Fetched[Any]]]) -> Any:
    return (await fetch()).value


async def test_mutant_each_fetches_for_itself(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shared, "get", _each_for_itself)
    assert await of_history(make_world, from_start) >= CLIENTS


async def test_mutant_each_scans_for_itself(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shared, "get", _each_for_itself)
    monkeypatch.setattr("tests.delivery.test_shared.CLIENTS", 20)
    assert await of_the_log(make_world) >= 20
