"""The full forms of the fault suites, for `make drill`: they take more than an hour, and print what they measured."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import join_on
from tests.drills import attack, health, herd, joins, kills, limits, outage, poison, roaming, rolling, suites
from tests.drills import brokers as of_three
from tests.drills.limits import SPOOL_PER_S
from tests.drills.outage import mutated
from tests.simulation.test_simulation import every_schedule_holds
from tests.support.brokers import Brokers
from tests.support.feed import RealMatch
from tests.system.conftest import Platform

PAIRS, PARKED_S = 7, 240
HERD_PAGES = 500
WEDGED_S = 60, 75
pytestmark = [pytest.mark.timeout(3600), pytest.mark.own_services]


def test_simulation() -> None:
    every_schedule_holds(10_000)


async def test_submissions(platform: Platform) -> None:
    account = await suites.submissions(platform, size=100_000, kills=50)
    print(f"\nsubmissions: {account}")
    assert account.submissions == 100_000


async def test_kills(platform: Platform, matches: list[RealMatch]) -> None:
    await kills.killed(platform, matches, 20)


async def test_failpoints(platform: Platform) -> None:
    account = await suites.failpoints(platform, times=20, size=130_000)
    print(f"\nfailpoints: {account}")


async def test_zombies(platform: Platform) -> None:
    account = await suites.zombies(platform, times=20, frozen_s=30, size=20_000)
    print(f"\nzombies: {account}")


async def test_takeovers(platform: Platform) -> None:
    account, times = await suites.takeovers(platform, nodes=3, kills=10, rounds=5, per_s=500, size=300_000)
    print(f"\ntakeovers: {account}\nstood still: {times.told()}")
    limits.takes_over_in_time(times)


async def test_reconnects(platform: Platform) -> None:
    found = await roaming.roam(platform, subscribers=200, reconnects=5_000, kills=5, ends=5, per_s=60, cuts_per_s=50)
    print(f"\nreconnects: {found}")
    assert found.reconnects >= 5_000


async def test_rolling_restart(platform: Platform) -> None:
    found = await rolling.roll(platform, clients=5_000, reconnects_per_s=500, per_s=10, drain_s=5)
    print(f"\nrolling restart: {found}")


async def test_joins(platform: Platform) -> None:
    found = await joins.join(platform, joins=10_000, connections=50, per_s=1_000)
    print(f"\njoins: {found}")
    assert found.per_s > 900, f"only {found.per_s:.0f} events/s flowed"


async def test_herd(platform: Platform) -> None:
    found = await herd.herd(
        platform, resumers=5_000, past=1_500, live=100, per_s=200, calm_s=15, pairs=3, pages_most=HERD_PAGES
    )
    print(f"\nherd: {found}")
    limits.leaves_the_live_ones_alone(found)


async def test_aggregation(platform: Platform) -> None:
    account = await suites.aggregation_kills(platform, kills=30, size=30_000)
    print(f"\naggregation: {account}")


async def test_spool_of_nodes_that_are_killed(platform: Platform, matches: list[RealMatch]) -> None:
    found = await outage.killed(platform, matches[0], nodes=2, frozen_s=60, kills=20, per_s=SPOOL_PER_S)
    print(f"\nspool, killed: {found}")
    assert len(found.spooled) == 20
    limits.keeps_up_in_the_spool(found)


async def test_spool_of_a_dead_node_on_the_same_folder(platform: Platform, matches: list[RealMatch]) -> None:
    records = await outage.adopted(platform, matches[0], answers=1_000)
    print(f"\nspool, adopted: {records} records")


@pytest.mark.parametrize("how", ["disk", "bound"])
async def test_spool_without_room(platform: Platform, matches: list[RealMatch], how: str) -> None:
    found = await outage.too_full(platform, matches[0], how=how, size_bytes=8 << 20, refusals=500)
    print(f"\nspool, full by its {how}: {found}")


async def test_brokers(on_three: Platform, brokers: Brokers, matches: list[RealMatch]) -> None:
    found = await of_three.killed(on_three, brokers, matches[0], size=100_000, two_down_s=30, unseen=6, per_s=1_500)
    print(f"\nbrokers: {found}")
    assert found.accepted >= 100_000


@pytest.mark.parametrize("how", ["hang", "swallow"])
async def test_health_of_a_wedged_partition(platform: Platform, matches: list[RealMatch], how: str) -> None:
    after_s = await health.wedged(platform, matches[0], how, stuck_after_s=None, within_s=WEDGED_S[1] + 30)
    print(f"\nhealth, {how}: 503 after {after_s:.1f} s")
    assert WEDGED_S[0] <= after_s <= WEDGED_S[1]


async def test_health_while_postgres_and_kafka_are_down(
    platform: Platform, matches: list[RealMatch], own_folder: Path
) -> None:
    heal = partial(join_on, own_folder)
    postgres, kafka = await health.away(platform, matches[0], heal, down_s=300, stuck_after_s=None)
    print(f"\nhealth, away: live at every look; PostgreSQL {postgres}, Kafka {kafka}")


async def test_attack(platform: Platform, matches: list[RealMatch]) -> None:
    size = attack.Size(each=334, crowd=200, fans=50, window_s=10)
    figures = await attack.attacked(platform, matches[0], size, pairs=5)
    print(f"\nattack: {figures.told()}\n{figures.pairs[0][1].answered}")
    limits.is_served_under_attack(figures)


async def test_it_finds_out_doors_that_an_attack_holds_up(platform: Platform, matches: list[RealMatch]) -> None:
    size = attack.Size(each=334, crowd=200, fans=50, window_s=10)
    figures = await attack.attacked(platform, matches[0], size, pairs=3, program=mutated("doors-cost"))
    print(f"\nattack on slow doors: {figures.told()}")
    with pytest.raises(AssertionError, match="under attack events come later"):
        limits.is_served_under_attack(figures)


async def test_poison(platform: Platform) -> None:
    size, ill = 10_000, 100
    # The first run warms the nodes up; then pairs, of which either comes first in turn.
    pairs = [(0, ill) if turn % 2 == 0 else (ill, 0) for turn in range(PAIRS)]
    runs = [ill, *(one for pair in pairs for one in pair)]
    figures = await poison.raising(platform, runs, size=size)
    print(f"\npoison: {figures}")
    assert (figures.stored, figures.mended) == (size * len(runs) - sum(runs), size * len(runs))
    limits.is_not_held_up(figures)
    ratios = limits.keeps_pace_beside_poison(figures, runs)
    print(f"of clean: {sorted(ratios)}")


async def test_crash_poison(platform: Platform) -> None:
    figures = await poison.crashing(platform, ["kill", "hang"], parked_s=PARKED_S)
    print(f"\ncrash poison: {figures}")
    assert max(figures.parked_s.values()) <= PARKED_S
    assert max(figures.deaths.values()) <= poison.DEATHS_MOST


async def test_it_finds_out_nodes_that_do_not_count_deaths(platform: Platform) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception), match="not everything is parked"):
        await poison.crashing(platform, ["kill"], parked_s=PARKED_S, mutant="deaths-uncounted")


@pytest.mark.parametrize(("name", "kills", "rounds"), [("rebuilds-slowly", 1, 0), ("ends-without-a-word", 0, 1)])
async def test_it_finds_out_a_slow_takeover(platform: Platform, name: str, kills: int, rounds: int) -> None:
    size: Any = {"nodes": 2, "kills": kills, "rounds": rounds, "per_s": 200, "size": 60_000}
    _, times = await suites.takeovers(platform, **size, mutant=name, session_s=10)
    print(f"\nslow takeover, {name}: {times.told()}")
    with pytest.raises(AssertionError, match="stood still for"):
        limits.takes_over_in_time(times)


@pytest.mark.parametrize(
    ("name", "told"),
    [("disk-is-slow", None), ("one-put-an-fsync", "into the spool, fewer"), ("drains-few-at-a-time", "drained")],
)
async def test_it_finds_out_a_slow_spool(
    platform: Platform, matches: list[RealMatch], name: str, told: str | None
) -> None:
    async def run() -> None:
        found = await outage.killed(
            platform, matches[0], frozen_s=15, kills=1, per_s=SPOOL_PER_S, program=mutated(name), nodes=1
        )
        print(f"\nslow spool, {name}: {found}")
        limits.keeps_up_in_the_spool(found)

    if told is None:
        await run()
    else:
        # Who is slow beyond measure is found out by the drill's own deadline.
        with pytest.raises((AssertionError, pytest.fail.Exception), match=told):
            await run()


async def test_it_finds_out_slow_letters(platform: Platform) -> None:
    runs = [20, 0, 20]
    figures = await poison.raising(platform, runs, size=1_000, mutant="letters-take-long")
    print(f"\nslow letters: {figures}")
    with pytest.raises(AssertionError, match="of the pace"):
        limits.keeps_pace_beside_poison(figures, runs)


async def test_it_finds_out_slow_letters_that_stall_a_partition(platform: Platform) -> None:
    figures = await poison.raising(platform, [1], size=300, mutant="letters-stall", applied_s=120)
    print(f"\nslow letters, stalled: {figures}")
    with pytest.raises(AssertionError, match="waited"):
        limits.is_not_held_up(figures)
