"""kill -9 of the node at random points with a backlog: nothing missing, nothing twice.

By size: the CI runs it small (tests/system/test_kills.py), `make drill ONLY=kills` in full.
"""

import asyncio
import random
from itertools import count

from tests.support import oracle
from tests.support.clients import Client
from tests.support.feed import RealMatch, Source
from tests.support.groups import WAYS, scramble
from tests.support.nodes import NodeProcess, running
from tests.support.wait import until
from tests.system.checks import check_sheet, exactly_once, final
from tests.system.conftest import Platform

BATCH = 30
BURST = 400
PACE_S = 0.25
SEED = 20180630


async def loop_matches(
    source: Source, matches: list[RealMatch], clients: list[Client], played: list[tuple[str, str]], end: asyncio.Event
) -> None:
    """The six files at once, again and again under fresh match ids, until the end of the loop in which it is told."""

    async def pace() -> None:
        # Not a wait for anything: the load of a source, so that the kills are spread over few enough events.
        if not end.is_set():
            await asyncio.sleep(PACE_S)

    for turn in count():
        names = [(f"loop{turn}-{m.name}", m) for m in matches]
        for match_id, match in names:
            await source.declare(match_id, match)
            for client in clients:
                await client.subscribe(f"match:{match_id}", start="start")
        await asyncio.gather(*(source.play(i, m, batch=BATCH, after=pace) for i, m in names))
        played += [(i, m.name) for i, m in names]
        if end.is_set():
            return


async def killed(platform: Platform, matches: list[RealMatch], kills: int) -> None:
    """So many kills that find a backlog, and after every other one the committed offsets are changed at will."""
    rng = random.Random(SEED)
    node = platform.node("one")
    source, end = platform.source(node), asyncio.Event()
    played: list[tuple[str, str]] = []
    backlogs: list[int] = []
    hows: list[str] = []
    bursts: list[asyncio.Task[None]] = []
    async with running(node), platform.client(node) as one, platform.client(node) as two:
        feeding = asyncio.create_task(loop_matches(source, matches, [one, two], played, end))
        for kill in count():
            # One kill in five comes while the node is still joining, the others while it works.
            if rng.random() > 0.2:
                await until(lambda: owns_all(platform, node), "the node to own every partition")
            bursts += await kill_after(source, node, rng.randint(1, 40), f"burst{kill}", matches)
            # Enrichment is quick: a kill that found it without a backlog is one more, and does not count.
            if waiting := await oracle.backlog(platform.cluster, platform.partitions):
                backlogs.append(waiting)
            if kill % 2:
                hows.append(WAYS[len(hows) % len(WAYS)])
                await scramble(platform.cluster, platform.partitions, hows[-1])
            node.start()
            await node.ready()
            if len(backlogs) == kills:
                break
            assert kill < 2 * kills, "the kills find no backlog"
        end.set()
        await asyncio.wait_for(asyncio.gather(feeding, *bursts), 120)
        assert len(backlogs) == kills
        assert min(backlogs) > 0
        assert len(hows) >= kills // 2 and set(hows) == set(WAYS)
        await exactly_once(platform, source, one, two)
        for match_id, name in played:
            check_sheet(await final(platform, node, match_id), name)
        assert one.connections > kills
    await source.close()


async def kill_after(
    source: Source, node: NodeProcess, answers: int, name: str, matches: list[RealMatch]
) -> list[asyncio.Task[None]]:
    """After the n-th answer from now, send a burst over three matches and kill in the moment of its first answer.

    Enrichment is a few milliseconds behind ingest, so it takes a burst to find it with a backlog. The posts go on until
    they are accepted.
    """
    names = [(f"{name}-{m.name}", m) for m in matches[:3]]
    for match_id, match in names:
        await source.declare(match_id, match)
    wanted = source.answers + answers
    await until(lambda: source.answers >= wanted, f"{answers} answers")
    posts = [
        asyncio.create_task(source.post(match_id, [record for _, _, record in match.feed.records[:BURST]]))
        for match_id, match in names
    ]
    await asyncio.wait(posts, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    node.kill()
    return posts


async def owns_all(platform: Platform, node: NodeProcess) -> bool:
    return len(await node.owns("enrichment")) == platform.partitions
