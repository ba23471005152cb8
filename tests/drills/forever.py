"""Scenes in which Kafka forgets who has fenced, and what they share with those of `losses`.

Each asserts that its fault happened. Of two matches one is in each partition.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import NamedTuple

from aiokafka.admin import NewTopic

from eventhub import failpoints, topics
from eventhub.kafka import Bounds, FencedWriter, Kafka, Offsets, Partitioner
from eventhub.kafka.describe import connected
from tests.support import forgotten, oracle
from tests.support.feed import RealMatch, Source
from tests.support.nodes import NodeProcess, running
from tests.support.oracle import LogCheck
from tests.support.wait import until
from tests.system.conftest import Platform

PARTITIONS = 2
FORGETS_MS = 15_000
QUICK = {
    "transactional.id.expiration.ms": str(FORGETS_MS),
    "transaction.remove.expired.transaction.cleanup.interval.ms": "300",
    "producer.id.expiration.ms": str(FORGETS_MS),
    "producer.id.expiration.check.interval.ms": "300",
    "log.retention.check.interval.ms": "300",
    "log.initial.task.delay.ms": "500",
    "file.delete.delay.ms": "100",
}
"""A broker's settings: it forgets in seconds what it keeps for days."""
RENEW_S, NEVER_S = "1", "86400"
CANARY = "canary"
PATIENCE_S, SHORT_S = 90, 15
"""How long a scene waits for what must come; from its fault on less for a mutant, of which it never does."""


class Scene(NamedTuple):
    """What a scene works with."""

    platform: Platform
    source: Source
    feed: RealMatch
    names: tuple[str, str]
    patience_s: float

    async def post(self, start: int, end: int) -> None:
        """Records [start, end) of the feed for both matches."""
        for name in self.names:
            await self.source.post(name, [record for _, _, record in self.feed.feed.records[start:end]])

    @property
    def accepted(self) -> set[str]:
        """Every id that was accepted, as hex digits."""
        return {i.replace("-", "") for ids in self.source.accepted.values() for i in ids}

    async def on_the_log(self) -> LogCheck:
        """The log, once every accepted event is on it."""
        logs: list[LogCheck] = []

        async def all_there() -> bool:
            logs[:] = [await oracle.read_log(self.platform.cluster, PARTITIONS)]
            return self.accepted <= logs[0].ids.keys()

        await until(all_there, "every accepted event to be on the log", self.patience_s)
        once(logs[0].ids)
        return logs[0]

    async def in_history(self) -> None:
        """Every accepted event is in Postgres, once."""

        async def all_there() -> bool:
            rows = await oracle.history(self.platform.dsn)
            return self.accepted <= {i for found in rows.values() for _, i, _ in found}

        await until(all_there, "every accepted event to be in history", self.patience_s)


def once(ids: Counter[str]) -> None:
    """Nothing is on the log twice."""
    twice = [i for i, n in ids.items() if n > 1]
    assert not twice, f"{len(twice)} events are on the log twice"


@asynccontextmanager
async def scene(platform: Platform, feed: RealMatch, *nodes: NodeProcess) -> AsyncIterator[Scene]:
    """Nodes that run and own both partitions, and a declared match in each of them."""
    partition_of = Partitioner(PARTITIONS)
    names = [next(n for n in (f"{name}{i}" for i in range(99)) if partition_of(n) == p) for p, name in SIDES]
    async with running(*nodes):
        source = platform.source(*nodes)
        for name in names:
            await source.declare(name, feed)
        await until(lambda: owned(*nodes), "the nodes to own both partitions")
        try:
            yield Scene(platform, source, feed, (names[0], names[1]), PATIENCE_S)
        finally:
            await source.close()


SIDES = ((0, "north"), (1, "south"))


async def owned(*nodes: NodeProcess, family: str = "enrichment") -> bool:
    """Each partition has one owner among these nodes, and each of them one, where there are enough."""
    found = [await node.owns(family) for node in nodes]
    return all(found) and sorted(p for one in found for p in one) == list(range(PARTITIONS))


async def bounds(cluster: Kafka, topic: str, partition: int) -> Bounds:
    offsets = Offsets(cluster)
    await offsets.open()
    try:
        return await offsets.bounds(topic, partition)
    finally:
        await offsets.close()


async def forgets_the_quiet(cluster: Kafka) -> None:
    """Return once Kafka has forgotten a producer that was quiet since this began: its id, and what it wrote."""
    async with connected(cluster) as admin:
        await admin.create_topics([NewTopic(CANARY, 1, 1)])
    writer = FencedWriter(cluster, CANARY, CANARY, 0)
    await writer.fence(CANARY)
    writer.drop()
    assert await forgotten.knows(cluster, CANARY)

    async def forgot() -> bool:
        return not await forgotten.knows(cluster, CANARY) and not await forgotten.producers(cluster, CANARY, 0)

    await until(forgot, "Kafka to forget a quiet producer")


async def frozen_across_the_expiry(platform: Platform, feed: RealMatch, *, renew_s: str = RENEW_S) -> LogCheck:
    """An owner stands still between its decision and its write until Kafka has forgotten who was quiet for as long.

    The other node takes over, applies the same records, and is quiet too.
    """
    flag = platform.folder / "pause"
    armed = {failpoints.VARIABLE: f"enrichment.before_write=pause:{flag}", "EVENTHUB_STREAMS__FENCE_REFRESH_S": renew_s}
    armed |= {failpoints.RECORD_VARIABLE: str(platform.folder / "fired")}
    platform = platform._replace(environ={**platform.environ, **armed})
    nodes = [platform.node("one"), platform.node("two")]
    async with scene(platform, feed, *nodes) as on:
        await on.post(0, 20)
        await on.on_the_log()
        writers = [await forgotten.producers(platform.cluster, topics.LOG, p) for p in range(PARTITIONS)]
        flag.touch()
        posting = asyncio.create_task(on.post(20, 40))
        await until(lambda: any(n.is_frozen() for n in nodes), "a node to stop itself before a write")
        (zombie,) = [n for n in nodes if n.is_frozen()]
        (other,) = [n for n in nodes if n is not zombie]
        on.source.urls[:] = [other.url]
        await until(lambda: owned(other), "the other to take over")
        await asyncio.wait_for(posting, 60)
        await on.on_the_log()
        # Without renewal what was known at first is old enough to be forgotten by now, and that is the point.
        for p, before in enumerate(writers if renew_s == RENEW_S else []):
            now = await forgotten.producers(platform.cluster, topics.LOG, p)
            assert before.keys() & now.keys(), "this machine took longer for a takeover than Kafka remembers"
        await forgets_the_quiet(platform.cluster)
        assert zombie.is_frozen(), "it did not stand still for that long"
        known = [await forgotten.knows(platform.cluster, f"enrich-{p}") for p in range(PARTITIONS)]
        zombie.wake()
        await until(lambda: owned(zombie, other), "the zombie to come back")
        assert (platform.folder / "fired").read_text().count("enrichment.before_write pause") == 1
        log = await on.on_the_log()
        assert log.backwards == 0, "a raw offset went backwards"
        assert all(known), "Kafka has forgotten the fence, though its owner lives"
        assert "ProducerFenced" in zombie.log_path.read_text(), "nobody refused the zombie"
        await on.in_history()
        return log


async def quiet(platform: Platform, feed: RealMatch) -> None:
    """A lone owner has nothing to do for longer than Kafka remembers, then ends until it is forgotten, and goes on."""
    platform = platform._replace(environ={**platform.environ, "EVENTHUB_STREAMS__FENCE_REFRESH_S": RENEW_S})
    node = platform.node("one")
    ids = [f"{kind}-{p}" for kind in ("enrich", "aggregate") for p in range(PARTITIONS)]
    async with scene(platform, feed, node) as on:
        await on.post(0, 20)
        log = await on.on_the_log()
        await forgets_the_quiet(platform.cluster)
        assert all([await forgotten.knows(platform.cluster, i) for i in ids]), "a living owner's fence was forgotten"
        await on.post(20, 40)
        later = await on.on_the_log()
        no_fence_loop(log, later)
        assert "starts over" not in node.log_path.read_text(), node.tail()
        before = [await forgotten.producers(platform.cluster, topics.LOG, p) for p in range(PARTITIONS)]
        assert await node.end() == 0

        async def all_forgotten() -> bool:
            return not any([await forgotten.knows(platform.cluster, i) for i in ids])

        await until(all_forgotten, "Kafka to forget the fences of a node that is gone")
        node.start()
        await node.ready()
        await on.post(40, 60)
        last = await on.on_the_log()
        after = [await forgotten.producers(platform.cluster, topics.LOG, p) for p in range(PARTITIONS)]
        assert all(a and b and a.keys() != b.keys() for a, b in zip(before, after, strict=True)), "the same producer"
        assert last.backwards == 0
        await on.in_history()


def no_fence_loop(before: LogCheck, after: LogCheck) -> None:
    """Between two looks a quiet owner fences as often as it must, and not more."""
    for partition in range(PARTITIONS):
        fences = [at_ms for p, at_ms, _ in after.fences if p == partition][len(_of(before, partition)) :]
        assert len(fences) >= 2, "the fence was not renewed"
        shortest = min(b - a for a, b in pairwise(fences))
        assert shortest >= 900 * float(RENEW_S), f"a fence loop: two fences within {shortest} ms"


def _of(log: LogCheck, partition: int) -> list[int]:
    return [at_ms for p, at_ms, _ in log.fences if p == partition]
