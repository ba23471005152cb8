"""What a benchmark runs on: embedded services in a folder of its own, one node as a process, keys and tokens."""

import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psutil

from eventhub import auth, kafka, operations
from eventhub.config import Settings
from eventhub.embedded import Services, join
from tests.support.nodes import NodeProcess, running

PARTITIONS = 8


class Platform(NamedTuple):
    """One node on one broker and one database."""

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
        postmaster = psutil.Process(self.services.pid("postgres"))
        return {
            "node": _cpu_s(psutil.Process(self.node.pid)),
            "kafka": _cpu_s(psutil.Process(self.services.pid("kafka"))),
            "postgres": _cpu_s(postmaster, ended=True) + sum(map(_cpu_s, postmaster.children(recursive=True))),
        }


@asynccontextmanager
async def platform() -> AsyncIterator[Platform]:
    """Started, ready, and gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="eventhub-bench-") as name:
        folder = Path(name)
        services = join(Settings(data_dir=folder), say=lambda _: None, progress=lambda *_: None)
        try:
            cluster = kafka.Kafka(services.addresses.kafka)
            await kafka.declare(cluster, partitions=PARTITIONS, replication=1, min_insync_replicas=1)
            writer = kafka.Writer(cluster)
            await writer.open()
            keys = [await operations.write_key(writer, source) for source in ("broadcast", "admin")]
            await writer.close()
            environ = {
                "EVENTHUB_KAFKA__BOOTSTRAP_SERVERS": services.addresses.kafka,
                "EVENTHUB_KAFKA__REPLICATION": "1",
                "EVENTHUB_POSTGRES__DSN": services.addresses.postgres,
            }
            node = NodeProcess(f"bench-{secrets.token_hex(2)}", folder, environ)
            async with running(node):
                tokens = auth.load_tokens(None, folder / node.name)
                yield Platform(services, cluster, node, keys[0], keys[1], tokens)
        finally:
            services.leave()


def _cpu_s(process: psutil.Process, *, ended: bool = False) -> float:
    """User and system time; with `ended`, of its ended children too."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    own = float(times.user + times.system)
    return own + float(times.children_user + times.children_system) if ended else own
