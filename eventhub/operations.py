"""What operators do from the command line without a running node: keys, tokens, migrations."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from eventhub import auth, embedded, kafka, storage, topics
from eventhub.config import Settings
from eventhub.record import Outgoing

ACK_TIMEOUT_S = 10
Say = Callable[[str], None]


def reach(settings: Settings, addresses: embedded.Addresses) -> kafka.Kafka:
    """How to reach the cluster of these settings, or the embedded one."""
    given = settings.kafka
    return kafka.Kafka(
        addresses.kafka,
        security_protocol=given.security_protocol,
        sasl_mechanism=given.sasl_mechanism,
        username=given.username,
        password=secret(given.password),
        ca_file=str(given.ca_file) if given.ca_file else None,
    )


async def declare(settings: Settings, cluster: kafka.Kafka) -> kafka.Declared:
    """Declare the topics: three replicas of which two must be in sync; embedded, where there is one broker, one."""
    replication = 1 if settings.kafka.bootstrap_servers is None else settings.kafka.replication
    return await kafka.declare(
        cluster,
        partitions=settings.kafka.partitions,
        replication=replication,
        min_insync_replicas=min(2, replication),
    )


def tokens(settings: Settings) -> auth.Tokens:
    """The signer and checker of access tokens."""
    return auth.load_tokens(secret(settings.auth.signing_key), settings.data_dir)


def create_token(settings: Settings, *, user: str, plan: str) -> str:
    """An access token of 15 minutes; needs no server. Raises ConfigError for a signing key that is none."""
    return tokens(settings).sign(user, plan, now())


def create_key(settings: Settings, source: str, *, say: Say) -> str:
    """Make an ingest key for one source and write its record to `account-events`; the key itself is kept nowhere.

    Joins the services of the data folder, or starts them for this one record. Raises UnavailableError.
    """
    services = embedded.join(settings, say=say, progress=_quiet)
    try:
        return asyncio.run(_create_key(settings, services.addresses, source))
    finally:
        services.leave()


def migrate(settings: Settings, *, say: Say) -> list[str]:
    """Bring the schema to this version; returns the names of what was applied now."""
    services = embedded.join(settings, say=say, progress=_quiet)
    try:
        return asyncio.run(storage.migrate(services.addresses.postgres))
    finally:
        services.leave()


async def write_key(writer: kafka.Writer, source: str) -> str:
    """Make a key and write its record; returns the key once it is durable."""
    key, kept = auth.new_key(source, now())
    name, value = auth.record_key(kept)
    await writer.append(topics.ACCOUNTS, 0, [Outgoing(name.encode(), value, [])], timeout_s=ACK_TIMEOUT_S)
    return key


def secret(value: Any) -> str | None:
    """A setting's secret in the clear, to be handed to its library and nowhere else."""
    return value.get_secret_value() if value is not None else None


def now() -> datetime:
    """The wall clock; the one place that reads it for the path."""
    return datetime.now(UTC)


async def _create_key(settings: Settings, addresses: embedded.Addresses, source: str) -> str:
    cluster = reach(settings, addresses)
    await declare(settings, cluster)
    writer = kafka.Writer(cluster)
    await writer.open()
    try:
        return await write_key(writer, source)
    finally:
        await writer.close()


def _quiet(_label: str, _done: int, _total: int) -> None:
    """No progress bar: these commands print data."""
