"""Topics are declared once, with one incarnation that every node agrees on."""

import asyncio

import pytest

from eventhub import topics
from eventhub.errors import ConfigError, UnavailableError
from eventhub.kafka import Declared, Kafka, declare


async def declared(cluster: Kafka, partitions: int = 8) -> Declared:
    return await declare(cluster, partitions=partitions, replication=1, min_insync_replicas=1)


async def delete(cluster: Kafka, names: list[str]) -> None:
    admin = cluster.admin()
    await admin.start()
    try:
        await admin.delete_topics(names)
        async with asyncio.timeout(10):
            while set(names) & set(await admin.list_topics()):
                await asyncio.sleep(0.02)
    finally:
        await admin.close()


async def test_nodes_that_declare_at_once_agree_on_every_incarnation(own_cluster: Kafka) -> None:
    first = await asyncio.gather(*(declared(own_cluster) for _ in range(4)))
    assert all(one.incarnations == first[0].incarnations for one in first)
    assert set(first[0].incarnations) == set(topics.TOPICS)
    assert await declared(own_cluster) == first[0]._replace(created=[])


async def test_a_topic_that_is_made_anew_gets_another_incarnation_and_the_rest_keep_theirs(own_cluster: Kafka) -> None:
    before = await declared(own_cluster)
    await delete(own_cluster, [topics.LOG])
    after = await declared(own_cluster)
    assert after.created == [topics.LOG]
    assert after.epoch != before.epoch
    assert {**after.incarnations, topics.LOG: before.epoch} == before.incarnations


async def test_another_partition_count_is_refused_with_the_next_step(own_cluster: Kafka) -> None:
    await declared(own_cluster)
    with pytest.raises(ConfigError, match="EVENTHUB_KAFKA__PARTITIONS"):
        await declared(own_cluster, partitions=7)


async def test_topics_are_made_as_the_table_says(own_cluster: Kafka) -> None:
    await declared(own_cluster)
    admin = own_cluster.admin()
    await admin.start()
    try:
        described = {t["topic"]: t for t in await admin.describe_topics(list(topics.TOPICS))}
    finally:
        await admin.close()
    for topic in topics.TOPICS.values():
        assert len(described[topic.name]["partitions"]) == (8 if topic.partitioned else 1)


async def test_a_cluster_that_does_not_answer_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 does not answer"):
        await declared(Kafka("127.0.0.1:1"))
