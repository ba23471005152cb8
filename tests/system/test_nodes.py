"""Several nodes: they share the partitions without a fence loop, take over, and a woken one changes nothing."""

import asyncio
import functools
import operator

import pytest

from tests.support import oracle
from tests.support.feed import RealMatch
from tests.support.nodes import NodeProcess, running
from tests.support.wait import until
from tests.system.checks import check_sheet, exactly_once, final
from tests.system.conftest import Platform

TAKEOVER_S = 15
FREEZES = 5


async def shared(platform: Platform, *nodes: NodeProcess) -> bool:
    """Every partition of enrichment has exactly one owner among these nodes, and each node owns some."""
    owned = [await node.owns("enrichment") for node in nodes]
    return all(owned) and sorted(functools.reduce(operator.iadd, owned, [])) == list(range(platform.partitions))


async def fences(platform: Platform) -> int:
    return len((await oracle.read_log(platform.cluster, platform.partitions)).fences)


@pytest.mark.parametrize("platform", [7], indirect=True)
async def test_two_nodes_share_seven_partitions_without_a_fence_loop(
    platform: Platform, matches: list[RealMatch]
) -> None:
    one, two = platform.node("one"), platform.node("two")
    async with running(one, two), platform.client(two) as client:
        await until(lambda: shared(platform, one, two), "both nodes to share the partitions")
        before = await fences(platform)
        assert before <= 2 * platform.partitions
        source = platform.source(one, two)
        for match in matches:
            await source.declare(match.name, match)
            await client.subscribe(f"match:{match.name}", start="start")
        await asyncio.gather(*(source.play(m.name, m) for m in matches))
        await exactly_once(platform, source, client)
        for match in matches:
            check_sheet(await final(platform, two, match.name), match.name)
        assert await fences(platform) == before
        await source.close()


async def test_what_one_node_has_declared_the_other_knows_at_once(platform: Platform, matches: list[RealMatch]) -> None:
    one, two = platform.node("one"), platform.node("two")
    async with running(one, two), platform.client(two) as client:
        await until(lambda: client.connects, "the client's connection")
        here, there = platform.source(one), platform.source(two)
        for number in range(20):
            name = f"m{number}"
            await here.declare(name, matches[0])
            await client.subscribe(f"match:{name}", start="start")
            if number % 2:
                assert (await platform.get(two, f"/v1/matches/{name}"))["match_id"] == name
            await there.post(name, [record for _, _, record in matches[0].feed.records[:1]])
        await until(lambda: all(client.events[f"match:m{n}"] for n in range(20)), "an event of each match")
        assert client.errors == []
        await here.close()
        await there.close()


@pytest.mark.timeout(240)
async def test_three_nodes_survive_a_death_and_five_freezes_in_the_middle_of_a_send(
    platform: Platform, matches: list[RealMatch]
) -> None:
    flag = platform.folder / "hold"
    one, two = platform.node("one"), platform.node("two")
    three = platform.node("three", "tests.support.held", str(flag))
    async with running(one, two, three), platform.client(one, two) as of_the_dead, platform.client(two) as other:
        await until(lambda: shared(platform, one, two, three), "three nodes to share the partitions")
        source = platform.source(two, one)
        end = asyncio.Event()

        async def feed() -> None:
            turn = 0
            while not end.is_set():
                names = [(f"nodes{turn}-{m.name}", m) for m in matches]
                for match_id, match in names:
                    await source.declare(match_id, match)
                    for client in (of_the_dead, other):
                        await client.subscribe(f"match:{match_id}", start="start")
                await asyncio.gather(*(source.play(i, m, batch=30, after=pace) for i, m in names))
                turn += 1

        async def pace() -> None:
            # Not a wait for anything: the load of a source.
            if not end.is_set():
                await asyncio.sleep(0.3)

        feeding = asyncio.create_task(feed())
        for _ in range(FREEZES):
            flag.touch()
            await until(three.is_frozen, "node three to stop itself before a send")
            await until(lambda: shared(platform, one, two), "the others to take over", TAKEOVER_S)
            three.wake()
            await until(lambda: shared(platform, one, two, three), "node three to come back")
        connections = of_the_dead.connections
        one.kill()
        await until(lambda: shared(platform, two, three), "the partitions of the dead to move", TAKEOVER_S)
        await until(lambda: of_the_dead.connections > connections, "the client of the dead to come back elsewhere")
        end.set()
        await asyncio.wait_for(feeding, 120)
        await exactly_once(platform, source, of_the_dead, other)
        assert await fences(platform) <= 16 * platform.partitions
        await source.close()


async def test_a_node_that_is_told_to_end_while_it_starts_ends(platform: Platform) -> None:
    node = platform.node("one")
    for _ in range(3):
        async with running(node):
            assert await node.end() == 0


async def test_a_node_that_ends_cleanly_hands_over_at_once(platform: Platform, matches: list[RealMatch]) -> None:
    one, two = platform.node("one"), platform.node("two")
    async with running(one, two):
        await until(lambda: shared(platform, one, two), "both nodes to share the partitions")
        assert await one.end() == 0
        await until(lambda: shared(platform, two), "the other to own everything", 10)
        source = platform.source(two)
        await source.declare("m", matches[0])
        await source.play("m", matches[0])
        await exactly_once(platform, source)
        await source.close()
