"""A client that takes less than there is: what it is given instead, what it is told, and when it must go."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest

from eventhub.delivery import Limits, slow
from eventhub.delivery.frame import Frame
from eventhub.delivery.outbox import Backlog, Outbox
from eventhub.delivery.past import Entry
from eventhub.delivery.resume import Follower
from tests.delivery.conftest import MakeWorld
from tests.delivery.memory import MemoryLog
from tests.delivery.world import Client, World, until

TIGHT = Limits(window_s=0.001, queue_bytes=4_000, conflate_after_s=0)
PLAYERS = 3


class Wire:
    """Takes frames until it is told to hold them."""

    def __init__(self) -> None:
        self.written: list[Frame] = []
        self.ended: tuple[int, str] | None = None
        self.aborted = False
        self.held_bytes = 0

    def write(self, frame: Frame) -> None:
        self.written.append(frame)

    def waiting_bytes(self) -> int:
        return self.held_bytes

    def end(self, code: int, reason: str) -> None:
        self.ended = (code, reason)

    def abort(self) -> None:
        self.aborted = True


class Takes(Wire):
    """Has taken a byte each time that it is looked at, so many times, and then no more."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.looks, self._times = 0, times

    def waiting_bytes(self) -> int:
        self.looks += 1
        return 1000 - min(self.looks, self._times + 1)


def made(limit_bytes: int = 100, backlog: Backlog | None = None, stuck_s: float = 60) -> tuple[Outbox, list[str]]:
    told: list[str] = []
    outbox = Outbox(
        limit_bytes,
        backlog=backlog or Backlog(1_000_000),
        stuck_s=stuck_s,
        on_overflow=lambda: told.append("overflow"),
        on_stuck=lambda: told.append("stuck"),
    )
    return outbox, told


async def test_an_outbox_refuses_what_exceeds_its_bound_and_all_that_follows() -> None:
    outbox, told = made()
    assert outbox.put(Frame([b"x" * 60]))
    assert not outbox.put(Frame([b"x" * 60]))
    assert not outbox.put(Frame([b"x"]))
    assert (outbox.queued_bytes, told) == (60, ["overflow"])


async def test_an_offer_that_is_refused_ends_nothing_and_leaves_room_for_answers() -> None:
    outbox, told = made()
    assert outbox.offer(Frame([b"x" * 70]))
    assert not outbox.offer(Frame([b"x" * 10]))
    assert outbox.put(Frame([b"x" * 10]))
    assert (outbox.closed, told) == (False, [])


async def test_frames_go_out_in_order_whatever_waited() -> None:
    outbox, _ = made(1000)
    wire = Wire()
    frames = [Frame([b"%d" % n]) for n in range(6)]
    outbox.put(frames[0])
    outbox.attach(wire)
    outbox.put(frames[1])
    outbox.pause()
    outbox.put(frames[2])
    outbox.offer(frames[3])
    assert wire.written == frames[:2]
    outbox.resume()
    outbox.offer(frames[4])
    outbox.finish([frames[5]], 3001, "over", timeout_s=60)
    assert wire.written == frames and wire.ended == (3001, "over")
    assert not outbox.put(frames[0]) and not outbox.offer(frames[0])
    outbox.gone()


async def test_all_clients_together_have_a_bound_and_each_may_have_one_frame() -> None:
    backlog = Backlog(100)
    first, second = made(1000, backlog)[0], made(1000, backlog)[0]
    assert first.offer(Frame([b"x" * 90]))
    assert not first.offer(Frame([b"x" * 20]))
    assert second.offer(Frame([b"x" * 20]))
    assert not second.offer(Frame([b"x" * 20]))
    first.gone()
    assert backlog.held_bytes == 20
    assert second.offer(Frame([b"x" * 20]))


async def test_a_client_that_takes_nothing_is_stuck_and_one_that_takes_little_is_not() -> None:
    outbox, told = made(stuck_s=0.005)
    wire = Takes(4)
    outbox.attach(wire)
    outbox.pause()
    await until(lambda: told == ["stuck"])
    assert wire.looks == 1 + 4 + 1, "it was looked at once, then while it took something, and once when it had not"
    outbox.finish([], 3008, "slow", timeout_s=0.01)
    await until(lambda: wire.aborted)
    outbox.gone()


def entries(log: MemoryLog, kinds: list[tuple[str, dict[str, Any]]]) -> list[Entry]:
    records = [log.append("m0", kind, **fields) for kind, fields in kinds]
    return [Entry(r.offset, r.value or b"", r.kind) for r in records]


def test_of_bulk_the_latest_of_each_thing_is_left_and_everything_else() -> None:
    page = entries(
        MemoryLog(),
        [
            ("b:stats", {"player_id": "p1"}),
            ("n:pass", {}),
            ("b:stats", {"player_id": "p2"}),
            ("b:stats", {"player_id": "p1", "of": "e7"}),
            ("c:goal", {}),
            ("b:stats", {"player_id": "p1"}),
            ("b:tracking_frame", {}),
            ("b:tracking_frame", {}),
        ],
    )
    left = slow.conflate(page)
    assert [entry.offset for entry in left.entries] == [1, 2, 3, 4, 5, 7]
    assert left.skipped == [slow.Skipped("bulk", 2, 0, 6)]


def test_beside_a_state_only_critical_events_are_left() -> None:
    page = entries(MemoryLog(), [("n:pass", {}), ("c:goal", {}), ("b:stats", {}), ("n:shot", {})])
    left = slow.only_critical(page)
    assert [entry.offset for entry in left.entries] == [1]
    assert left.skipped == [slow.Skipped("normal", 2, 0, 3), slow.Skipped("bulk", 1, 2, 2)]


async def watching(world: World, channel: str = "match:m0") -> Client:
    """A client of a world that has just been started, subscribed and answered."""
    await world.start()
    client = world.client()
    client.subscribe(channel)
    await until(lambda: client.of_type("subscribed") != [])
    return client


def crowd(rng: random.Random, log: MemoryLog, count: int, matches: tuple[str, ...] = ("m0",)) -> None:
    for _ in range(count):
        kind = rng.choices(("b:tracking_frame", "b:stats", "n:pass", "c:goal"), (50, 30, 15, 1))[0]
        player: dict[str, Any] = {"player_id": f"p{rng.randrange(PLAYERS)}"} if kind == "b:stats" else {}
        log.append(rng.choice(matches), kind, pad="x" * 100, **player)


def judge(client: Client, log: MemoryLog, channel_matches: tuple[str, ...]) -> None:
    """In order, once, every critical event, and exactly as many left out as it was told."""
    due = {(r.partition, r.offset): r for m in channel_matches for r in log.of(m)}
    got: list[tuple[int, int]] = []
    last: dict[int, int] = {}
    for name in client.ids:
        partition, offset = (int(part) for part in name.split("-"))
        assert offset > last.get(partition, -1), "out of order, or twice"
        last[partition] = offset
        got.append((partition, offset))
    missing = [record for place, record in due.items() if place not in set(got)]
    assert [record for record in missing if record.kind[0] == "c"] == []
    for lane, letter in (("normal", "n"), ("bulk", "b")):
        told = sum(m["count"] for m in client.of_type("skipped") if m["lane"] == lane)
        assert told == sum(record.kind[0] == letter for record in missing), lane


async def stalls_amid(world: World, client: Client, rng: random.Random, matches: tuple[str, ...] = ("m0",)) -> None:
    client.stall()
    while client.connection.outbox.offer(Frame([b'{"type":"pad"}'])):
        crowd(rng, world.log, 5, matches)
        await world.tailed()
        await asyncio.sleep(0.002)
    crowd(rng, world.log, 400, matches)
    await world.tailed()


@pytest.mark.parametrize("seed", range(12))
async def test_a_slow_client_gets_the_latest_of_bulk_and_is_told_what_was_left_out(
    make_world: MakeWorld, seed: int
) -> None:
    rng = random.Random(seed)
    channel, matches = (("match:m0", ("m0",)), ("team:t1", ("m0", "m1", "m2")))[seed % 2]
    world = make_world(TIGHT)
    client = await watching(world, channel)
    for _ in range(3):
        await stalls_amid(world, client, rng, matches)
        assert client.connection.outbox.queued_bytes <= 4_000
        client.take()
        crowd(rng, world.log, 30, matches)
        await until(lambda: client.connection.subscriptions._followers[channel].live, "the client to be live again")
    goals = [world.log.append(m, "c:goal") for m in matches]
    names = {f"{goal.partition}-{goal.offset}" for goal in goals}
    await until(lambda: names <= set(client.ids))
    assert client.of_type("skipped") != [] and client.closed is None
    assert world.delivery.slow["conflated"] > 0
    assert {m["lane"] for m in client.of_type("skipped")} == {"bulk"}
    judge(client, world.log, matches)


async def test_a_client_that_is_a_little_behind_gets_everything(make_world: MakeWorld) -> None:
    world = make_world(replace(TIGHT, conflate_after_s=3))
    client = await watching(world)
    await stalls_amid(world, client, random.Random(6))
    assert not client.connection.subscriptions._followers["match:m0"].live
    client.take()
    due = [f"0-{record.offset}" for record in world.log.of("m0")]
    await until(lambda: len(client.ids) == len(due))
    assert client.ids == due and client.of_type("skipped") == []


async def test_far_behind_a_state_stands_in_for_what_led_to_it_and_no_critical_event_is_left_out(
    make_world: MakeWorld,
) -> None:
    rng = random.Random(1)
    world = make_world(replace(TIGHT, snapshot_after_s=0))
    client = await watching(world)
    await stalls_amid(world, client, rng)
    cause = world.log.records[0][-1].offset
    world.log.append("m0", "b:state", payload={"sheet": {"match_id": "m0", "status": "live"}, "cause": cause})
    goal = world.log.append("m0", "c:goal")
    await world.tailed()
    client.take()
    await until(lambda: bool(client.ids) and client.ids[-1] == f"0-{goal.offset}")
    states = client.of_type("state")
    assert world.delivery.slow["stood_in"] > 0
    assert len(states) == 2 and states[-1]["cursor"] == f"e1.0.{cause}"
    assert {m["lane"] for m in client.of_type("skipped")} == {"normal", "bulk"}
    judge(client, world.log, ("m0",))


async def test_a_client_that_stays_away_is_sent_away_and_resumes_whole(make_world: MakeWorld) -> None:
    world = make_world(replace(TIGHT, stuck_s=0.05, close_timeout_s=0.05))
    client = await watching(world)
    world.log.append("m0", "n:pass")
    await until(lambda: client.ids == ["0-0"])
    client.stall()
    crowd(random.Random(3), world.log, 50)
    await until(lambda: client.aborted)
    assert (world.delivery.connections, world.delivery.slow) == (0, {"sent_away": 1})
    again = world.client()
    again.subscribe("match:m0", cursor=client.of_type("event")[-1]["cursor"])
    due = [f"0-{record.offset}" for record in world.log.of("m0")]
    await until(lambda: len(client.ids) + len(again.ids) == len(due))
    assert client.ids + again.ids == due


async def test_a_client_that_fell_behind_what_ring_and_history_have_is_sent_away(make_world: MakeWorld) -> None:
    world = make_world(replace(TIGHT, ring_bytes=3_000))
    client = await watching(world)
    await stalls_amid(world, client, random.Random(4))
    world.history.down = world.log.down = True
    client.take()
    await until(lambda: client.closed is not None)
    assert client.closed == (3008, "slow")
    [away] = client.of_type("reconnect")
    world.history.down = world.log.down = False
    again = world.client()
    again.subscribe("match:m0", cursor=away["cursors"]["match:m0"])
    due = [f"0-{record.offset}" for record in world.log.of("m0")]
    await until(lambda: len(client.ids) + len(again.ids) == len(due))
    assert client.ids + again.ids == due


async def test_it_finds_out_a_follower_that_falls_behind_after_the_frame(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    fall_behind = Follower.fall_behind

    def late(self: Follower) -> None:
        asyncio.get_running_loop().call_soon(fall_behind, self)

    monkeypatch.setattr(Follower, "fall_behind", late)
    world = make_world(TIGHT)
    client = await watching(world)
    await stalls_amid(world, client, random.Random(5))
    client.take()
    goal = world.log.append("m0", "c:goal")
    await until(lambda: f"0-{goal.offset}" in client.ids)
    with pytest.raises(AssertionError):
        judge(client, world.log, ("m0",))


async def test_it_finds_out_a_client_that_is_not_told(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Follower, "_told", lambda *_: [])
    with pytest.raises(AssertionError):
        await test_far_behind_a_state_stands_in_for_what_led_to_it_and_no_critical_event_is_left_out(make_world)
