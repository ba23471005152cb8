"""What a node says of itself while a partition is wedged, or what it needs is away, for as long as it lasts.

The suites by size: the CI runs them with a short limit (tests/system/test_health.py), `make drill ONLY=health` with the
product's own of 60 s and with outages of five minutes.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import psutil

from eventhub.embedded import Services
from eventhub.tasks import end
from tests.drills.numbered import one_match_each
from tests.drills.scene import has_ended
from tests.support.feed import RealMatch, Source
from tests.support.nodes import NodeProcess, running
from tests.support.wait import until
from tests.system.conftest import Platform

WEDGED = 3
FAMILIES = ("enrichment", "history", "aggregation")
LOOK_EVERY_S, FEED_EVERY_S, EVENTS = 0.25, 2.0, 10
WEDGE = ("tests.support.wedged",)


class Looks(NamedTuple):
    """How often a probe was asked, and for how long it said what it should, in seconds."""

    times: int
    for_s: float


def health_node(
    platform: Platform, name: str, *program: str, stuck_after_s: float | None, shared: Path | None = None
) -> NodeProcess:
    """A node that counts as stuck after so many seconds; None: as the product has it."""
    limit = {} if stuck_after_s is None else {"EVENTHUB_HEALTH__STUCK_AFTER_S": str(stuck_after_s)}
    started = (sys.executable, "-m", *(program or ("eventhub",)))
    return NodeProcess(name, platform.folder, {**platform.environ, **limit}, started, shared=shared)


async def admin(node: NodeProcess, path: str) -> httpx2.Response:
    """One look at the admin port."""
    async with httpx2.AsyncClient(timeout=10) as http:
        return await http.get(node.admin_url + path)


async def status(node: NodeProcess) -> Any:
    """`/status`."""
    return (await admin(node, "/status")).json()


async def dead(node: NodeProcess) -> bool:
    """The node asks for a restart."""
    return (await admin(node, "/livez")).status_code == 503


class Feed:
    """A match in each partition, and a few events in each on demand."""

    def __init__(self, platform: Platform, node: NodeProcess, match: RealMatch) -> None:
        self.source: Source = platform.source(node)
        self._match, self._ids = match, one_match_each(platform.partitions)
        self._records = [record for _, _, record in match.feed.records]
        self._sent = 0

    async def declare(self) -> None:
        for match_id in self._ids:
            await self.source.declare(match_id, self._match)

    async def more(self) -> None:
        records = self._records[self._sent : self._sent + EVENTS]
        assert records, "the match is over"
        for match_id in self._ids:
            await self.source.post(match_id, records)
        self._sent += EVENTS

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """A few events in each partition every two seconds."""

        async def feed() -> None:
            # Not a wait for anything: the pace of a source.
            while True:
                await asyncio.sleep(FEED_EVERY_S)
                await self.more()

        feeding = asyncio.create_task(feed())
        try:
            yield
            assert not feeding.done(), "the source stopped before the drill did"
        finally:
            await end(feeding)


async def wedged(
    platform: Platform,
    match: RealMatch,
    how: str,
    *,
    stuck_after_s: float | None,
    within_s: float,
    program: Sequence[str] = WEDGE,
) -> float:
    """One partition of eight is wedged while events go on in all: it is named, and it alone, and a restart heals it.

    Returns after how many seconds the probe turned 503, counted from before the first event of the wedge was sent.
    """
    flag, loop = platform.folder / "wedge", asyncio.get_running_loop()
    node = health_node(platform, "one", *program, str(flag), stuck_after_s=stuck_after_s)
    async with running(node):
        feed = Feed(platform, node, match)
        await feed.declare()
        await feed.more()
        await caught_up(node, platform.partitions)
        flag.write_text(f"enrichment {WEDGED} {how}")
        wedged_at = loop.time()
        await feed.more()
        async with feed.going_on():
            await until(lambda: dead(node), "the wedged partition to be found", within_s)
            after_s = loop.time() - wedged_at
        (stuck,) = (await admin(node, "/livez")).json()["stuck"]
        assert (stuck["family"], stuck["partition"]) == ("enrichment", WEDGED)
        assert stuck["lag"] >= EVENTS, "what was posted, and perhaps a late state event"
        await until(lambda: lags_alone(node), "all other partitions to have nothing to do")
        assert (await admin(node, "/readyz")).status_code == 200, "live delivery works"
        # What an orchestrator does then.
        flag.unlink()
        node.kill()
        node.start()
        await node.ready()
        await caught_up(node, platform.partitions)
        await feed.source.close()
    return after_s


async def lags_alone(node: NodeProcess) -> bool:
    """Of enrichment's partitions the wedged one has something to do, and no other."""
    progress = (await status(node))["families"]["enrichment"]["progress"]
    return {p for p, report in progress.items() if report["lag"]} == {str(WEDGED)}


async def away(
    platform: Platform,
    match: RealMatch,
    heal: Callable[[], Services],
    *,
    down_s: float,
    stuck_after_s: float | None,
    program: Sequence[str] = (),
) -> tuple[Looks, Looks]:
    """PostgreSQL is down for so long, then Kafka: the node is live at every look, says why it waits, and goes on.

    `heal` starts what is down. Returns the looks at the probe during the one and the other.
    """
    node = health_node(platform, "one", *program, stuck_after_s=stuck_after_s)
    shares: list[Services] = []
    async with running(node):
        feed = Feed(platform, node, match)
        await feed.declare()
        await feed.more()
        await caught_up(node, platform.partitions)

        postmaster = await stopped(platform)
        await feed.more()
        postgres = await live_while_blocked_by(node, "postgres", ("history",), for_s=down_s)
        assert not postmaster.is_running(), "PostgreSQL was not down all the time"
        assert (await admin(node, "/readyz")).status_code == 200
        shares.append(await asyncio.to_thread(heal))
        await caught_up(node, platform.partitions)

        broker = psutil.Process(platform.services.pid("kafka"))
        broker.send_signal(signal.SIGKILL)
        kafka = await live_while_blocked_by(node, "kafka", FAMILIES, for_s=down_s)
        assert not broker.is_running() or broker.status() == psutil.STATUS_ZOMBIE, "Kafka was not down all the time"
        shares.append(await asyncio.to_thread(heal))
        await feed.more()
        await caught_up(node, platform.partitions)
        assert not has_ended(node)
        assert "stuck" not in events_told(node)
        await feed.source.close()
    for share in shares:
        await asyncio.to_thread(share.leave)
    return postgres, kafka


async def stopped(platform: Platform) -> psutil.Process:
    """PostgreSQL, after it was told to stop and has."""
    postmaster = psutil.Process(platform.services.pid("postgres"))
    os.kill(postmaster.pid, signal.SIGINT)
    await until(lambda: not postmaster.is_running(), "Postgres to stop")
    return postmaster


async def live_while_blocked_by(node: NodeProcess, cause: str, families: Sequence[str], *, for_s: float) -> Looks:
    """The node is live at every look, until each of these families has been blocked by the cause for so long."""
    loop = asyncio.get_running_loop()
    since, times = loop.time(), 0

    async def for_long() -> bool:
        nonlocal times
        answer = await admin(node, "/livez")
        assert answer.status_code == 200, f"/livez is 503 while {cause} is away: {answer.text}"
        times += 1
        told = [one for one in answer.json()["blocked"] if one["by"] == [cause]]
        long_ago = datetime.now(UTC) - timedelta(seconds=for_s)
        return all(
            any(one["family"] == family and datetime.fromisoformat(one["since"]) < long_ago for one in told)
            for family in families
        )

    while loop.time() < since + for_s:
        await for_long()
        # Not a wait: an orchestrator looks at its own pace.
        await asyncio.sleep(LOOK_EVERY_S)
    await until(for_long, f"{', '.join(families)} to be blocked by {cause} for {for_s:g} s", 60)
    return Looks(times, round(loop.time() - since, 1))


async def caught_up(node: NodeProcess, partitions: int) -> None:
    """Everything is applied, and the node is live until then."""

    async def done() -> bool:
        answer = await admin(node, "/livez")
        assert answer.status_code == 200, answer.text
        families = (await status(node))["families"].values()
        reports = [report for family in families for report in family["progress"].values()]
        return len(reports) == 3 * partitions and all(r["lag"] == 0 and r["state"] == "idle" for r in reports)

    await until(done, "everything to be applied")


def events_told(node: NodeProcess) -> set[str]:
    """Names of what the node logged."""
    return {json.loads(line).get("event") for line in node.tail(100_000).splitlines() if line.startswith("{")}
