"""Whoever joins, whenever and wherever from: every event once, in order."""

import asyncio
import random

import pytest

from eventhub.delivery import Limits
from eventhub.delivery.hub import Hub
from eventhub.delivery.sheets import Sheets
from eventhub.record import LogRecord
from tests.delivery.conftest import MakeWorld
from tests.delivery.memory import MemoryLog
from tests.delivery.world import Client, World, until

KINDS = ("n:pass", "n:pass", "n:duel", "b:tracking_frame", "c:goal", "n:shot")
TINY_RING = Limits(window_s=0.001, page_events=4, ring_bytes=3000)


def wanted(log: MemoryLog, channel: str, after: dict[int, int], kinds: tuple[str, ...] = ()) -> dict[int, list[str]]:
    matches = [channel.removeprefix("match:")] if channel.startswith("match:") else ["m0", "m1", "m2"]
    found: dict[int, list[LogRecord]] = {}
    for match_id in matches:
        for record in log.of(match_id):
            if record.offset > after.get(record.partition, -1) and (not kinds or record.kind in kinds):
                found.setdefault(record.partition, []).append(record)
    return {p: [f"{p}-{r.offset}" for r in sorted(records)] for p, records in found.items()}


def got(client: Client) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name in client.ids:
        found.setdefault(int(name.split("-")[0]), []).append(name)
    return found


def places(cursor: str) -> dict[int, int]:
    pairs = cursor.partition(".")[2].split(",")
    return {int(p): int(o) for p, _, o in (pair.partition(".") for pair in pairs)}


def append_some(rng: random.Random, log: MemoryLog, count: int) -> None:
    for _ in range(count):
        if rng.random() < 0.1:
            log.fence(rng.randrange(2))
        else:
            log.append(f"m{rng.randrange(4)}", rng.choice(KINDS))


def disturb(rng: random.Random, world: World) -> None:
    """One step of the world: events, history that catches up or fails, a log that breaks off."""
    chance = rng.random()
    if chance < 0.7:
        append_some(rng, world.log, rng.randrange(1, 12))
    elif chance < 0.85:
        world.history.store()
    elif chance < 0.9:
        world.history.down = not world.history.down
    else:
        world.log.break_off()


async def join_somewhere(rng: random.Random, world: World, number: int) -> tuple[Client, str, dict[int, int]]:
    client = world.client(f"good-{number}")
    channel = rng.choice(["match:m0", "match:m1", "match:m3", "team:t1"])
    partitions = {0, 1} if channel == "team:t1" else {world.log.partition_of(channel.removeprefix("match:"))}
    if rng.random() < 0.3:
        client.subscribe(channel, from_="start")
        return client, channel, dict.fromkeys(partitions, -1)
    after = {p: rng.randrange(-1, max(1, world.log.shown(p))) for p in partitions}
    client.subscribe(channel, cursor="e1." + ",".join(f"{p}.{after[p]}" for p in sorted(after)))
    return client, channel, after


@pytest.mark.parametrize("seed", range(40))
async def test_every_subscriber_gets_each_event_once_in_order_whatever_happens(
    make_world: MakeWorld, seed: int
) -> None:
    rng = random.Random(seed)
    world = make_world(TINY_RING)
    append_some(rng, world.log, 60)
    world.history.store()
    world.log.start = {0: len(world.log.records[0]) // 2, 1: len(world.log.records[1]) // 2}
    await world.start()
    joined = []
    for number in range(25):
        disturb(rng, world)
        if rng.random() < 0.6:
            joined.append(await join_somewhere(rng, world, number))
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)
    await world.tailed()
    assert world.delivery.tail.alarms == 0
    for client, channel, after in joined:
        due = wanted(world.log, channel, after)
        await until(
            lambda client=client, due=due: sum(map(len, got(client).values())) >= sum(map(len, due.values())),  # type: ignore[misc]
            f"{channel} after {after}",
        )
        assert got(client) == due
        assert client.of_type("subscribed")[0]["recovered"] is True
        assert client.of_type("error") == client.of_type("reset") == []


@pytest.mark.parametrize("seed", range(10))
async def test_the_cursor_of_every_message_resumes_exactly_there(make_world: MakeWorld, seed: int) -> None:
    rng = random.Random(seed)
    world = make_world(TINY_RING)
    append_some(rng, world.log, 30)
    await world.start()
    first = world.client()
    first.subscribe("team:t1", from_="start")
    for _ in range(20):
        append_some(rng, world.log, 3)
        await asyncio.sleep(0)
    world.history.store()
    due = wanted(world.log, "team:t1", {})
    total = sum(map(len, due.values()))
    await until(lambda: len(first.ids) == total, "the first client's events")
    for index in rng.sample(range(total), 8):
        cursor = first.of_type("event")[index]["cursor"]
        second = world.client()
        second.subscribe("team:t1", cursor=cursor)
        await until(lambda second=second, left=total - index - 1: len(second.ids) >= left)  # type: ignore[misc]
        assert sorted(first.ids[: index + 1] + second.ids) == sorted(first.ids)


async def join_by_state_between(world: World) -> Client:
    """A goal, a pass after it, the state of the goal; then a client, and one more pass."""
    world.log.append("m0", "n:pass")
    goal = world.log.append("m0", "c:goal")
    world.log.append("m0", "n:pass")
    world.log.state("m0", cause=goal.offset, period="first_half")
    await world.start()
    client = world.client()
    client.subscribe("match:m0")
    world.log.append("m0", "n:shot")
    await world.tailed()
    await until(lambda: bool(client.ids) and client.ids[-1] == "0-4")
    return client


async def test_events_follow_from_the_cause_of_the_state_not_from_the_state_event(world: World) -> None:
    client = await join_by_state_between(world)
    assert client.of_type("state")[0]["cursor"] == client.of_type("state")[0]["state"]["cursor"] == "e1.0.1"
    assert client.ids == ["0-2", "0-3", "0-4"]


async def test_a_cursor_at_the_state_event_would_lose_an_event(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Sheets.fold

    def mutant(self: Sheets, record: LogRecord) -> None:
        value = (record.value or b"").replace(b'"cause":1', b'"cause":%d' % record.offset)
        honest(self, record._replace(value=value))

    monkeypatch.setattr(Sheets, "fold", mutant)
    client = await join_by_state_between(world)
    assert client.ids == ["0-4"]


async def test_an_event_folded_into_the_state_does_not_follow_it_from_a_frame_that_was_pending(
    make_world: MakeWorld,
) -> None:
    world = make_world(Limits(window_s=600))
    await world.start()
    early = world.client()
    early.subscribe("match:m0")
    world.log.append("m0", "n:pass")
    await until(lambda: early.ids == ["0-0"], "the idle channel's event")
    world.log.append("m0", "n:pass")
    world.log.state("m0", cause=1)
    await world.tailed()
    late = world.client()
    late.subscribe("match:m0")
    world.log.append("m0", "c:goal")
    await until(lambda: early.ids[-1:] == late.ids[-1:] == ["0-3"])
    assert late.ids == ["0-2", "0-3"]
    assert early.ids == ["0-0", "0-1", "0-2", "0-3"]


async def test_a_team_is_joined_by_the_states_of_its_matches_each_followed_from_its_own_cause(world: World) -> None:
    world.log.append("m0", "n:pass")
    world.log.append("m2", "n:pass")
    world.log.state("m0", cause=0)
    world.log.append("m2", "n:shot")
    world.log.state("m2", cause=3)
    await world.start()
    client = world.client()
    client.subscribe("team:t1")
    await until(lambda: "0-4" in client.ids)
    assert [state["state"]["match_id"] for state in client.of_type("state")] == ["m0", "m2", "m1"]
    assert client.ids == ["0-2", "0-4"]
    assert places(client.of_type("state")[0]["cursor"]) == {0: 0, 1: -1}


async def test_a_view_passes_its_types_from_history_log_ring_and_live(make_world: MakeWorld) -> None:
    world = make_world(TINY_RING)
    rng = random.Random(7)
    append_some(rng, world.log, 40)
    world.history.store()
    append_some(rng, world.log, 60)
    await world.start()
    client, lanes = world.client(), world.client()
    client.subscribe("match:m0", from_="start", types=["goal", "tracking_frame"])
    lanes.subscribe("match:m0", from_="start", lanes=["critical"])
    await until(lambda: client.of_type("event") != [] and lanes.of_type("event") != [])
    append_some(rng, world.log, 60)
    world.log.append("m0", "c:goal")
    due = wanted(world.log, "match:m0", {}, ("c:goal", "b:tracking_frame"))[0]
    await until(lambda: client.ids[-1:] == due[-1:] == lanes.ids[-1:])
    assert client.ids == due
    assert lanes.ids == wanted(world.log, "match:m0", {}, ("c:goal",))[0]
    assert client.of_type("subscribed")[0]["view"] == {
        "lanes": None,
        "types": ["goal", "tracking_frame"],
        "languages": [],
    }


async def test_beyond_32_views_of_a_channel_a_subscriber_gets_all_of_it_and_is_told(world: World) -> None:
    await world.start()
    names = ["goal", "shot", "pass", "duel", "save", "foul"]
    views = [[a, b] for i, a in enumerate(names) for b in names[i + 1 :]] + [[n] for n in names]
    views += [["carry", n] for n in names] + [["touch", n] for n in names]
    clients = [world.client() for _ in views]
    for client, view in zip(clients, views, strict=True):
        client.subscribe("match:m0", types=view)
    await until(lambda: all(client.of_type("subscribed") for client in clients))
    told = [client.of_type("subscribed")[0]["view"]["types"] for client in clients]
    assert told == [sorted(view) for view in views[:32]] + [None]


async def test_what_critical_events_overtake_goes_before_them_in_the_same_frame(make_world: MakeWorld) -> None:
    world = make_world(Limits(window_s=600))
    await world.start()
    client = world.client()
    client.subscribe("match:m0")
    world.log.append("m0", "n:pass")
    await until(lambda: client.ids == ["0-0"])
    for kind in ("n:pass", "b:tracking_frame"):
        world.log.append("m0", kind)
        await world.tailed()
    assert client.ids == ["0-0"]
    world.log.append("m0", "c:goal")
    await until(lambda: len(client.ids) == 4)
    assert [m["event"]["event_id"] for m in client.frames[-1]] == ["0-1", "0-2", "0-3"]


async def test_subscribers_of_one_view_share_the_frame_and_the_events_bytes(world: World) -> None:
    await world.start()
    clients = [world.client() for _ in range(3)]
    for client in clients:
        client.subscribe("match:m0")
    record = world.log.append("m0", "n:post", payload={"text": "Tor! ⚽"})
    await until(lambda: all(client.ids for client in clients))
    frames = [client.raw[-1] for client in clients]
    assert frames[0] is frames[1] is frames[2]
    assert record.value is not None and frames[0].endswith(b'"event":' + record.value + b"}")


async def test_a_hub_that_counts_pending_events_as_flushed_would_lose_them(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hub, "flushed", lambda self, name, view, partition: self.seen[partition])
    world = make_world(Limits(window_s=600))
    await world.start()
    early, late = world.client(), world.client()
    early.subscribe("match:m0")
    world.log.append("m0", "n:pass")
    world.log.append("m0", "n:pass")
    await world.tailed()
    world.log.append("m0", "n:pass")
    await world.tailed()
    late.subscribe("match:m0", from_="start")
    world.log.append("m0", "c:goal")
    await until(lambda: bool(late.ids) and late.ids[-1] == "0-3")
    assert late.ids != ["0-0", "0-1", "0-2", "0-3"]
