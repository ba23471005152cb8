"""Declaring the topics: each is made once, with its incarnation, and never silently with other partition counts.

An incarnation is a random id of a topic's life, kept on `control-events`. Offsets mean something only together with it:
a topic that was deleted and made again starts at 0, and what an old vector or cursor says of it no longer holds.
"""

import asyncio
import random
import secrets
from typing import Any, NamedTuple

from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError

from eventhub import topics
from eventhub.errors import ConfigError, UnavailableError
from eventhub.kafka.clients import Kafka
from eventhub.kafka.fence import FencedError, FencedWriter
from eventhub.kafka.read import read_range
from eventhub.record import Outgoing

PREFIX = "incarnation:"
TOPIC_EXISTS = 36


class Declared(NamedTuple):
    """What stands on the cluster: each topic's incarnation (8 hex digits), and which topics were made just now."""

    incarnations: dict[str, str]
    created: list[str]

    @property
    def epoch(self) -> str:
        """The log's incarnation, the first part of every cursor."""
        return self.incarnations[topics.LOG]


async def declare(
    kafka: Kafka, *, partitions: int, replication: int, min_insync_replicas: int, timeout_s: float = 30
) -> Declared:
    """Make what is missing and check what is there. Nodes that start at once agree on every incarnation.

    Raises ConfigError when a topic has another partition count, UnavailableError when Kafka does not do it in
    `timeout_s`.
    """
    admin = kafka.admin()
    try:
        async with asyncio.timeout(timeout_s):
            await _connect(admin, kafka)
            make = _Maker(kafka, admin, partitions, replication, min_insync_replicas)
            while True:
                try:
                    return await make.all()
                except (FencedError, KafkaError):
                    # Another node is declaring at the same time and has fenced us; what it made we find now.
                    await asyncio.sleep(random.uniform(0.05, 0.3))  # noqa: S311
    except TimeoutError as error:
        raise UnavailableError(f"Kafka did not declare the topics within {timeout_s:g} s: is it up?") from error
    finally:
        await admin.close()


async def _connect(admin: Any, kafka: Kafka) -> None:
    try:
        await admin.start()
    except KafkaError as error:
        raise UnavailableError(
            f"Kafka at {kafka.bootstrap_servers} does not answer ({type(error).__name__}); is the address right?"
        ) from error


class _Maker:
    def __init__(self, kafka: Kafka, admin: Any, partitions: int, replication: int, min_insync_replicas: int) -> None:
        self._kafka, self._admin = kafka, admin
        self._partitions, self._replication, self._min_isr = partitions, replication, min_insync_replicas
        self._created: list[str] = []

    async def all(self) -> Declared:
        """What stands once nothing is missing any more, read under a fence.

        Whoever was declaring before us is refused from the fence on, so that what we read cannot change behind us.
        """
        await self._check()
        await self._create(topics.CONTROL)
        writer = FencedWriter(self._kafka, "eventhub-incarnations", topics.CONTROL, 0)
        try:
            while True:
                known = await self._incarnations(await writer.fence("declare"))
                missing = await self._missing()
                fresh = [name for name in topics.TOPICS if name in missing or name not in known]
                if not fresh:
                    return Declared({name: known[name] for name in topics.TOPICS}, self._created)
                # Written before a topic is made: a crash in between leaves an id too many, never a topic of an old id.
                await writer.write(
                    [Outgoing(f"{PREFIX}{n}".encode(), secrets.token_hex(4).encode(), []) for n in fresh]
                )
                for name in missing:
                    await self._create(name)
        finally:
            writer.drop()

    async def _described(self) -> dict[str, int]:
        """Partitions of each topic that has a leader everywhere."""
        return {
            t["topic"]: len(t["partitions"])
            for t in await self._admin.describe_topics()
            if t["partitions"] and all(p["leader"] >= 0 for p in t["partitions"])
        }

    async def _missing(self) -> list[str]:
        there = await self._described()
        return [name for name in topics.TOPICS if name not in there]

    async def _check(self) -> None:
        there = await self._described()
        for topic in topics.TOPICS.values():
            wanted = self._partitions if topic.partitioned else 1
            if there.get(topic.name, wanted) != wanted:
                raise ConfigError(
                    f"topic {topic.name} has {there[topic.name]} partitions, kafka.partitions asks for {wanted};"
                    " the count is fixed at creation: set EVENTHUB_KAFKA__PARTITIONS to what the cluster has"
                )

    async def _create(self, name: str) -> None:
        if name in await self._described():
            return
        topic = topics.TOPICS[name]
        answer = await self._admin.create_topics(
            [
                NewTopic(
                    name,
                    self._partitions if topic.partitioned else 1,
                    self._replication,
                    topic_configs=topics.configs(topic, min_insync_replicas=self._min_isr),
                )
            ]
        )
        for _, code, *message in answer.topic_errors:
            if code not in (0, TOPIC_EXISTS):
                raise ConfigError(f"Kafka refused to make topic {name}: error {code} {message}")
            if code == 0:
                self._created.append(name)
        while name not in await self._described():
            await asyncio.sleep(0.02)

    async def _incarnations(self, end: int | None) -> dict[str, str]:
        found: dict[str, str] = {}
        async for records in read_range(self._kafka, topics.CONTROL, 0, 0, end):
            for record in records:
                key = (record.key or b"").decode()
                if key.startswith(PREFIX) and record.value:
                    found[key.removeprefix(PREFIX)] = record.value.decode()
        return found
