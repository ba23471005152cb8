"""A platform of a test module's own: Kafka and PostgreSQL, keys, a signing key, and nodes as processes."""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import psycopg
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventhub import auth, config, kafka, operations
from eventhub.embedded import Services, join
from tests.conftest import services_for
from tests.support.brokers import Brokers, running
from tests.support.clients import Client
from tests.support.feed import RealMatch, Source, real_matches
from tests.support.nodes import NodeProcess
from tests.support.weaken import wipe

SESSION_TIMEOUT_S = 3


class Platform(NamedTuple):
    """What a system test works with."""

    services: Services
    cluster: kafka.Kafka
    dsn: str
    partitions: int
    folder: Path
    environ: dict[str, str]
    tokens: auth.Tokens
    broadcast_key: str
    admin_key: str
    sensors_key: str

    def node(self, name: str, *program: str) -> NodeProcess:
        """A node that is not started; `program` is a module with arguments to run instead of eventhub."""
        return NodeProcess(name, self.folder, self.environ, (sys.executable, "-m", *(program or ("eventhub",))))

    def token(self) -> str:
        return self.tokens.sign("tester", "test", datetime.now(UTC))

    def client(self, *nodes: NodeProcess) -> Client:
        return Client([n.url for n in nodes], self.token)

    async def get(self, node: NodeProcess, path: str) -> Any:
        """A read, with a token."""
        token = self.token()
        async with httpx2.AsyncClient(timeout=10) as http:
            answer = await http.get(node.url + path, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 200, answer.text
            return answer.json()

    def source(self, *nodes: NodeProcess) -> Source:
        return Source([n.url for n in nodes], self.broadcast_key, self.admin_key)


@pytest.fixture(scope="session")
def matches() -> list[RealMatch]:
    """The six real matches."""
    return real_matches()


@asynccontextmanager
async def platform_on(
    services: Services, bootstrap: str, folder: Path, *, partitions: int = 8, replication: int = 1
) -> AsyncIterator[Platform]:
    """A platform on this Kafka and the PostgreSQL of these services, its topics made anew and a database of its own."""
    cluster = kafka.Kafka(bootstrap)
    await wipe(cluster)
    await kafka.declare(
        cluster, partitions=partitions, replication=replication, min_insync_replicas=min(2, replication)
    )
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    name = f"t_{secrets.token_hex(6)}"
    async with await psycopg.AsyncConnection.connect(services.addresses.postgres, autocommit=True) as connection:
        await connection.execute(f"create database {name}".encode())
    dsn = services.addresses.postgres.rpartition("/")[0] + f"/{name}"
    writer = kafka.Writer(cluster)
    await writer.open()
    yield Platform(
        services=services,
        cluster=cluster,
        dsn=dsn,
        partitions=partitions,
        folder=folder,
        environ={
            "EVENTHUB_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
            "EVENTHUB_KAFKA__REPLICATION": str(replication),
            "EVENTHUB_KAFKA__PARTITIONS": str(partitions),
            "EVENTHUB_POSTGRES__DSN": dsn,
            "EVENTHUB_STREAMS__SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
            "EVENTHUB_AUTH__SIGNING_KEY": pem.decode(),
            "EVENTHUB_DELIVERY__PING_S": "3",
            # Tests of other things subscribe as it suits them.
            "EVENTHUB_DELIVERY__CHANGES_PER_MINUTE": "6000",
            "EVENTHUB_DELIVERY__CHANGES_BURST": "1000",
        },
        tokens=auth.load_tokens(pem.decode(), folder),
        broadcast_key=await operations.write_key(writer, "broadcast"),
        admin_key=await operations.write_key(writer, "admin"),
        sensors_key=await operations.write_key(writer, "sensors"),
    )
    await writer.close()
    with suppress(psycopg.OperationalError):
        # Where a test ended with its PostgreSQL down, that server goes as a whole.
        async with await psycopg.AsyncConnection.connect(services.addresses.postgres, autocommit=True) as connection:
            await connection.execute(f"drop database {name} with (force)".encode())


@pytest.fixture
async def platform(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Platform]:
    """A platform with 8 partitions, or as many as the parameter says.

    Its services are those of all such modules; one that is marked `own_services` has its own.
    """
    partitions, services = getattr(request, "param", 8), services_for(request)
    async with platform_on(services, services.addresses.kafka, tmp_path, partitions=partitions) as made:
        yield made


@pytest.fixture(scope="module")
async def brokers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Brokers]:
    """Three brokers of a test module's own, to be broken; the controller outlives them."""
    async with running(Brokers(tmp_path_factory.mktemp("three") / "brokers", dedicated=True)) as three:
        yield three


@pytest.fixture
async def on_three(brokers: Brokers, own_folder: Path, tmp_path: Path) -> AsyncIterator[Platform]:
    """A platform on the three brokers, of which two must have a record, with a PostgreSQL of its own."""
    given = config.Settings(data_dir=own_folder, kafka=config.Kafka(bootstrap_servers=brokers.bootstrap))
    services = await asyncio.to_thread(lambda: join(given, say=lambda _: None, progress=lambda *_: None))
    async with platform_on(services, brokers.bootstrap, tmp_path, replication=3) as made:
        yield made._replace(environ={**made.environ, "EVENTHUB_INGEST__ACK_TIMEOUT_S": "5"})
    await asyncio.to_thread(services.leave)
