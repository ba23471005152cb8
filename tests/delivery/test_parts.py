"""Cursor, ring, sheets, tail and hub, each on its own."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventhub.delivery.cursor import Cursor, parse
from eventhub.delivery.messages import FRAME_BYTES, pieces
from eventhub.delivery.ring import OVERHEAD_BYTES, Ring
from eventhub.errors import MalformedError, NotFoundError
from eventhub.record import LogRecord
from tests.delivery.memory import MemoryLog
from tests.delivery.world import World, until

places = st.dictionaries(st.integers(0, 99999), st.integers(-1, 10**18 - 1), min_size=1, max_size=8)


@given(st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True), places)
def test_a_cursor_survives_the_round_trip(epoch: str, seen: dict[int, int]) -> None:
    cursor = parse(str(Cursor(epoch, seen)))
    assert (cursor.epoch, cursor.seen) == (epoch, seen)


@pytest.mark.parametrize(
    "text",
    ["", "e1", "e1.", "e1.0", "e1.0.", "e1.0.-2", "e1.0.1,", "e1.0.1,0.2", "e1.x.1", ".0.1", "e 1.0.1", "e1.0.1\n",
     "e1.0.٣", "e1.0.1.2", "e1.-1.1", "e1.0.1;1.2", "e1.0." + "9" * 30],
)  # fmt: skip
def test_what_is_no_cursor_is_refused_by_its_code(text: str) -> None:
    with pytest.raises(MalformedError) as refused:
        parse(text)
    assert refused.value.name == "bad_cursor"


@pytest.mark.parametrize("seed", range(20))
def test_the_ring_holds_the_newest_within_its_bytes_and_says_truly_what_it_covers(seed: int) -> None:
    rng = random.Random(seed)
    log = MemoryLog()
    ring = Ring(rng.randrange(1, 40) * (OVERHEAD_BYTES + 60), log.partition_of)
    start = {0: 0, 1: 0}
    ring.begin(start)
    everything: list[LogRecord] = []
    for _ in range(300):
        record = log.fence(0) if rng.random() < 0.1 else log.append(f"m{rng.choice([0, 0, 0, 1, 2, 3])}")
        ring.append(record)
        everything.append(record)
    newest = [r for r in everything if r.value is not None]
    while sum(len(r.value or b"") + OVERHEAD_BYTES for r in newest) > ring._limit_bytes:
        newest.pop(0)
    for match_id in ("m0", "m1", "m2", "m3"):
        p = log.partition_of(match_id)
        for after in range(-1, len(log.records[p])):
            due = [r for r in log.of(match_id) if r.offset > after]
            assert ring.after(match_id, after, 1000) == [r for r in due if r in newest]
            assert ring.covers(match_id, after) == all(r in newest for r in due)
            assert after + 1 < ring.start(p) or ring.covers(match_id, after)


def test_a_quiet_match_stays_covered_when_others_fill_the_ring() -> None:
    log = MemoryLog()
    ring = Ring(2000, log.partition_of)
    ring.begin({0: 0, 1: 0})
    for _ in range(50):
        ring.append(log.append("m0"))
    assert ring.start(0) > 1
    assert ring.covers("m2", -1) and not ring.covers("m0", -1)


def test_pieces_lose_nothing_and_are_never_much_larger_than_a_frame() -> None:
    sized = [b"x" * n for n in (10, FRAME_BYTES, 5, FRAME_BYTES * 2, 7, 8)]
    runs = [list(run) for run in pieces(sized)]
    assert [m for run in runs for m in run] == sized
    assert [len(run) for run in runs] == [1, 1, 1, 1, 2]


async def test_a_state_that_is_not_ahead_of_the_held_one_is_ignored(world: World) -> None:
    for _ in range(3):
        world.log.append("m0")
    world.log.state("m0", cause=2, minute="3")
    world.log.state("m0", cause=1, minute="2")
    world.log.state("m0", cause=2, minute="other")
    world.log.append("m0", "n:state", payload={"sheet": 1})
    await world.start()
    await world.tailed()
    sheet = world.delivery._feed.sheets.of("m0")
    assert sheet.applied == 2 and b'"minute":"3"' in sheet.body and b'"stale":false' in sheet.body


async def test_a_match_without_a_state_is_scheduled_at_the_place_that_aggregation_had_reached(world: World) -> None:
    for _ in range(3):
        world.log.append("m2")
    world.seeds.applied = {0: 2, 1: -1}
    await world.start()
    sheet = world.delivery._feed.sheets.of("m0")
    assert sheet.status == "scheduled" and b'"cursor":"e1.0.2"' in sheet.body


async def test_the_tail_starts_over_from_its_own_position_when_the_log_breaks_off(world: World) -> None:
    await world.start()
    client = world.client()
    client.subscribe("match:m0")
    for _ in range(3):
        world.log.append("m0")
        await world.tailed()
        world.log.break_off()
    world.log.append("m0")
    await until(lambda: client.ids == ["0-0", "0-1", "0-2", "0-3"])
    assert world.delivery.tail.alarms == 0


async def test_a_raw_offset_that_goes_backwards_is_an_alarm_and_delivers(world: World) -> None:
    await world.start()
    client = world.client()
    client.subscribe("match:m0")
    for raw in ((1, 5), (2, 5), (3, 4)):
        world.log.append("m0", raw=raw)
    await until(lambda: len(client.ids) == 3)
    assert world.delivery.tail.alarms == 1


async def test_an_offset_that_comes_again_is_an_alarm_and_is_not_delivered_twice(world: World) -> None:
    await world.start()
    client = world.client()
    client.subscribe("match:m0")
    record = world.log.append("m0")
    await world.tailed()
    world.delivery.tail.take([record])
    world.log.append("m0")
    await until(lambda: len(client.ids) == 2)
    assert client.ids == ["0-0", "0-1"] and world.delivery.tail.alarms == 1


async def test_it_is_ready_only_when_it_has_reached_the_ends_noted_at_start(world: World) -> None:
    world.log.append("m0")
    await world.delivery.open()
    assert not world.delivery.ready
    world.delivery.tail.take(world.log.records[0])
    assert world.delivery.ready


@pytest.mark.parametrize(
    "name", ["", "m0", "match:", "match:m9", "team:t9", "scores:", "scores:1", "competition:", "competition:x"]
)
async def test_an_unknown_channel_has_its_code(world: World, name: str) -> None:
    with pytest.raises(NotFoundError) as refused:
        world.delivery._feed.channels.name(name)
    assert refused.value.name == "unknown_channel"
