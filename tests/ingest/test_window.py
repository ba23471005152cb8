"""Who waits for room on the path, in what order, and for how long."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from eventhub.ingest import window as module
from eventhub.ingest.pace import LEAST, PART, Pace
from eventhub.ingest.window import BROADCAST, GAP_S, SENSORS, SILENT_S, YIELD_S, Part, Window
from eventhub.record import LogRecord
from eventhub.tasks import end
from tests.support.wait import until


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """A window, and what its tail reads; a started part is on its raw topic at once."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.window = Window(clock=self.clock)
        self.entered: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    def send(
        self, name: str, source: str = "sensors", *, weight: int = PART, onward: bool = False, places: dict[int, int]
    ) -> None:
        async def sent() -> None:
            part = await self.window.enter(source, weight, onward=onward)
            self.entered.append(name)
            with self.window.follow(part) as found:
                found.update(places)

        self.tasks.append(asyncio.create_task(sent()))

    def approach(self, name: str) -> None:
        async def approached() -> None:
            await self.window.approach("sensors")
            self.entered.append(name)

        self.tasks.append(asyncio.create_task(approached()))

    def read(self, partition: int, **applied: int) -> None:
        raw = [-1] * 5
        raw[BROADCAST], raw[SENSORS] = applied.get("broadcast", -1), applied.get("sensors", -1)
        self.window.see([LogRecord(partition, 0, "", "", None, 0, tuple(raw), b"", b"", b"", "")])

    async def two(self) -> None:
        """Two parts for one partition: the first is on its raw topic, the second waits."""
        self.send("first", places={3: 9})
        self.send("second", places={3: 10})
        await self.come("first")

    async def come(self, *names: str) -> None:
        await until(lambda: self.entered == list(names), f"{names} to have begun, and no other", 5)
        # Whoever could follow at once would have by now.
        for _ in range(10):
            await asyncio.sleep(0)
        assert self.entered == list(names)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    await end(*made.tasks)


async def they_take_turns(scene: Scene) -> None:
    scene.send("one", places={3: 9})
    await scene.come("one")
    scene.send("two", places={3: 19})
    scene.send("three", places={4: 0})
    await scene.come("one")
    scene.read(3, sensors=8)
    await scene.come("one")
    scene.read(3, sensors=9)
    await scene.come("one", "two")
    scene.read(3, sensors=30)
    await scene.come("one", "two", "three")


async def test_what_comes_second_begins_when_the_first_is_on_the_log(scene: Scene) -> None:
    await they_take_turns(scene)


async def test_mutant_nobody_waits(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Window, "_wait_s", lambda *_: 0)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await they_take_turns(scene)


async def who_has_begun_goes_on(scene: Scene) -> None:
    scene.send("one", places={3: 9})
    await scene.come("one")
    scene.send("other", places={3: 11})
    await scene.come("one")
    scene.send("one, again", onward=True, places={3: 10})
    await scene.come("one")
    scene.read(3, sensors=9)
    await scene.come("one", "one, again")
    scene.read(3, sensors=10)
    await scene.come("one", "one, again", "other")


async def test_a_request_that_has_begun_goes_on_before_others_begin(scene: Scene) -> None:
    await who_has_begun_goes_on(scene)


async def test_mutant_whoever_came_first(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    enter = Window.enter
    monkeypatch.setattr(Window, "enter", lambda self, source, weight, onward: enter(self, source, weight))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await who_has_begun_goes_on(scene)


async def test_alone_a_part_is_taken_however_large_and_small_ones_share_the_window(scene: Scene) -> None:
    scene.send("large", weight=100 * PART, places={0: 0})
    await scene.come("large")
    scene.send("small", weight=PART // 2, places={0: 1})
    scene.send("other", weight=PART // 2, places={0: 2})
    scene.send("third", weight=20 * PART, places={0: 3})
    await scene.come("large")
    scene.read(0, sensors=0)
    await scene.come("large", "small", "other")
    assert scene.window.under_way == PART


async def sensors_give_way(scene: Scene) -> None:
    scene.send("first", places={})
    await scene.come("first")
    scene.send("goal", "broadcast", places={3: 7})
    scene.send("card", "broadcast", places={4: 7})
    await scene.come("first", "goal", "card")
    scene.send("frames", places={3: 1})
    scene.read(3, broadcast=7)
    await scene.come("first", "goal", "card")
    scene.read(4, broadcast=7)
    await until(lambda: scene.entered[-1] == "frames", "the frames to follow the goals", 5)


async def test_broadcast_waits_for_nobody_and_sensors_wait_until_it_is_on_the_log(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "YIELD_S", 3600)
    monkeypatch.setattr(Pace, "pause_s", lambda *_: 0)
    await sensors_give_way(scene)


async def test_mutant_sensors_do_not_look_at_broadcast(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "YIELD_S", -1)
    monkeypatch.setattr(Pace, "pause_s", lambda *_: 0)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await sensors_give_way(scene)


async def test_beside_broadcast_without_end_sensors_go_on_a_little(scene: Scene) -> None:
    scene.send("first", places={})
    await scene.come("first")
    scene.send("goal", "broadcast", places={0: 10**6})
    scene.send("frames", places={})
    await scene.come("first", "goal")
    scene.clock.now += YIELD_S
    await scene.come("first", "goal", "frames")


async def test_what_is_nowhere_on_the_raw_topic_is_not_waited_for(scene: Scene) -> None:
    """It is in the spool, or nothing of it was accepted, or it failed."""
    scene.send("spooled", places={})
    await scene.come("spooled")
    with pytest.raises(RuntimeError), scene.window.follow(await scene.window.enter("sensors", PART)):
        raise RuntimeError
    assert scene.window.under_way == 0


async def test_what_the_tail_has_read_before_the_answer_came_is_through(scene: Scene) -> None:
    scene.read(2, sensors=50)
    scene.send("late", places={2: 50})
    await scene.come("late")
    assert scene.window.under_way == 0


async def test_a_part_in_two_partitions_is_through_when_both_are(scene: Scene) -> None:
    scene.send("both", places={1: 5, 2: 6})
    await scene.come("both")
    scene.read(1, sensors=5)
    assert scene.window.under_way == PART
    scene.read(2, sensors=6)
    assert scene.window.under_way == 0


async def a_silent_partition_holds_up_nobody(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENT_S", 0.05)
    await scene.two()
    scene.clock.now += 0.06
    await scene.come("first", "second")
    assert scene.window.under_way == 0, "what waits for an owner is no load"
    scene.read(3, sensors=10)
    assert scene.window.under_way == 0, "and is not counted twice when there is one"
    # Once it is heard of again, it counts again.
    scene.send("after", places={3: 11})
    await scene.come("first", "second", "after")
    assert scene.window.under_way == PART


async def test_a_partition_without_an_owner_holds_up_nobody(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await a_silent_partition_holds_up_nobody(scene, monkeypatch)


async def test_mutant_a_silent_partition_is_waited_for(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Window, "_pass_over", lambda _: None)
    with pytest.raises(pytest.fail.Exception, match="to have begun"):
        await a_silent_partition_holds_up_nobody(scene, monkeypatch)


async def test_a_part_that_kafka_does_not_acknowledge_holds_up_nobody(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENT_S", 0.05)
    stuck = await scene.window.enter("sensors", PART)
    scene.send("next", places={3: 10})
    await scene.come()
    scene.clock.now += 0.06
    await scene.come("next")
    # Its acknowledgement comes after all, and takes no room twice.
    with scene.window.follow(stuck) as places:
        places[3] = 11
    assert scene.window.under_way == PART
    scene.read(3, sensors=11)
    assert scene.window.under_way == 0


async def nothing_is_kept_for_ever(scene: Scene) -> None:
    """Broadcast alone, for partitions that nobody owns."""
    for n in range(100):
        with scene.window.follow(await scene.window.enter("broadcast", 1)) as places:
            places[n % 2] = n
        scene.clock.now += SILENT_S / 10
    assert sum(map(len, scene.window._parts.values())) < 50, "what is kept for a partition without an owner grows"


async def test_without_sensors_nothing_is_kept_for_ever_either(scene: Scene) -> None:
    await nothing_is_kept_for_ever(scene)


async def test_mutant_only_who_waits_looks_for_silence(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Window, "_pass_over", lambda _: None)
    with pytest.raises(AssertionError, match="without an owner grows"):
        await nothing_is_kept_for_ever(scene)


async def test_a_slow_partition_that_is_heard_of_is_waited_for(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENT_S", 0.05)
    await scene.two()
    for sensors in range(9):
        scene.clock.now += 0.04
        scene.read(3, sensors=sensors)
    await scene.come("first")
    scene.read(3, sensors=9)
    await scene.come("first", "second")


async def test_who_waits_too_long_is_told_and_the_turn_goes_on(scene: Scene) -> None:
    scene.send("one", places={0: 0})
    await scene.come("one")
    with pytest.raises(TimeoutError):
        await scene.window.enter("sensors", PART, within_s=0.01)
    scene.send("two", places={0: 1})
    scene.read(0, sensors=0)
    await scene.come("one", "two")


async def test_social_is_not_followed(scene: Scene) -> None:
    part = await scene.window.enter("social", PART)
    with scene.window.follow(part) as places:
        places[0] = 1
    assert part is None and scene.window.under_way == 0


async def test_a_narrow_window_is_kept_by_pauses(scene: Scene) -> None:
    for n in range(2):
        part = await scene.window.enter("broadcast", 1)
        assert isinstance(part, Part)
        with scene.window.follow(part) as places:
            places[0] = n
        scene.clock.now += 0.005
        scene.read(0, broadcast=n)
    assert scene.window.size == LEAST
    scene.send("one", places={1: 0})
    await scene.come("one")
    scene.clock.now += 0.01
    scene.read(1, sensors=0)
    scene.send("two", places={1: 1})
    await scene.come("one")
    scene.clock.now += min(0.01 * (PART / LEAST - 1), YIELD_S)
    await scene.come("one", "two")


async def bodies_are_read_in_gaps(scene: Scene) -> None:
    """A goal has just come through, another one is under way, and three requests of sensors are at the door."""
    scene.send("goal", "broadcast", places={3: 7})
    scene.send("card", "broadcast", places={4: 7})
    await scene.come("goal", "card")
    scene.read(3, broadcast=7)
    for name in ("one", "two", "three"):
        scene.approach(name)
    # The first has not waited for anybody yet, so it needs not wait for the card either.
    await scene.come("goal", "card", "one")
    scene.clock.now += YIELD_S / 2
    await scene.come("goal", "card", "one")
    scene.read(4, broadcast=7)
    await scene.come("goal", "card", "one", "two")
    scene.clock.now += GAP_S
    await scene.come("goal", "card", "one", "two", "three")
    await scene.window.approach("broadcast")


async def test_bodies_of_sensors_are_read_one_after_another_in_the_gaps_of_broadcast(scene: Scene) -> None:
    await bodies_are_read_in_gaps(scene)


async def test_mutant_bodies_are_read_as_they_come(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Window, "_approach_s", lambda _: 0)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await bodies_are_read_in_gaps(scene)


async def test_without_broadcast_nobody_waits_at_the_door(scene: Scene) -> None:
    await asyncio.wait_for(asyncio.gather(*(scene.window.approach("sensors") for _ in range(1000))), 5)


async def test_who_is_at_the_door_for_too_long_is_told_and_the_others_go_on(scene: Scene) -> None:
    scene.send("goal", "broadcast", places={3: 7})
    scene.send("card", "broadcast", places={4: 7})
    await scene.come("goal", "card")
    scene.read(3, broadcast=7)
    await scene.window.approach("sensors")
    with pytest.raises(TimeoutError):
        await scene.window.approach("sensors", within_s=0.01)
    scene.clock.now += YIELD_S
    await asyncio.wait_for(scene.window.approach("sensors"), 5)
