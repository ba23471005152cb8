"""A family on Faust, against a real broker: shared partitions, own positions, rebuilt after a crash."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import UnknownError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from eventhub import record, topics
from eventhub.events import Match, RawEvent, Team
from eventhub.identity import identity
from eventhub.kafka import Declared, Kafka, Offsets, Partitioner, Writer, read_range
from eventhub.record import Outgoing
from eventhub.streams import enrichment, transport
from eventhub.streams import stage as stage_module
from eventhub.streams.enrichment import Enrichment
from eventhub.streams.stage import Family, Stage
from eventhub.tasks import end
from tests.support.wait import until

PARTITIONS = 8
MATCHES = 24


class Bench:
    """Stages of enrichment in this process, and raw events over all partitions."""

    def __init__(self, cluster: Kafka, offsets: Offsets, writer: Writer, declared: Declared, folder: Path) -> None:
        self._cluster, self._offsets, self._writer, self._declared = cluster, offsets, writer, declared
        self._folder = folder
        self._now = datetime.now(UTC)
        self._sent: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self.stages: list[Stage] = []
        self._registry = {
            f"{folder.name}-{i}": Match(f"{folder.name}-{i}", Team("h", "H"), Team("a", "A"), self._now)
            for i in range(MATCHES)
        }

    def ended(self) -> bool:
        """Whether a stage is no more."""
        return any(task.done() for task in self._tasks)

    def start(self, name: str) -> Stage:
        async def catch_up() -> None:
            return

        around = enrichment.Surroundings(
            self._cluster,
            self._offsets,
            self._declared,
            self._registry,
            catch_up,
            self._writer,
            name,
            3600,
            3600,
            asyncio.Lock(),
        )
        stage = Stage(
            Family("enrichment", topics.RAW, lambda p: Enrichment(p, around)),
            kafka=self._cluster,
            offsets=self._offsets,
            session_timeout_s=3,
            data_dir=self._folder / name,
        )
        self.stages.append(stage)
        self._tasks.append(asyncio.create_task(stage.run()))
        return stage

    async def send(self, count: int) -> None:
        """Raw events over all matches."""
        partition_of = Partitioner(PARTITIONS)
        for number, match_id in enumerate(list(self._registry) * (count // MATCHES)):
            who = identity("broadcast", match_id, f"{len(self._sent)}.{number}", 0, b"")
            self._sent.add(who.packed.hex())
            event = RawEvent(
                event_id=who.text,
                source="broadcast",
                match_id=match_id,
                type="pass",
                occurred_at=self._now,
                accepted_at=self._now,
            )
            head = record.pack_tags(who.packed, b"", b"n:pass")
            row = Outgoing(match_id.encode(), msgspec.json.encode(event), [("h", head)])
            await self._writer.append(topics.BROADCAST, partition_of(match_id), [row], timeout_s=10)

    async def all_on_the_log(self) -> bool:
        """Every event that was sent is on the log; fails when one is there twice."""
        found: list[str] = []
        for partition in range(PARTITIONS):
            async for records in read_range(self._cluster, topics.LOG, partition, 0):
                found += [record.log_tags(record.head(r.headers)).event_id.hex() for r in records if r.value]
        assert len(found) == len(set(found))
        return self._sent <= set(found)

    def shared(self) -> bool:
        """Each partition has exactly one owner among the stages."""
        owned = [p for stage in self.stages for p in stage.partitions]
        return sorted(owned) == list(range(PARTITIONS)) and all(stage.partitions for stage in self.stages)

    async def close(self) -> None:
        await end(*self._tasks)
        await asyncio.gather(*(stage.close() for stage in self.stages))


@pytest.fixture
async def bench(own_cluster: Kafka, own_declared: Declared, tmp_path: Path) -> AsyncIterator[Bench]:
    offsets, writer = Offsets(own_cluster), Writer(own_cluster)
    await offsets.open()
    await writer.open()
    made = Bench(own_cluster, offsets, writer, own_declared, tmp_path)
    yield made
    await made.close()
    await writer.close()
    await offsets.close()


async def commit_the_ends(cluster: Kafka) -> dict[Any, int]:
    """Say for the group that everything was read already; returns what was committed."""
    consumer = cluster.consumer(group_id="eventhub-enrichment")
    await consumer.start()
    try:
        tps = [TopicPartition(t, p) for t in topics.RAW for p in range(PARTITIONS)]
        consumer.assign(tps)
        ends: dict[Any, int] = await consumer.end_offsets(tps)
        await asyncio.wait_for(consumer.commit(ends), 10)
        return ends
    finally:
        await consumer.stop()


async def committed_offsets_are_hints(bench: Bench, cluster: Kafka, committed: dict[Any, int]) -> None:
    await bench.send(96)
    committed |= await commit_the_ends(cluster)
    bench.start("one")
    await until(bench.all_on_the_log, "every event to be on the log", 10)


async def nodes_share_whole_partitions(bench: Bench) -> None:
    for name in ("one", "two", "three"):
        bench.start(name)
    await until(bench.shared, "three nodes to share the partitions", 15)


async def test_committed_offsets_are_hints(bench: Bench, own_cluster: Kafka) -> None:
    await committed_offsets_are_hints(bench, own_cluster, {})


async def test_mutant_start_from_committed_offsets_loses_events(
    bench: Bench, own_cluster: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed: dict[Any, int] = {}

    async def to_committed(self: Any, offsets: dict[tuple[str, int], int]) -> None:
        for tp in offsets:
            self._ensure_consumer().seek(TopicPartition(*tp), committed[TopicPartition(*tp)])

    monkeypatch.setattr(transport._Thread, "seek_all", to_committed)
    with pytest.raises(pytest.fail.Exception, match="every event to be on the log"):
        await committed_offsets_are_hints(bench, own_cluster, committed)


async def test_three_nodes_share_whole_partitions(bench: Bench) -> None:
    await nodes_share_whole_partitions(bench)


async def test_mutant_round_robin_splits_the_topics_of_a_partition(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = AIOKafkaConsumerThread._create_worker_consumer
    monkeypatch.setattr(transport._Thread, "_create_worker_consumer", stock)
    with pytest.raises(pytest.fail.Exception, match="to share the partitions"):
        await nodes_share_whole_partitions(bench)


async def connections_are_closed_on_their_own_loop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = bench.start("one")
    await until(bench.shared, "the node to own all partitions", 15)
    thread_loop = stage._app.consumer.thread.thread_loop
    close, closed_on = AIOKafkaClient.close, []

    async def told(self: Any) -> None:
        if self._loop is thread_loop:
            closed_on.append(asyncio.get_running_loop())
        # On another loop it may end the process, so the mutant is not let through.
        if self._loop is asyncio.get_running_loop():
            await close(self)

    monkeypatch.setattr(AIOKafkaClient, "close", told)
    # What Faust does when a rebalance meets an App that stops.
    stage._app._on_rebalance_when_stopped()
    await bench.close()
    await until(lambda: len(closed_on) > 0, "the consumer to be closed")
    assert {loop is thread_loop for loop in closed_on} == {True}


async def test_a_rebalance_while_a_stage_stops_leaves_connections_to_their_thread(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connections_are_closed_on_their_own_loop(bench, monkeypatch)


async def test_mutant_connections_closed_by_the_loop_of_the_app(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport._Thread, "close", AIOKafkaConsumerThread.close)
    with pytest.raises(AssertionError, match="False"):
        await connections_are_closed_on_their_own_loop(bench, monkeypatch)


async def test_a_crashed_app_is_built_anew_and_goes_on(bench: Bench) -> None:
    stage = bench.start("one")
    await until(bench.shared, "the node to own all partitions", 15)
    await stage._app.crash(RuntimeError("as a timer would"))
    await until(lambda: stage.rebuilt == 1, "the crash to be noticed", 15)
    await bench.send(48)
    await until(bench.all_on_the_log, "the new App to work", 30)


async def test_a_leader_that_knew_of_no_partitions_asks_again_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assign, turns = RangePartitionAssignor.assign, 0

    def knows_nothing_at_first(cluster: Any, members: Any) -> Any:
        nonlocal turns
        turns += 1
        if turns == 1:
            # As a broker tells that was frozen until its session with the controller ended.
            cluster._partitions.clear()
        return assign(cluster, members)

    monkeypatch.setattr(RangePartitionAssignor, "assign", knows_nothing_at_first)
    bench.start("a")
    await until(bench.shared, "the partitions to be assigned")
    assert turns > 1


async def test_a_member_whose_proofs_are_refused_for_ever_joins_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    prove, refused = transport._Thread.prove, 0

    async def forgotten(self: Any, *asked: Any) -> bool:
        nonlocal refused
        if not bench.stages[0].rebuilt:
            refused += 1
            return False
        return await prove(self, *asked)

    monkeypatch.setattr(transport._Thread, "prove", forgotten)
    monkeypatch.setattr(stage_module, "UNPROVEN_S", 0)
    bench.start("one")
    await until(bench.shared, "the stage to join anew and to own everything")
    assert refused > PARTITIONS
    await bench.send(48)
    await until(bench.all_on_the_log, "the new App to work", 30)


@pytest.mark.parametrize("error", [UnknownError("for a moment"), RuntimeError("for good")], ids=["retried", "fatal"])
async def test_an_error_while_it_joins_keeps_no_family_from_its_group(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    await an_error_while_it_joins(bench, monkeypatch, error)


async def test_mutant_nobody_heeds_what_stopped_the_coordination(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unheard(self: Any) -> None:
        return None

    monkeypatch.setattr(transport._Thread, "heed", unheard)
    with pytest.raises(pytest.fail.Exception, match="the group to be joined after all"):
        await an_error_while_it_joins(bench, monkeypatch, UnknownError("for a moment"), timeout_s=8)


async def test_a_thread_that_ends_while_it_is_asked_ends_no_stage(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    heed, asked = transport._Thread.heed, 0

    async def ends(self: Any) -> None:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise asyncio.CancelledError
        await heed(self)

    monkeypatch.setattr(transport._Thread, "heed", ends)
    bench.start("one")
    await until(lambda: asked > 3 or bench.ended(), "the stage to ask again")
    assert not bench.ended()
    await until(bench.shared, "the partitions to be assigned")


async def an_error_while_it_joins(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception, timeout_s: float = 60
) -> None:
    """The first question after the group's coordinator fails as aiokafka does not retry it."""
    lookup, failed = AIOKafkaClient.coordinator_lookup, 0

    async def fails_once(self: Any, *asked: Any) -> Any:
        nonlocal failed
        if asked[0] == CoordinationType.GROUP and not failed:
            failed += 1
            raise error
        return await lookup(self, *asked)

    monkeypatch.setattr(AIOKafkaClient, "coordinator_lookup", fails_once)
    bench.start("one")
    await until(bench.shared, "the group to be joined after all", timeout_s)
    assert failed == 1
    await bench.send(48)
    await until(bench.all_on_the_log, "the family to work", 30)
