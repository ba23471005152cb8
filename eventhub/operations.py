"""What operators do from the command line without a running node: keys, tokens, migrations."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from eventhub import auth, embedded, ingest, kafka, mode, storage, topics
from eventhub.config import Settings
from eventhub.errors import UnavailableError
from eventhub.ingest import spool
from eventhub.record import Outgoing

ACK_TIMEOUT_S = 10
Say = Callable[[str], None]
T = TypeVar("T")


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
    others = [secret(one) or "" for one in settings.auth.previous_keys]
    return auth.load_tokens(secret(settings.auth.signing_key), settings.data_dir, others)


def create_token(settings: Settings, *, user: str, plan: str) -> str:
    """An access token of 15 minutes; needs no server. Raises ConfigError for a signing key that is none."""
    return tokens(settings).sign(user, plan, now())


def create_key(settings: Settings, source: str, *, say: Say) -> str:
    """Make an ingest key for one source and write its record to `account-events`; the key itself is kept nowhere.

    Joins the services of the data folder, or starts them for this one record. Raises UnavailableError.
    """

    async def create(reached: Reached) -> str:
        writer = kafka.Writer(reached.kafka)
        await writer.open()
        try:
            return await write_key(writer, source)
        finally:
            await writer.close()

    return on_cluster(settings, say, create)


def migrate(settings: Settings, *, say: Say) -> list[str]:
    """Bring the schema to this version; returns the names of what was applied now.

    Raises UnavailableError in read-only mode, which promises that nothing writes Postgres.
    """

    async def run(reached: Reached) -> list[str]:
        current = await _mode(reached.kafka)
        if current.mode == "read_only":
            raise UnavailableError(f"the platform is read-only: {current.reason}; `eventhub mode set normal` first")
        return await storage.migrate(reached.postgres)

    return on_cluster(settings, say, run)


def read_mode(settings: Settings, *, say: Say) -> mode.Setting:
    """The platform's mode as `control-events` has it; needs no running node. Raises UnavailableError."""
    return on_cluster(settings, say, lambda reached: _mode(reached.kafka))


def set_mode(settings: Settings, wanted: mode.Wanted, *, say: Say) -> mode.Setting:
    """Change the platform's mode; every node has it within a second. Raises what `change_mode` raises."""
    return on_cluster(settings, say, lambda reached: change_mode(reached.kafka, wanted, node="command line"))


def spool_root(settings: Settings) -> Path:
    """Where the spool folders of this data folder lie."""
    return settings.spool.dir or settings.data_dir / "spool"


def spooled(settings: Settings) -> list[spool.Survey]:
    """Every spool folder, oldest first; reads all that waits in them."""
    return [spool.survey(path) for path in spool.folders(spool_root(settings))]


def drain_spool(settings: Settings, *, say: Say, progress: Callable[[str, int, int], None]) -> int:
    """Put what dead processes left onto the raw topics; returns how many records. Raises UnavailableError.

    `progress` gets label, records so far and records in all.
    """

    async def work(reached: Reached) -> int:
        writer, partitioner = kafka.Writer(reached.kafka), kafka.Partitioner(reached.partitions)
        send, drained = ingest.sender(writer, partitioner, timeout_s=ACK_TIMEOUT_S), 0
        try:
            for path in spool.folders(spool_root(settings)):
                waiting = spool.survey(path).records
                folder = spool.claim(path)
                if folder is not None:
                    drained += await spool.drain(folder, send, partial(_drained, progress, path.name, waiting))
        finally:
            await writer.close()
        return drained

    return on_cluster(settings, say, work)


def _drained(progress: Callable[[str, int, int], None], label: str, total: int, done: int) -> None:
    progress(label, done, total)


async def change_mode(cluster: kafka.Kafka, wanted: mode.Wanted, *, node: str) -> mode.Setting:
    """Replace the mode's record; of two who change the same revision one is refused.

    Raises RejectedError, ConflictError, and UnavailableError when Kafka does not take it.
    """

    def decide(value: bytes | None) -> bytes:
        return msgspec.json.encode(mode.change(mode.read(value), wanted, now()))

    return mode.read(await kafka.change_control(cluster, mode.KEY, decide, node=node))


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


class Reached(NamedTuple):
    """The cluster, what stands on it, its partition count, and PostgreSQL's DSN (it holds a password)."""

    kafka: kafka.Kafka
    declared: kafka.Declared
    partitions: int
    postgres: str


def on_cluster(settings: Settings, say: Say, work: Callable[[Reached], Awaitable[T]]) -> T:
    """Join the services of the data folder, or start them for this one piece of work, and leave them again.

    Raises what `embedded.join` and `kafka.declare` raise, and what `work` raises.
    """
    services = embedded.join(settings, say=say, progress=_quiet)

    async def run() -> T:
        cluster = reach(settings, services.addresses)
        declared = await declare(settings, cluster)
        return await work(Reached(cluster, declared, settings.kafka.partitions, services.addresses.postgres))

    try:
        return asyncio.run(run())
    finally:
        services.leave()


async def _mode(cluster: kafka.Kafka) -> mode.Setting:
    return mode.read(await kafka.read_control(cluster, mode.KEY)).at(now())


def _quiet(_label: str, _done: int, _total: int) -> None:
    """No progress bar: these commands print data."""
