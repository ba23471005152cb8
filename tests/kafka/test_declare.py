"""Topics are declared once, with one incarnation that every node agrees on."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import RequestTimedOutError

from eventhub import topics
from eventhub.errors import ConfigError, UnavailableError
from eventhub.kafka import Kafka, Lives, Offsets, begin_anew
from eventhub.kafka.declare import PREFIX, _Maker
from eventhub.record import Lost
from tests.conftest import declare as declared
from tests.support.weaken import delete, make


async def test_nodes_that_declare_at_once_agree_on_every_incarnation(own_cluster: Kafka) -> None:
    first = await asyncio.gather(*(declared(own_cluster) for _ in range(4)))
    assert all(one.incarnations == first[0].incarnations for one in first)
    assert set(first[0].incarnations) == set(topics.TOPICS)
    assert await declared(own_cluster) == first[0]._replace(created=[])


async def test_a_topic_that_is_made_anew_gets_another_incarnation_and_the_rest_keep_theirs(own_cluster: Kafka) -> None:
    before = await declared(own_cluster)
    await delete(own_cluster, topics.LOG)
    after = await declared(own_cluster)
    assert after.created == [topics.LOG]
    assert after.epoch != before.epoch
    assert {**after.incarnations, topics.LOG: before.epoch} == before.incarnations


async def test_a_topic_that_somebody_else_made_anew_gets_another_incarnation(own_cluster: Kafka) -> None:
    before = await declared(own_cluster)
    await make(own_cluster, topics.BROADCAST, partitions=8, replication=1)
    after = await declared(own_cluster)
    assert after.created == []
    assert after.ids[topics.BROADCAST] != before.ids[topics.BROADCAST]
    fresh = {name for name, life in after.incarnations.items() if life != before.incarnations[name]}
    assert fresh == {topics.BROADCAST}
    assert await declared(own_cluster) == after


async def a_broker_is_behind(cluster: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker that tells of topics does not know the newest of them yet."""
    before = await declared(cluster)
    there, turns = _Maker._there, 0

    async def behind(self: _Maker) -> dict[str, list[Any]]:
        nonlocal turns
        turns += 1
        return {name: parts for name, parts in (await there(self)).items() if turns > 6 or name != topics.LOG}

    monkeypatch.setattr(_Maker, "_there", behind)
    after = await declared(cluster)
    assert turns > 6
    assert after == before._replace(created=[]), "a topic that was there was made anew"


async def test_a_topic_that_one_broker_does_not_know_yet_is_not_made_anew(
    own_cluster: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_broker_is_behind(own_cluster, monkeypatch)


async def test_a_controller_that_cannot_say_now_is_asked_again(
    own_cluster: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    await declared(own_cluster)
    create, late = AIOKafkaAdminClient.create_topics, 0

    async def too_late_at_first(self: Any, asked: Any, validate_only: bool = False) -> Any:
        nonlocal late
        if late or not validate_only:
            return await create(self, asked, validate_only=validate_only)
        late += 1
        return SimpleNamespace(topic_errors=[(one.name, RequestTimedOutError.errno, "") for one in asked])

    monkeypatch.setattr(AIOKafkaAdminClient, "create_topics", too_late_at_first)
    await a_broker_is_behind(own_cluster, monkeypatch)
    assert late == 1


async def test_mutant_the_controller_is_not_asked(own_cluster: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unseen(self: _Maker) -> list[str]:
        there = await self._there()
        return [name for name in topics.TOPICS if name not in there]

    monkeypatch.setattr(_Maker, "_missing", unseen)
    with pytest.raises(AssertionError, match="was made anew"):
        await a_broker_is_behind(own_cluster, monkeypatch)


async def test_nodes_that_begin_a_topic_anew_at_once_give_it_one_incarnation(own_cluster: Kafka) -> None:
    before = await declared(own_cluster)
    await asyncio.gather(*(begin_anew(own_cluster, before, Lost(i, 9, 5), node="n") for i in range(3)))
    after = await declared(own_cluster)
    assert after.epoch != before.epoch
    await begin_anew(own_cluster, before, Lost(3, 9, 5), node="late")
    assert await declared(own_cluster) == after


async def test_a_node_learns_that_its_topics_are_others(own_cluster: Kafka) -> None:
    before = await declared(own_cluster)
    offsets = Offsets(own_cluster)
    await offsets.open()
    lives = Lives(before)
    watching = asyncio.create_task(lives.watch(offsets))
    lives.fold(f"{PREFIX}{topics.LOG}", b"00000000")
    lives.fold(f"{PREFIX}{topics.LOG}", before.epoch.encode())
    lives.settle()
    assert not lives.over.is_set(), "an older record of the same key counted"
    await make(own_cluster, topics.SOCIAL, partitions=8, replication=1)
    await asyncio.wait_for(lives.over.wait(), 20)
    await asyncio.wait_for(watching, 5)
    await offsets.close()
    told = Lives(before)
    told.settle()
    told.fold(f"{PREFIX}{topics.LOG}", b"00000000")
    assert told.over.is_set()


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


async def test_a_cluster_that_names_no_broker_for_a_moment_is_asked_again(
    own_cluster: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    await declared(own_cluster)
    lookup, turns = AIOKafkaClient.coordinator_lookup, 0

    async def nobody_at_first(self: Any, *asked: Any) -> Any:
        nonlocal turns
        turns += 1
        if turns > 1:
            return await lookup(self, *asked)
        # As a broker answers that was frozen until its session with the controller ended.
        known, self.cluster._brokers = self.cluster._brokers, {}
        try:
            return await lookup(self, *asked)
        finally:
            self.cluster._brokers = known

    monkeypatch.setattr(AIOKafkaClient, "coordinator_lookup", nobody_at_first)
    assert await declared(own_cluster)
    assert turns > 1


async def test_a_cluster_that_does_not_answer_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 does not answer"):
        await declared(Kafka("127.0.0.1:1"))
