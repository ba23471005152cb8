"""The writer keeps order within a partition and answers only for what is durable; tables fold what was written."""

import asyncio
from typing import Any

import pytest

from eventhub import topics
from eventhub.kafka import Kafka, Offsets, Table, Writer, read_range
from eventhub.record import Outgoing
from eventhub.tasks import end

TOPIC = topics.BILLING


async def values(cluster: Kafka, partition: int, start: int) -> list[bytes]:
    return [r.value async for records in read_range(cluster, TOPIC, partition, start) for r in records]


async def test_records_of_many_callers_arrive_whole_and_in_order(cluster: Kafka) -> None:
    offsets, writer = Offsets(cluster), Writer(cluster)
    await offsets.open()
    await writer.open()
    start = (await offsets.bounds(TOPIC, 3)).end

    async def caller(name: int) -> None:
        for turn in range(10):
            group = [Outgoing(b"k", f"{name}.{turn}.{i}".encode(), []) for i in range(20)]
            await writer.append(TOPIC, 3, group, timeout_s=10)

    await asyncio.gather(*(caller(name) for name in range(10)))
    written = [value.decode() for value in await values(cluster, 3, start)]
    assert len(written) == 2000
    for name in range(10):
        mine = [value for value in written if value.startswith(f"{name}.")]
        assert mine == [f"{name}.{turn}.{i}" for turn in range(10) for i in range(20)]
    await writer.close()
    await offsets.close()


async def test_more_than_a_batch_holds_is_split_and_stays_in_order(cluster: Kafka) -> None:
    offsets, writer = Offsets(cluster), Writer(cluster)
    await offsets.open()
    await writer.open()
    start = (await offsets.bounds(TOPIC, 4)).end
    group = [Outgoing(b"k", b"%06d" % i + b"x" * 2000, []) for i in range(1500)]
    await writer.append(TOPIC, 4, group, timeout_s=10)
    assert [int(v[:6]) for v in await values(cluster, 4, start)] == list(range(1500))
    await writer.close()
    await offsets.close()


async def test_a_table_folds_the_newest_value_of_each_key_and_catches_up(
    cluster: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: dict[str, bytes | None] = {}
    writer = Writer(cluster)
    await writer.open()
    await writer.append(topics.ACCOUNTS, 0, [Outgoing(b"test:a", b"1", [])], timeout_s=10)
    table = Table(cluster, topics.ACCOUNTS, 1, held.__setitem__)
    await table.open()
    assert held["test:a"] == b"1"
    follow = asyncio.create_task(table.run())
    await writer.append(topics.ACCOUNTS, 0, [Outgoing(b"test:a", b"2", [])], timeout_s=10)
    await table.catch_up(10)
    assert held["test:a"] == b"2"
    questions = 0
    ends = table._consumer.end_offsets

    async def counted(tps: Any) -> Any:
        nonlocal questions
        questions += 1
        return await ends(tps)

    monkeypatch.setattr(table._consumer, "end_offsets", counted)
    await asyncio.gather(*(table.catch_up(10) for _ in range(500)))
    assert questions <= 2, "who asks at once asks together"
    await end(follow)
    await table.close()
    await writer.close()
