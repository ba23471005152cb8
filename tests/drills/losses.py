"""Scenes in which Kafka loses what it had: the head of the log, a whole raw topic, the tail of a topic.

Each is a function of the program that the nodes run, so that a mutant plays the same scene; each asserts that its fault
happened.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

import psycopg
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from eventhub import topics
from eventhub.kafka import Kafka
from eventhub.kafka.describe import connected
from tests.drills.forever import PARTITIONS, PATIENCE_S, RENEW_S, Scene, bounds, owned, scene
from tests.support import oracle
from tests.support.brokers import Brokers
from tests.support.clients import Client
from tests.support.cut import cut_tail
from tests.support.feed import RealMatch
from tests.support.nodes import NodeProcess, running
from tests.support.wait import until
from tests.system.conftest import Platform

INTACT = ("eventhub",)
RENEWAL = 2
"""Records of a fence that is renewed: itself, and the marker with the vector."""


class Lost(Protocol):
    """A scene."""

    async def __call__(
        self,
        platform: Platform,
        brokers: Brokers,
        feed: RealMatch,
        /,
        *,
        program: tuple[str, ...] = INTACT,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Play it."""


async def head_lost(
    platform: Platform,
    _: Brokers,
    feed: RealMatch,
    *,
    program: tuple[str, ...] = INTACT,
    patience_s: float = PATIENCE_S,
) -> None:
    """The node of history is down for longer than the log keeps records, and so is a client.

    The rest is stored, the gap is noted, and whoever asks across it is reset.
    """
    live = _with(platform, families="enrichment,aggregation").node("live", *program)
    keeper = _with(platform, families="history").node("keeper", *program)
    async with scene(platform, feed, live) as on, running(keeper):
        name, channel = on.names[0], f"match:{on.names[0]}"
        on.source.urls[:] = [live.url]
        await on.post(0, 20)
        await on.in_history()
        async with platform.client(live) as before:
            await before.subscribe(channel, start="start")
            await until(lambda: len(before.events[channel]) >= 20, "the first events at the client")
            cursor = before.cursor(channel)
        assert await keeper.end() == 0
        kept = await _everything_in(platform.dsn)
        stands = await progress(platform.dsn)
        await on.post(20, 40)
        lost = (await on.on_the_log()).ids.keys() - kept
        await _lose_the_head(platform.cluster)
        starts = [(await bounds(platform.cluster, topics.LOG, p)).beginning for p in range(PARTITIONS)]
        assert all(starts[p] > stands[epoch, p] for epoch, p in stands), "nothing was lost"
        on = on._replace(patience_s=patience_s)
        # What the node has in memory it would still give.
        assert await live.end() == 0
        live.start()
        keeper.start()
        await asyncio.gather(live.ready(), keeper.ready())
        await until(lambda: owned(live), "the node to own both partitions")
        await on.post(40, 60)
        after = on.accepted - kept - lost
        assert len(after) == 40

        async def stored() -> bool:
            return after <= await _everything_in(platform.dsn)

        await until(stored, "history to store the rest", patience_s)
        assert not lost & await _everything_in(platform.dsn), "nothing was lost"
        wanted = [(p, stands[epoch, p], starts[p] - 1) for epoch, p in sorted(stands)]
        assert await gaps(platform.dsn) == wanted, "a gap that nobody noted"
        assert keeper.log_path.read_text().count("history has a gap") == PARTITIONS
        assert "starts over" not in keeper.log_path.read_text()
        async with platform.client(live) as resumed, platform.client(live) as whole:
            await resumed.subscribe(channel, cursor=cursor)
            await whole.subscribe(channel, start="start")
            for one in (resumed, whole):
                await _goes_on_behind(on, one, channel, starts[0] - 1)
        page = await platform.get(live, f"/v1/matches/{name}/events?limit=1000")
        ids = [item["event_id"].replace("-", "") for item in page["items"]]
        assert page.get("incomplete") is True, "a page across the gap looks whole"
        assert set(ids) >= (kept | after) & _of(on, name)
        assert len(ids) == len(set(ids))
        async with platform.client(live) as later:
            await later.subscribe(channel, cursor=page["items"][-1]["cursor"])
            await until(lambda: later.recovered, "an answer")
            assert later.recovered == [True] and not later.resets


async def topic_lost(
    platform: Platform,
    _: Brokers,
    feed: RealMatch,
    *,
    program: tuple[str, ...] = INTACT,
    patience_s: float = PATIENCE_S,
) -> None:
    """A raw topic is deleted and made again: its offsets begin again, where the log has applied them already.

    At first while its owner is down, and the new topic outgrows the old one; then under an owner that runs.
    """
    gate = _with(platform, families="history,aggregation").node("gate", *program)
    worker = _with(platform, families="enrichment").node("worker", *program)
    async with running(gate), scene(platform, feed, worker) as on, platform.client(gate) as one:
        channel = f"match:{on.names[0]}"
        on.source.urls[:] = [gate.url]
        await one.subscribe(channel, start="start")
        await on.post(0, 40)
        await on.on_the_log()
        before = await _ends(platform.cluster, topics.BROADCAST)
        assert await worker.end() == 0
        await make_anew(platform.cluster, topics.BROADCAST)
        await on.post(40, 120)
        after = await _ends(platform.cluster, topics.BROADCAST)
        assert all(after[p] > before[p] > 0 for p in before), "the new topic did not outgrow the old one"
        on = on._replace(patience_s=patience_s)
        worker.start()
        await worker.ready()
        await on.on_the_log()
        await make_anew(platform.cluster, topics.BROADCAST)
        await on.post(120, 130)
        assert all(0 < end < after[p] for p, end in (await _ends(platform.cluster, topics.BROADCAST)).items())
        await on.on_the_log()
        await on.in_history()
        await _has_everything(on, one, channel)
        assert not one.resets and all(one.recovered), "the log is the same: nobody need be reset"


async def log_tail_lost(
    platform: Platform,
    brokers: Brokers,
    feed: RealMatch,
    *,
    program: tuple[str, ...] = INTACT,
    patience_s: float = PATIENCE_S,
) -> None:
    """The log loses acknowledged records; the raw topics still have them, so the log gets them again, in a new life."""
    node = _with(platform).node("one", *program)
    async with scene(platform, feed, node) as on, platform.client(node) as client:
        name, channel = on.names[0], f"match:{on.names[0]}"
        await client.subscribe(channel, start="start")
        await on.post(0, 40)
        await on.on_the_log()
        await on.in_history()
        await until(lambda: len(client.events[channel]) >= 40, "the events at the client")
        was = {epoch for epoch, _ in await progress(platform.dsn)}
        await lose_the_tail(brokers, topics.LOG, 20)
        on = on._replace(patience_s=patience_s)
        await on.post(40, 60)
        await _told(on, client, "epoch_changed", channel)
        await on.on_the_log()
        await on.in_history()
        await until(lambda: owned(node), "the node to own both partitions")

        async def caught_up() -> bool:
            ends = await _ends(platform.cluster, topics.LOG)
            now = {p: n for (epoch, p), n in (await progress(platform.dsn)).items() if epoch not in was}
            # Fences come all the time, so the end moves on.
            return now.keys() == ends.keys() and all(now[p] >= ends[p] - 2 for p in ends)

        await until(caught_up, "history to reach the end of the new log", patience_s)
        page = await platform.get(node, f"/v1/matches/{name}/events?limit=1000")
        ids = [item["event_id"].replace("-", "") for item in page["items"]]
        assert set(ids) >= _of(on, name), "accepted events are missing in history"
        assert len(ids) == len(set(ids)), "in history twice"
        assert "incomplete" not in page
        await _ahead(on, node, channel, page["items"][-1]["cursor"])


async def raw_tail_lost(
    platform: Platform,
    brokers: Brokers,
    feed: RealMatch,
    *,
    program: tuple[str, ...] = INTACT,
    patience_s: float = PATIENCE_S,
) -> None:
    """A raw topic loses what the log has applied; what is accepted afterwards takes the lost records' offsets.

    Nothing of it is left, so that the cut is only seen when something new is there already.
    """
    node = platform.node("one", *program)
    async with scene(platform, feed, node) as on:
        await on.post(0, 40)
        await on.on_the_log()
        cuts = await lose_the_tail(brokers, topics.BROADCAST, 20)
        assert all(after == 0 for _, after in cuts.values()), "something is left that would tell of the cut"
        on = on._replace(patience_s=patience_s)
        await on.post(40, 50)
        await on.on_the_log()
        assert "raw topic was cut" in node.log_path.read_text()
        await on.in_history()


def _with(platform: Platform, *, families: str = "enrichment,history,aggregation") -> Platform:
    more = {"EVENTHUB_STREAMS__FAMILIES": families, "EVENTHUB_STREAMS__FENCE_REFRESH_S": RENEW_S}
    return platform._replace(environ={**platform.environ, **more})


def _of(on: Scene, name: str) -> set[str]:
    return {i.replace("-", "") for i in on.source.accepted[name]}


async def _everything_in(dsn: str) -> set[str]:
    return {i for rows in (await oracle.history(dsn)).values() for _, i, _ in rows}


async def _goes_on_behind(on: Scene, client: Client, channel: str, gap_end: int) -> None:
    told = int((await _told(on, client, "gone", channel))["cursor"].rpartition(".")[2])
    assert told >= gap_end, "a cursor within the gap"

    async def follows() -> bool:
        # A state event may be appended up to a second after what led to it, so history is read each time.
        return client.events[channel] == await _stored_above(on.platform.dsn, channel.removeprefix("match:"), told)

    await until(follows, "what follows the reset", on.patience_s)


async def _stored_above(dsn: str, name: str, offset: int) -> list[bytes]:
    return [body for at, _, body in (await oracle.history(dsn))[name] if at > offset]


async def _has_everything(on: Scene, client: Client, channel: str) -> None:
    async def same() -> bool:
        values = (await oracle.read_log(on.platform.cluster, PARTITIONS)).values
        return client.events[channel] == [value for _, value in values[channel.removeprefix("match:")]]

    await until(same, "the client to have what the log has", on.patience_s)


async def _told(on: Scene, client: Client, reason: str, channel: str) -> dict[str, Any]:
    """The client gets one reset, as INTERFACE says: channel, cursor, reason, and a state to begin with."""
    await until(lambda: client.resets, f"the client to be told of a reset ({reason})", on.patience_s)
    (told,) = client.resets
    assert (told["reason"], told["channel"]) == (reason, channel)
    assert told["cursor"]
    assert f"match:{told['state']['match_id']}" == channel
    return told


async def _ahead(on: Scene, node: NodeProcess, channel: str, cursor: str) -> None:
    """A cursor beyond the log's end, of the log's own life."""
    head, _, offset = cursor.rpartition(".")
    async with on.platform.client(node) as client:
        await client.subscribe(channel, cursor=f"{head}.{int(offset) + 100_000}")
        await _told(on, client, "ahead_of_log", channel)


async def _ends(cluster: Kafka, topic: str) -> dict[int, int]:
    return {p: (await bounds(cluster, topic, p)).end for p in range(PARTITIONS)}


async def _lose_the_head(cluster: Kafka) -> None:
    """Let retention delete everything that the log has now."""
    ends = await _ends(cluster, topics.LOG)
    await set_topic(cluster, topics.LOG, {"retention.ms": "200", "segment.ms": "200"})

    async def gone() -> bool:
        return all([(await bounds(cluster, topics.LOG, p)).beginning >= ends[p] for p in range(PARTITIONS)])

    await until(gone, "retention to delete the head of the log")
    await set_topic(cluster, topics.LOG, {})
    ends = await _ends(cluster, topics.LOG)

    async def fenced_again() -> bool:
        now = [await bounds(cluster, topics.LOG, p) for p in range(PARTITIONS)]
        return all(one.end >= ends[p] + 3 * RENEWAL and one.end - one.beginning >= RENEWAL for p, one in enumerate(now))

    # The broker may delete for a moment longer. A log without any vector would be written from the raw topics anew,
    # so that nothing of it was lost.
    await until(fenced_again, "owners to fence where retention stands still again")


async def set_topic(cluster: Kafka, name: str, changes: Mapping[str, str]) -> None:
    """The topic's settings as they should be, but for these changes."""
    right = topics.configs(topics.TOPICS[name], min_insync_replicas=1)
    async with connected(cluster) as admin:
        wanted = ConfigResource(ConfigResourceType.TOPIC, name, {**right, **changes})
        for answer in await admin.alter_configs([wanted]):
            assert all(error == 0 for error, *_ in answer.resources), answer


async def make_anew(cluster: Kafka, name: str) -> None:
    """Delete a topic and make it again, as it should be."""
    async with connected(cluster) as admin:
        await admin.delete_topics([name])

        async def made() -> bool:
            answer = await admin.create_topics(
                [
                    NewTopic(
                        name, PARTITIONS, 1, topic_configs=topics.configs(topics.TOPICS[name], min_insync_replicas=1)
                    )
                ]
            )
            return bool(answer.topic_errors[0][1] == 0)

        await until(made, f"{name} to be made again")


async def progress(dsn: str) -> dict[tuple[str, int], int]:
    """How far history is, by the log's epoch and partition."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        rows = await connection.execute("select log_epoch, log_partition, next_offset from log_progress")
        return {(epoch, partition): offset for epoch, partition, offset in await rows.fetchall()}


async def gaps(dsn: str) -> list[tuple[int, int, int]]:
    """Partition, first and last offset of each gap that history has noted."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        rows = await connection.execute("select log_partition, from_offset, to_offset from log_gaps order by 1, 2")
        return [(p, first, last) for p, first, last in await rows.fetchall()]


async def lose_the_tail(brokers: Brokers, topic: str, records: int) -> dict[int, tuple[int, int]]:
    """Kill the broker, cut every partition's tail of a topic, start it again; returns the ends before and after."""
    await brokers.kill(0)
    cuts = {
        p: await asyncio.to_thread(cut_tail, brokers.processes[0].folder, topic, p, records) for p in range(PARTITIONS)
    }
    await brokers.restart(0)
    await brokers.answering()
    assert all(before - after >= records for before, after in cuts.values())
    return cuts
