"""What must hold of private attributes of faust-streaming 0.15.3 and aiokafka 0.14.0, against a real broker.

The transport and the fence rest on these; a new version of either package has to pass here first.
"""

import asyncio
from importlib.metadata import version

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.group_coordinator import OffsetCommitRequest
from aiokafka.errors import ProducerFenced
from aiokafka.structs import TopicPartition

from eventhub import topics
from eventhub.errors import UnavailableError
from eventhub.kafka import FencedWriter, Kafka, fence
from eventhub.record import Outgoing

GROUP = "contract"
ONE = [Outgoing(b"k", b"v", [])]


def test_the_versions_are_the_ones_that_were_tried() -> None:
    assert version("faust-streaming") == "0.15.3"
    assert version("aiokafka") == "0.14.0"


async def test_the_fence_record_stops_the_older_writer_and_initialising_alone_does_not(cluster: Kafka) -> None:
    older = FencedWriter(cluster, "contract-0", topics.DEAD, 0)
    older.last = await older.fence("older")
    newer = FencedWriter(cluster, "contract-0", topics.DEAD, 0)
    producer = cluster.producer(transactional_id="contract-0")
    await producer.start()
    older.last = None
    await older.write(ONE)
    await producer.stop()
    await newer.fence("newer")
    older.last = None
    with pytest.raises(ProducerFenced):
        await asyncio.wait_for(older.write(ONE), 10)
    newer.last = None
    await newer.write(ONE)
    older.drop()
    newer.drop()


async def test_a_batch_answers_with_its_base_offset(cluster: Kafka) -> None:
    writer = FencedWriter(cluster, "contract-1", topics.DEAD, 1)
    fence = writer.last = await writer.fence("n")
    assert await writer.write(ONE * 3) == fence + 3
    assert await writer.write(ONE) == fence + 4
    writer.drop()


async def never_answered(cluster: Kafka) -> None:
    """Kafka answers, and the producer waits on all the same: aiokafka keeps a partition muted. Then the fence anew."""
    writer = FencedWriter(cluster, "contract-2", topics.DEAD, 2)
    writer.last = await writer.fence("n")
    muted = writer._producer._sender._muted_partitions
    muted.add(TopicPartition(topics.DEAD, 2))
    with pytest.raises(UnavailableError, match="not acknowledged"):
        await writer.write(ONE)
    assert muted, "nothing kept the batch back"
    writer.last = await writer.fence("n")
    await writer.write(ONE)
    writer.drop()


async def test_a_write_that_is_never_answered_ends_and_the_owner_may_fence_again(
    cluster: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "ACKNOWLEDGED_S", 2.0)
    await asyncio.wait_for(never_answered(cluster), 30)


async def test_mutant_a_write_without_a_limit_waits_for_ever(cluster: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence, "ACKNOWLEDGED_S", 3600.0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(never_answered(cluster), 3)


async def test_a_commit_by_hand_is_refused_outside_its_generation_and_changes_nothing(cluster: Kafka) -> None:
    consumer = AIOKafkaConsumer(topics.STATS, group_id=GROUP, enable_auto_commit=False, **cluster.credentials)
    await consumer.start()
    coordinator = consumer._coordinator

    async def code(generation: int, member: str) -> int:
        request = OffsetCommitRequest(
            GROUP, generation, member, OffsetCommitRequest.DEFAULT_RETENTION_TIME, [(topics.STATS, [(0, 5, "")])]
        )
        before = (coordinator.generation, coordinator.member_id, coordinator._rejoin_needed_fut.done())
        answer = await coordinator._send_req(request)
        assert before == (coordinator.generation, coordinator.member_id, coordinator._rejoin_needed_fut.done())
        error: int = answer.topics[0][1][0][1]
        return error

    generation, member = coordinator.generation, coordinator.member_id
    try:
        assert generation >= 1
        assert await code(generation, member) == 0
        assert await code(generation - 1, member) != 0
        assert await code(generation, "stranger") != 0
        assert await code(-1, "") != 0
    finally:
        await consumer.stop()
