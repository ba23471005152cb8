"""What stands on a cluster now: brokers, topics and their settings, read with the admin client; nothing is written."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, SaslAuthenticationFailed

from eventhub import topics
from eventhub.errors import ConfigError, UnavailableError
from eventhub.kafka.clients import Kafka

INTERNAL = ("__consumer_offsets", "__transaction_state")
SKEW_S = 5.0
"""Difference of two clocks, in seconds, that is none: NTP keeps far below it."""
REACH_TIMEOUT_MS = 5000
CLOCK_TIMEOUT_S = 5
AGAIN_S = 0.2


class Partition(NamedTuple):
    """One partition: the ids of its leader (-1: none), of its replicas, and of those in sync."""

    leader: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]


class TopicState(NamedTuple):
    """One topic: its partitions by number, and its settings as they hold, with the brokers' defaults."""

    partitions: dict[int, Partition]
    configs: Mapping[str, str]


class Snapshot(NamedTuple):
    """A cluster at one moment: the brokers that answer, with their settings, and the topics.

    `ahead_s`: by how much the newest append time of a topic lies ahead of this clock, where it is too much.
    """

    brokers: dict[int, Mapping[str, str]]
    topics: dict[str, TopicState]
    ahead_s: dict[str, float]


async def describe(kafka: Kafka, *, timeout_s: float = 30) -> Snapshot:
    """Read the cluster; topics that are neither eventhub's nor Kafka's own offsets and transactions are left out.

    Raises UnavailableError when it does not answer in `timeout_s`, ConfigError when it refuses this user or when its
    certificate is not trusted.
    """
    try:
        async with asyncio.timeout(timeout_s), connected(kafka) as admin:
            while True:
                try:
                    snapshot = await _read(admin)
                    break
                except KafkaError:
                    # The client asks brokers at random, and one that has just died is still in its list.
                    await asyncio.sleep(AGAIN_S)
    except TimeoutError as error:
        raise UnavailableError(f"Kafka was not described within {timeout_s:g} s: is it up?") from error
    return snapshot._replace(ahead_s=await _ahead(kafka, snapshot.topics))


async def _read(admin: Any) -> Snapshot:
    cluster = await admin.describe_cluster()
    there = [t for t in await admin.describe_topics() if t["topic"] in (*topics.TOPICS, *INTERNAL)]
    ids = sorted(broker["node_id"] for broker in cluster["brokers"])
    names = [topic["topic"] for topic in there]
    brokers = dict(zip(ids, await asyncio.gather(*(_broker(admin, i) for i in ids)), strict=True))
    configs = await _configs(admin, ConfigResourceType.TOPIC, names)
    return Snapshot(
        {i: found for i, found in brokers.items() if found is not None},
        {t["topic"]: TopicState(_partitions(t["partitions"]), configs[t["topic"]]) for t in there},
        {},
    )


async def _broker(admin: Any, number: int) -> dict[str, str] | None:
    """The broker's settings, none where this user may not see them; None when it is listed and does not answer."""
    try:
        return (await _configs(admin, ConfigResourceType.BROKER, [str(number)]))[str(number)]
    except KafkaError:
        return None
    except ConfigError:
        return {}


@asynccontextmanager
async def connected(kafka: Kafka) -> AsyncIterator[Any]:
    """An admin client that is started. Raises what `reach` raises when it cannot be."""
    admin = kafka.admin()
    try:
        try:
            await admin.start()
        except KafkaError as error:
            raise await refusal(kafka) from error
        yield admin
    finally:
        await admin.close()


async def refusal(kafka: Kafka) -> ConfigError | UnavailableError:
    """Why no client can connect, found by one more try at each address; the clients only log it. Holds no secret."""
    reasons: list[str] = []
    for address in kafka.bootstrap_servers.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            connection = await create_conn(
                host.strip("[]"), int(port), request_timeout_ms=REACH_TIMEOUT_MS, **_how(kafka.credentials)
            )
        except SaslAuthenticationFailed:
            return ConfigError(
                f"Kafka at {address} refuses user {kafka.credentials['sasl_plain_username']}: look at kafka.username,"
                " kafka.password and kafka.sasl_mechanism"
            )
        except (KafkaError, OSError, ValueError, TimeoutError) as error:
            if (told := _untrusted(error)) is not None:
                return ConfigError(
                    f"the certificate of Kafka at {address} is not trusted ({told}): look at kafka.ca_file"
                )
            reasons.append(type(error).__name__)
        else:
            connection.close()
            reasons.append("it answered now")
    return UnavailableError(
        f"Kafka at {kafka.bootstrap_servers} does not answer ({', '.join(sorted(set(reasons)))}): are the address and"
        " kafka.security_protocol right, and is it up?",
        retry_after_s=2,
    )


def _how(credentials: Mapping[str, Any]) -> dict[str, Any]:
    names = ("security_protocol", "ssl_context", "sasl_mechanism", "sasl_plain_username", "sasl_plain_password")
    return {name: credentials[name] for name in names if name in credentials}


def _untrusted(error: BaseException | None) -> str | None:
    """What the TLS library said of a certificate, anywhere among the causes."""
    while error is not None:
        if (told := getattr(error, "verify_message", None)) is not None:
            return str(told)
        error = error.__cause__ or error.__context__
    return None


def _partitions(described: Sequence[Mapping[str, Any]]) -> dict[int, Partition]:
    return {p["partition"]: Partition(p["leader"], tuple(p["replicas"]), tuple(p["isr"])) for p in described}


async def _configs(admin: Any, kind: ConfigResourceType, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Per resource every setting that has a value and is no secret."""
    if not names:
        return {}
    found: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs([ConfigResource(kind, name) for name in names]):
        for code, message, _, name, entries, *_ in answer.resources:
            if code != 0:
                raise ConfigError(
                    f"Kafka hides the settings of {name} (error {code}, {message}): allow this user DescribeConfigs"
                )
            found[name] = {entry[0]: entry[1] for entry in entries if entry[1] is not None and not entry[4]}
    return found


async def _ahead(kafka: Kafka, there: Mapping[str, TopicState]) -> dict[str, float]:
    """Per topic by how many seconds an append time lies ahead of this clock, where it is more than `SKEW_S`.

    Asks the brokers for the first record that they stamped later than now. Nothing is written for it, so brokers that
    are behind, or that have appended nothing since they went ahead, are not seen.
    """
    tps = [
        TopicPartition(name, number)
        for name, state in there.items()
        if name in topics.TOPICS
        for number, partition in state.partitions.items()
        if partition.leader >= 0
    ]
    if not tps:
        return {}
    consumer = kafka.consumer()
    try:
        await consumer.start()
        now_ms = time.time() * 1000
        later = dict.fromkeys(tps, int(now_ms + SKEW_S * 1000))
        found = await asyncio.wait_for(consumer.offsets_for_times(later), CLOCK_TIMEOUT_S)
    except (KafkaError, TimeoutError):
        return {}
    finally:
        await consumer.stop()
    ahead: dict[str, float] = {}
    for tp, first in found.items():
        if first is not None:
            ahead[tp.topic] = max(ahead.get(tp.topic, 0.0), first.timestamp / 1000 - now_ms / 1000)
    return ahead
