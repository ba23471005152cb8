"""Declaring the topics: each is made once, with its incarnation, and never silently with other partition counts.

An incarnation is a random id of a topic's life, kept on `control-events`. Offsets mean something only together with it:
a topic that was deleted and made again starts at 0, and what an old vector or cursor says of it no longer holds. Beside
it stands Kafka's own id of the topic, which says whether somebody else made it again under the same name.
"""

import asyncio
import random
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import structlog
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError, for_code

from eventhub import topics
from eventhub.errors import ConfigError, UnavailableError
from eventhub.kafka.clients import Kafka
from eventhub.kafka.control import change_control
from eventhub.kafka.describe import refusal
from eventhub.kafka.fence import FencedError, FencedWriter
from eventhub.kafka.ids import topic_ids
from eventhub.kafka.read import read_range
from eventhub.record import Lost, Outgoing

PREFIX = "incarnation:"
ID_PREFIX = "topic-id:"
TOPIC_EXISTS = 36
log = structlog.get_logger(__name__)


class Declared(NamedTuple):
    """What stands on the cluster: each topic's incarnation (8 hex digits), which topics were made just now, and
    Kafka's ids of them.
    """

    incarnations: dict[str, str]
    created: list[str]
    ids: dict[str, str] = {}

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
    make = _Maker(kafka, admin, partitions, replication, min_insync_replicas)
    try:
        async with asyncio.timeout(timeout_s):
            await _connect(admin, kafka)
            while True:
                try:
                    return await make.all()
                except (FencedError, KafkaError):
                    # Another node is declaring at the same time and has fenced us; what it made we find now.
                    await asyncio.sleep(random.uniform(0.05, 0.3))  # noqa: S311
    except TimeoutError as error:
        idle = ", ".join(make.leaderless)
        advice = f"partitions of {idle} have no leader: bring their brokers back" if idle else "is it up?"
        raise UnavailableError(f"Kafka did not declare the topics within {timeout_s:g} s: {advice}") from error
    finally:
        await admin.close()


async def begin_anew(kafka: Kafka, declared: Declared, lost: Lost, *, node: str) -> None:
    """Give the log another incarnation, unless it has another one already: what was lost of it makes every cursor and
    position wrong, and every node starts over with the new one. Raises UnavailableError.
    """
    hint = "Kafka lost acknowledged records: check replication and unclean leader election; clients are reset"
    log.error("the log was cut", partition=lost.partition, known=lost.known, end=lost.end, hint=hint)

    def decide(now: bytes | None) -> bytes:
        return _fresh() if now is None or now == declared.epoch.encode() else now

    await change_control(kafka, f"{PREFIX}{topics.LOG}", decide, node=node)


def _fresh() -> bytes:
    return secrets.token_hex(4).encode()


async def _connect(admin: Any, kafka: Kafka) -> None:
    try:
        await admin.start()
    except KafkaError as error:
        raise await refusal(kafka) from error


class _Maker:
    def __init__(self, kafka: Kafka, admin: Any, partitions: int, replication: int, min_insync_replicas: int) -> None:
        self._kafka, self._admin = kafka, admin
        self._partitions, self._replication, self._min_isr = partitions, replication, min_insync_replicas
        self._created: list[str] = []
        self.leaderless: list[str] = []
        """The topics that are waited for, for nobody leads one of their partitions."""

    async def all(self) -> Declared:
        """What stands once nothing is missing any more, read under a fence.

        Whoever was declaring before us is refused from the fence on, so that what we read cannot change behind us.
        """
        await self._check()
        await self._create(topics.CONTROL)
        writer = FencedWriter(self._kafka, "eventhub-incarnations", topics.CONTROL, 0)
        try:
            while True:
                noted = await self._noted(await writer.fence("declare"))
                missing = await self._missing()
                ids = await topic_ids(self._admin._client)
                due = _due(noted, missing, ids)
                if not due and not missing:
                    lives = {name: noted[f"{PREFIX}{name}"].decode() for name in topics.TOPICS}
                    return Declared(lives, self._created, ids)
                # Written before a topic is made: a crash in between leaves an id too many, never a topic of an old id.
                await writer.write([Outgoing(key.encode(), value, []) for key, value in due.items()])
                for name in missing:
                    await self._create(name)
        finally:
            writer.drop()

    async def _there(self) -> dict[str, list[Any]]:
        """Partitions of each topic that is there, as described, whoever leads them."""
        return {t["topic"]: t["partitions"] for t in await self._admin.describe_topics() if t["partitions"]}

    async def _led(self, name: str) -> None:
        """Wait until this topic is there, and all of eventhub's that are there have a leader everywhere."""
        while True:
            there = await self._there()
            self.leaderless = [n for n in topics.TOPICS if any(p["leader"] < 0 for p in there.get(n, ()))]
            if name in there and not self.leaderless:
                return
            await asyncio.sleep(0.02)

    async def _missing(self) -> list[str]:
        """Those that nobody has made. A topic without a leader is there: a new incarnation would have it read again."""
        while True:
            there = await self._there()
            unseen = [name for name in topics.TOPICS if name not in there]
            if not unseen:
                return []
            # The broker that told may be behind; the controller knows.
            codes = await self._ask(unseen, validate_only=True)
            if TOPIC_EXISTS not in codes.values():
                return unseen
            await asyncio.sleep(0.02)

    async def _check(self) -> None:
        there = await self._there()
        for topic in topics.TOPICS.values():
            wanted = self._count(topic)
            found = len(there.get(topic.name, ())) or wanted
            if found != wanted:
                raise ConfigError(
                    f"topic {topic.name} has {found} partitions, kafka.partitions asks for {wanted};"
                    " the count is fixed at creation: set EVENTHUB_KAFKA__PARTITIONS to what the cluster has"
                )

    def _count(self, topic: topics.Topic) -> int:
        return self._partitions if topic.partitioned else 1

    def _new(self, name: str) -> Any:
        topic = topics.TOPICS[name]
        configs = topics.configs(topic, min_insync_replicas=self._min_isr)
        return NewTopic(name, self._count(topic), self._replication, topic_configs=configs)

    async def _ask(self, names: Sequence[str], *, validate_only: bool = False) -> dict[str, int]:
        """Have the controller make these topics, or only say whether it would; 0 or TOPIC_EXISTS for each.

        Raises ConfigError for what it refuses, and KafkaError for what it could not do now, which says nothing of a
        topic.
        """
        answer = await self._admin.create_topics([self._new(name) for name in names], validate_only=validate_only)
        for name, code, *message in answer.topic_errors:
            if code not in (0, TOPIC_EXISTS):
                if for_code(code).retriable:
                    raise for_code(code)(name)
                raise ConfigError(f"Kafka refused to make topic {name}: error {code} {message}")
        return {name: code for name, code, *_ in answer.topic_errors}

    async def _create(self, name: str) -> None:
        """Make a topic, unless it is there, and wait for its leaders."""
        if name not in await self._there() and (await self._ask([name]))[name] == 0:
            self._created.append(name)
        await self._led(name)

    async def _noted(self, end: int | None) -> dict[str, bytes]:
        """Incarnations and ids by their keys."""
        found: dict[str, bytes] = {}
        async for records in read_range(self._kafka, topics.CONTROL, 0, 0, end):
            for record in records:
                key = (record.key or b"").decode()
                if key.startswith((PREFIX, ID_PREFIX)) and record.value is not None:
                    found[key] = record.value
        return found


def _due(noted: Mapping[str, bytes], missing: Sequence[str], ids: Mapping[str, str]) -> dict[str, bytes]:
    """What must be noted now, by key; an id is empty until the topic was made. Pure, but for what is random."""
    due: dict[str, bytes] = {}
    for name in topics.TOPICS:
        id_ = b"" if name in missing else ids.get(name, "").encode()
        before = noted.get(f"{ID_PREFIX}{name}", b"")
        anew = bool(before and id_ and before != id_)
        if anew:
            hint = "its old offsets no longer count; what it held is gone: have it sent again"
            log.error("topic was made anew", topic=name, was=before.decode(), now=id_.decode(), hint=hint)
        if name in missing or anew or f"{PREFIX}{name}" not in noted:
            due[f"{PREFIX}{name}"] = _fresh()
        if before != id_ and (id_ or name in missing):
            due[f"{ID_PREFIX}{name}"] = id_
    return due
