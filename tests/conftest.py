"""What every test may ask for: real services, started once for the whole run, and settings that lead to them."""

import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from eventhub import kafka
from eventhub.config import Kafka, Postgres, Settings
from eventhub.embedded import Services, join
from eventhub.storage import Pool, migrate
from tests.support.weaken import wipe


def _silent(*_: object) -> None:
    pass


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """Kafka and PostgreSQL of this run alone, stopped at its end."""
    for folder in _folder():
        yield from _services(folder)


@pytest.fixture(scope="session")
def settings(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A development node's settings with both addresses given; vary them with `model_copy(update=…)`."""
    return Settings(
        data_dir=tmp_path_factory.mktemp("node"),
        kafka=Kafka(bootstrap_servers=services.addresses.kafka),
        postgres=Postgres(dsn=SecretStr(services.addresses.postgres)),
    )


def _folder() -> Iterator[Path]:
    # Not under pytest's own folder: as root, each new run closes that one to others, and PostgreSQL runs as nobody.
    with tempfile.TemporaryDirectory(prefix="eventhub-tests-") as folder:
        yield Path(folder)


def join_on(folder: Path) -> Services:
    """A share in the services of a folder; starts what does not run there."""
    return join(Settings(data_dir=folder), say=_silent, progress=_silent)


def _services(folder: Path) -> Iterator[Services]:
    own = join_on(folder)
    yield own
    own.leave()


async def declare(cluster: kafka.Kafka, *, partitions: int = 8, timeout_s: float = 30) -> kafka.Declared:
    """The topics, each with one copy."""
    return await kafka.declare(
        cluster, partitions=partitions, replication=1, min_insync_replicas=1, timeout_s=timeout_s
    )


@pytest.fixture(scope="session")
async def cluster(services: Services) -> kafka.Kafka:
    """The run's Kafka with its topics declared, 8 partitions; shared, so a test reads only what it wrote."""
    reach = kafka.Kafka(services.addresses.kafka)
    await declare(reach)
    return reach


@pytest.fixture(scope="session")
def common_services() -> Iterator[Services]:
    """Services of all modules, one after another, that begin with no topics and break nothing."""
    for folder in _folder():
        yield from _services(folder)


def services_for(request: pytest.FixtureRequest) -> Services:
    """Those that are common, or the module's own where it is marked `own_services`."""
    own = request.node.get_closest_marker("own_services")
    services: Services = request.getfixturevalue("own_services" if own else "common_services")
    return services


@pytest.fixture(scope="module")
def own_folder() -> Iterator[Path]:
    """The data folder of the services of one test module."""
    yield from _folder()


@pytest.fixture(scope="module")
def own_services(own_folder: Path) -> Iterator[Services]:
    """Services of one test module alone, to be broken."""
    yield from _services(own_folder)


@pytest.fixture(scope="module")
async def own_cluster(request: pytest.FixtureRequest) -> kafka.Kafka:
    """A Kafka of one test module at a time, nothing declared."""
    reach = kafka.Kafka(services_for(request).addresses.kafka)
    await wipe(reach)
    return reach


@pytest.fixture
async def own_declared(own_cluster: kafka.Kafka) -> kafka.Declared:
    """The module's Kafka with its topics declared, 8 partitions."""
    return await declare(own_cluster)


@pytest.fixture
async def database(services: Services) -> AsyncIterator[str]:
    """The DSN of a database of this test alone, with the schema."""
    name = f"t_{secrets.token_hex(6)}"
    async with await psycopg.AsyncConnection.connect(services.addresses.postgres, autocommit=True) as connection:
        await connection.execute(f"create database {name}".encode())
        dsn = services.addresses.postgres.rpartition("/")[0] + f"/{name}"
        await migrate(dsn)
        yield dsn
        await connection.execute(f"drop database {name} with (force)".encode())


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    """A pool on that database."""
    opened = Pool(database, "test", size=4, statement_timeout_s=10)
    await opened.open()
    yield opened
    await opened.close()
