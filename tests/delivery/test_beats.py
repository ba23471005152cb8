"""One timer for all heartbeats."""

import asyncio

from eventhub.delivery.beats import PARTS, Beats
from tests.delivery.world import until

PERIOD_S = 0.064


async def test_everybody_is_called_once_a_period_and_nobody_after_leaving() -> None:
    beats, called = Beats(PERIOD_S), {name: 0 for name in range(20)}
    parts: dict[int, int] = {}

    def beat(name: int) -> None:
        called[name] += 1

    for name in called:
        parts[name] = beats.add(name, lambda name=name: beat(name))  # type: ignore[misc]
        if name % 5 == 0:
            await asyncio.sleep(PERIOD_S / PARTS)
    gone = [name for name in called if name % 2]
    await until(lambda: min(called.values()) >= 1)
    for name in gone:
        beats.remove(name, parts[name])
        beats.remove(name, parts[name])
    before = dict(called)
    await until(lambda: called[0] >= before[0] + 4)
    assert all(called[name] == before[name] for name in gone)
    stayed = [called[name] - before[name] for name in called if name not in gone]
    assert max(stayed) - min(stayed) <= 1


async def test_it_rests_while_there_is_nobody() -> None:
    beats, called = Beats(PERIOD_S), 0

    def beat() -> None:
        nonlocal called
        called += 1

    part = beats.add("one", beat)
    await until(lambda: called == 1)
    beats.remove("one", part)
    await until(lambda: beats._timer is None)
    beats.add("two", beat)
    await until(lambda: called == 2)
