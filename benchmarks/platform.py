"""What a benchmark runs on: Kafka and Postgres in a folder of its own; and one node as a process, keys and tokens."""

import secrets
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psutil

from eventhub import auth, kafka, operations
from eventhub.config import Kafka, Settings
from eventhub.embedded import Services, join
from tests.support.brokers import Brokers
from tests.support.brokers import running as brokers_running
from tests.support.nodes import NodeProcess, running

PARTITIONS = 8
REPLICAS = 3


class Ground(NamedTuple):
    """Brokers with the topics declared, and a database; no node. `replication` is 1, or 3 on three brokers."""

    folder: Path
    services: Services
    cluster: kafka.Kafka
    declared: kafka.Declared
    partitions: int
    replication: int
    kafka_pids: tuple[int, ...]

    @property
    def dsn(self) -> str:
        """PostgreSQL's."""
        return self.services.addresses.postgres

    def environ(self) -> dict[str, str]:
        """The settings of a node here."""
        return {
            "EVENTHUB_KAFKA__BOOTSTRAP_SERVERS": self.cluster.bootstrap_servers,
            "EVENTHUB_KAFKA__REPLICATION": str(self.replication),
            "EVENTHUB_KAFKA__PARTITIONS": str(self.partitions),
            "EVENTHUB_POSTGRES__DSN": self.dsn,
        }

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds used so far: kafka (all brokers), postgres with its backends."""
        postmaster = psutil.Process(self.services.pid("postgres"))
        return {
            "kafka": _cpu_s(map(psutil.Process, self.kafka_pids)),
            "postgres": _cpu_s([postmaster], ended=True) + _cpu_s(postmaster.children(recursive=True)),
        }


class Platform(NamedTuple):
    """One node on that ground."""

    ground: Ground
    services: Services
    cluster: kafka.Kafka
    node: NodeProcess
    broadcast_key: str
    admin_key: str
    tokens: auth.Tokens

    def token(self) -> str:
        """An access token."""
        return self.tokens.sign("bench", "bench", datetime.now(UTC))

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds used so far by process: node, kafka, postgres with its backends."""
        return {"node": _cpu_s([psutil.Process(self.node.pid)]), **self.ground.cpu_s()}


@asynccontextmanager
async def ground(*, brokers: int = 1, partitions: int = PARTITIONS) -> AsyncIterator[Ground]:
    """Started, topics declared, and gone afterwards. One broker is the embedded one; three replicate everything."""
    with tempfile.TemporaryDirectory(prefix="eventhub-bench-") as name:
        folder = Path(name)
        async with AsyncExitStack() as closing:
            several = None
            if brokers > 1:
                several = await closing.enter_async_context(brokers_running(Brokers(folder / "brokers", count=brokers)))
            given = Kafka(bootstrap_servers=several.bootstrap) if several is not None else Kafka()
            services = join(Settings(data_dir=folder, kafka=given), say=lambda _: None, progress=lambda *_: None)
            closing.callback(services.leave)
            cluster = kafka.Kafka(services.addresses.kafka)
            replication = min(REPLICAS, brokers)
            declared = await kafka.declare(
                cluster, partitions=partitions, replication=replication, min_insync_replicas=min(2, replication)
            )
            pids = [services.pid("kafka")] if several is None else [several.pid(i) for i in range(brokers)]
            yield Ground(folder, services, cluster, declared, partitions, replication, tuple(pids))


@asynccontextmanager
async def platform(*, brokers: int = 1, partitions: int = PARTITIONS) -> AsyncIterator[Platform]:
    """The same with a node that is ready."""
    async with ground(brokers=brokers, partitions=partitions) as on:
        writer = kafka.Writer(on.cluster)
        await writer.open()
        keys = [await operations.write_key(writer, source) for source in ("broadcast", "admin")]
        await writer.close()
        node = NodeProcess(f"bench-{secrets.token_hex(2)}", on.folder, on.environ())
        async with running(node):
            tokens = auth.load_tokens(None, on.folder / node.name)
            yield Platform(on, on.services, on.cluster, node, keys[0], keys[1], tokens)


def _cpu_s(processes: Iterable[psutil.Process], *, ended: bool = False) -> float:
    """User and system time; with `ended`, of their ended children too."""
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += float(times.user + times.system)
        total += float(times.children_user + times.children_system) if ended else 0.0
    return total
